"""From the domain's values to rows of the lake and back, by the catalog's schemas."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import polars as pl

from tapehouse.catalog import (
    CANDLES,
    COVERAGE,
    DISCREPANCIES,
    KLINES,
    OTHER_EVENTS,
    REJECTED,
    SIGNALS,
    TABLES,
    TRADES,
    VENUE,
)
from tapehouse.market.candles import COLUMNS, Candle
from tapehouse.market.context import Version, canonical
from tapehouse.market.events import Kline, Rejected, Trade
from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE, to_decimal
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Evidence, Signal
from tapehouse.streaming.columns import TRADE_COLUMNS

Row = dict[str, Any]
"""A row of a table before it becomes columns; its values are of the types the catalog says."""

CANDLE_SCALES: Mapping[str, int] = {
    "open": PRICE_SCALE,
    "high": PRICE_SCALE,
    "low": PRICE_SCALE,
    "close": PRICE_SCALE,
    "volume": PRICE_SCALE,
    "quote_volume": NOTIONAL_SCALE,
    "taker_buy_volume": PRICE_SCALE,
    "taker_buy_quote_volume": NOTIONAL_SCALE,
}
"""Decimals of those columns of a candle that are not counts or ids."""


def to_time(microseconds: int) -> datetime:
    """Return the aware UTC time."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def to_microseconds(time: date) -> int:
    """Return the microseconds since 1970 of an aware time, or of the beginning of a UTC day."""
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day, tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def trade_columns(trades: Sequence[tuple[Trade, bytes]]) -> pl.DataFrame:
    """Return accepted trades, one by one, as the columns of the fast path."""
    rows = [
        (
            trade.symbol,
            trade.first_trade_id,
            trade.last_trade_id,
            to_decimal(trade.price),
            to_decimal(trade.quantity),
            trade.taker_side,
            trade.traded_at,
            trade.event_at,
            trade.received_at,
            trade.source,
            payload,
        )
        for trade, payload in trades
    ]
    return pl.DataFrame(rows, schema=TRADE_COLUMNS, orient="row")


def bronze_trades(columns: pl.DataFrame, *, keep_payload: bool) -> pl.DataFrame:
    """Return rows of bronze/trades from accepted trades."""
    schema = TABLES[TRADES].schema
    payload = pl.col("payload") if keep_payload else pl.lit(None, pl.Binary).alias("payload")
    times = [pl.col(name).cast(schema[name]) for name in ("traded_at", "event_at", "received_at")]
    frame = columns.with_columns(pl.lit(VENUE).alias("venue"), payload, *times)
    return frame.with_columns(pl.col("traded_at").dt.date().alias("date")).select(list(schema))


def bronze_klines(klines: Sequence[tuple[Kline, bytes]]) -> pl.DataFrame:
    """Return rows of bronze/klines; a window without trades has ids of None and a flat price."""
    return _frame(
        KLINES,
        (
            {
                "symbol": kline.symbol,
                "interval": kline.interval,
                "opened_at": to_time(kline.opened_at),
                **_candle_columns(kline.candle, kline.close),
                **({} if kline.has_ids else _NO_IDS),
                "received_at": to_time(kline.received_at),
                "payload": payload,
                "date": to_time(kline.opened_at).date(),
            }
            for kline, payload in klines
        ),
    )


def bronze_rejected(rejected: Sequence[Rejected]) -> pl.DataFrame:
    """Return rows of bronze/rejected."""
    return _frame(
        REJECTED,
        (
            {
                "topic": refused.topic,
                "reason": refused.reason,
                "received_at": to_time(refused.received_at),
                "payload": refused.payload,
                "date": to_time(refused.received_at).date(),
            }
            for refused in rejected
        ),
    )


def bronze_other_events(events: Sequence[tuple[str, bytes, int]]) -> pl.DataFrame:
    """Return rows of bronze/other_events from (event type, bytes, time of receipt)."""
    return _frame(
        OTHER_EVENTS,
        (
            {"event": event, "received_at": to_time(at), "payload": payload, "date": to_time(at).date()}
            for event, payload, at in events
        ),
    )


def bronze_context(table: str, versions: Sequence[Version]) -> pl.DataFrame:
    """Return rows of one of the tables of the market's context."""
    return _frame(table, map(_context_record, versions))


def _context_record(version: Version) -> Row:
    told = version.observation
    received_at = to_time(told.received_at)
    return {
        "source": told.source,
        "key": told.key,
        "observed_at": to_time(told.observed_at),
        "received_at": received_at,
        "known_at": to_time(version.known_at),
        "fields": canonical(told.fields),
        "payload": version.payload,
        "date": received_at.date(),
    }


def silver_candles(rows: Sequence[CandleRow]) -> pl.DataFrame:
    """Return rows of silver/candles."""
    return _frame(CANDLES, map(candle_record, rows))


def candle_record(row: CandleRow) -> Row:
    """Return one revision with the columns of silver/candles."""
    opened_at = to_time(row.opened_at)
    return {
        "venue": VENUE,
        "symbol": row.symbol,
        "interval": row.interval,
        "opened_at": opened_at,
        **_candle_columns(row.candle, row.flat),
        "state": row.state,
        "revision": row.revision,
        "known_at": to_time(row.known_at),
        "date": opened_at.date(),
    }


def silver_coverage(ranges: Iterable[tuple[str, int, int, str]], known_at: int) -> pl.DataFrame:
    """Return rows of silver/coverage from (symbol, first id, last id, status)."""
    at = to_time(known_at)
    return _frame(
        COVERAGE,
        (
            {
                "symbol": symbol,
                "first_trade_id": first,
                "last_trade_id": last,
                "status": status,
                "known_at": at,
                "date": at.date(),
            }
            for symbol, first, last, status in ranges
        ),
    )


def silver_discrepancies(records: Iterable[Row]) -> pl.DataFrame:
    """Return rows of silver/discrepancies."""
    return _frame(DISCREPANCIES, records)


def gold_signals(signals: Sequence[Signal]) -> pl.DataFrame:
    """Return rows of gold/signals."""
    return _frame(SIGNALS, map(_signal_record, signals))


def _signal_record(signal: Signal) -> Row:
    opened_at = to_time(signal.opened_at)
    return {
        **msgspec.structs.asdict(signal),
        "opened_at": opened_at,
        "evidence": canonical(signal.evidence),
        "known_at": to_time(signal.known_at),
        "date": opened_at.date(),
    }


def signals_of(frame: pl.DataFrame) -> list[Signal]:
    """Return the revisions of a frame of gold/signals."""
    times = [pl.col(name).to_physical() for name in ("opened_at", "known_at")]
    rows = frame.select(Signal.__struct_fields__).with_columns(times).iter_rows(named=True)
    return [Signal(**{**row, "evidence": _evidence.decode(row["evidence"])}) for row in rows]


_evidence = msgspec.json.Decoder(Evidence)


def candle_rows(frame: pl.DataFrame) -> list[CandleRow]:
    """Return the revisions of a frame of silver/candles."""
    return [
        CandleRow(
            symbol=symbol,
            interval=interval,
            opened_at=opened_at,
            candle=candle,
            flat=flat,
            state=state,
            revision=revision,
            known_at=known_at,
        )
        for (symbol, interval, opened_at, state, revision, known_at), (candle, flat) in zip(
            frame.select(
                "symbol",
                "interval",
                pl.col("opened_at").to_physical(),
                "state",
                "revision",
                pl.col("known_at").to_physical(),
            ).iter_rows(),
            candles_of(frame),
            strict=True,
        )
    ]


def klines_of(frame: pl.DataFrame) -> list[Kline]:
    """Return the klines of a frame of bronze/klines."""
    times = [pl.col(name).to_physical() for name in ("opened_at", "received_at")]
    rows = frame.select("symbol", "interval", *times, pl.col("close").to_physical()).iter_rows()
    return [
        Kline(
            symbol=symbol,
            interval=interval,
            opened_at=opened_at,
            candle=candle,
            close=close,
            received_at=received_at,
            has_ids=candle is None or candle.first_trade_id is not None,
        )
        for (symbol, interval, opened_at, received_at, close), (candle, _) in zip(rows, candles_of(frame), strict=True)
    ]


def candles_of(frame: pl.DataFrame) -> list[tuple[Candle | None, int | None]]:
    """Return (candle, flat price) of each row that has a candle's columns; no candle where there were no trades."""
    units = frame.select([pl.col(name).to_physical() for name in COLUMNS])
    return [
        (Candle(*row), None) if row[COLUMNS.index("trades")] else (None, row[COLUMNS.index("close")])
        for row in units.iter_rows()
    ]


def _candle_columns(candle: Candle | None, flat: int | None) -> Row:
    if candle is not None:
        scaled = {name: to_decimal(getattr(candle, name), scale) for name, scale in CANDLE_SCALES.items()}
        counts = {name: getattr(candle, name) for name in COLUMNS if name not in CANDLE_SCALES}
        return scaled | counts
    price = None if flat is None else to_decimal(flat)
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    sums = {name: to_decimal(0, scale) for name, scale in CANDLE_SCALES.items() if name not in prices}
    return {**prices, **sums, "trades": 0, "first_trade_id": None, "last_trade_id": None}


_NO_IDS: Row = {"first_trade_id": None, "last_trade_id": None}


def _frame(table: str, records: Iterable[Row]) -> pl.DataFrame:
    schema = TABLES[table].schema
    complete = [{"venue": VENUE, **record} if "venue" in schema else record for record in records]
    return pl.DataFrame(complete, schema=dict(schema), orient="row")
