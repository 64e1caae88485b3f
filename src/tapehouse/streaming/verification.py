"""The oracle: candles against the exchange's klines, column by column; a difference is looked into before it counts."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import polars as pl
import structlog

from tapehouse.catalog import CANDLES, KLINES, TRADES
from tapehouse.errors import UpstreamError
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import COLUMNS, Candle
from tapehouse.market.events import Kline, Trade
from tapehouse.market.fixed_point import to_decimal
from tapehouse.market.ledger import Check
from tapehouse.market.proof import CLOSED, QUIET, differences
from tapehouse.market.windows import MINUTE, closes_at
from tapehouse.ports import Lake
from tapehouse.producers.binance.wire import rest_kline
from tapehouse.streaming.recovery import fold_bronze
from tapehouse.streaming.rows import CANDLE_SCALES, Row, candle_rows, klines_of, to_time

log = structlog.get_logger(__name__)


class Oracle(Protocol):
    """Who can tell the exchange's klines."""

    async def klines(self, symbol: str, start: int, end: int) -> list[bytes]:
        """Return the 1m klines that open in [start, end) (microseconds), as rows of the REST answer."""


class Verification(msgspec.Struct, frozen=True):
    """What a comparison of a range came to; counts are 1m windows."""

    symbol: str
    windows: int
    agreeing: int
    unproved: int
    without_kline: int
    differing: Sequence[Check]


def verify(lake: Lake, symbol: str, start: int, end: int, klines: Sequence[Kline] | None = None) -> Verification:
    """Compare the stored 1m candles that open in [start, end) with the stored klines, or with those given."""
    dates = _dates(start, end)
    ours = _in_range(lake.scan(CANDLES, dates=dates), symbol, start, end)
    rows = {row.opened_at: row for row in candle_rows(highest_revisions(ours).collect())}
    if klines is None:
        klines = klines_of(_in_range(lake.scan(KLINES, dates=dates), symbol, start, end).collect())
    told = {kline.opened_at: kline for kline in klines}
    proved = {opened: row for opened, row in rows.items() if row.state in {CLOSED, QUIET}}
    checks = [
        Check(symbol, opened, differences(row.candle, row.flat, told[opened]))
        for opened, row in sorted(proved.items())
        if opened in told
    ]
    return Verification(
        symbol=symbol,
        windows=len(rows.keys() | told.keys()),
        agreeing=sum(1 for check in checks if not check.differences),
        unproved=len((rows.keys() | told.keys()) - proved.keys()),
        without_kline=len(proved.keys() - told.keys()),
        differing=[check for check in checks if check.differences],
    )


async def klines_between(lake: Lake, oracle: Oracle, symbol: str, start: int, end: int) -> list[Kline]:
    """Return the exchange's 1m klines of [start, end): the stored ones, and over REST those that are not stored.

    Raise UpstreamError when some are not stored and the exchange does not answer.
    """
    stored = klines_of(_in_range(lake.scan(KLINES, dates=_dates(start, end)), symbol, start, end).collect())
    known = {kline.opened_at: kline for kline in stored}
    rows = _in_range(lake.scan(CANDLES, dates=_dates(start, end)), symbol, start, end)
    opened = rows.select(pl.col("opened_at").to_physical().unique().sort()).collect()["opened_at"]
    lacking = [at for at in opened if at not in known]
    if lacking:
        for kline in await _told(oracle, symbol, lacking[0], lacking[-1] + MINUTE):
            known.setdefault(kline.opened_at, kline)
    return [kline for _, kline in sorted(known.items())]


def tally(lake: Lake, since: int) -> dict[str, tuple[int, int]]:
    """Return (compared, agreeing) by symbol of the 1m candles that opened since then (microseconds)."""
    chosen = (pl.col("interval") == "1m") & (pl.col("opened_at") >= to_time(since))
    dates = _dates(since, since + 2 * 24 * 60 * MINUTE)
    candles = highest_revisions(lake.scan(CANDLES, dates=dates).filter(chosen))
    proved = candles.filter(pl.col("state").is_in([CLOSED, QUIET]))
    klines = lake.scan(KLINES, dates=dates).filter(chosen).unique(["symbol", "opened_at"], keep="last")
    paired = proved.join(klines, on=["symbol", "opened_at"], suffix="_told")
    same = [pl.col(name).eq_missing(pl.col(f"{name}_told")) | _untold(name) for name in COLUMNS]
    counts = paired.group_by("symbol").agg(pl.len(), pl.all_horizontal(same).sum().alias("agreeing")).collect()
    return {symbol: (compared, agreeing) for symbol, compared, agreeing in counts.iter_rows()}


async def look_into(check: Check, lake: Lake, oracle: Oracle, known_at: int) -> list[Row]:
    """Derive a differing candle again, from bronze and over REST; return what is to be recorded of it.

    `status` says who is alone: `recomputed` when bronze gives the exchange's numbers, `kline_corrected` when the
    exchange's REST kline gives ours, `stays` when the two versions remain.
    """
    told = {column: theirs for column, _, theirs in check.differences}
    computed = await asyncio.to_thread(bronze_candle, lake, check.symbol, check.opened_at)
    if computed is not None and all(getattr(computed, column) == theirs for column, theirs in told.items()):
        status = "recomputed"
    else:
        now_told = await _told(oracle, check.symbol, check.opened_at, closes_at(check.opened_at, "1m"))
        flat = {column: ours for column, ours, _ in check.differences}.get("close")
        agrees = any(not differences(computed, kline.close if flat is None else flat, kline) for kline in now_told)
        status = "kline_corrected" if agrees else "stays"
    log.warning("candle_differs", symbol=check.symbol, opened_at=to_time(check.opened_at).isoformat(), status=status)
    return discrepancies(check, status, known_at)


async def _told(oracle: Oracle, symbol: str, start: int, end: int) -> list[Kline]:
    try:
        return [rest_kline(symbol, "1m", row, 0) for row in await oracle.klines(symbol, start, end)]
    except ValueError as error:
        raise UpstreamError(f"the exchange's klines of {symbol} cannot be read: {error}") from error


def bronze_candle(lake: Lake, symbol: str, opened: int) -> Candle | None:
    """Fold the stored trades of one 1m window, None when there are none."""
    chosen = (pl.col("symbol") == symbol) & pl.col("traded_at").is_between(
        to_time(opened), to_time(closes_at(opened, "1m")), closed="left"
    )
    trades = lake.scan(TRADES, dates=[to_time(opened).date().isoformat()]).select(Trade.__struct_fields__)
    return fold_bronze(trades.filter(chosen)).get((symbol, opened))


def discrepancies(check: Check, status: str, known_at: int) -> list[Row]:
    """Return rows of silver/discrepancies, one a column, with both versions."""
    opened = to_time(check.opened_at)
    return [
        {
            "symbol": check.symbol,
            "interval": "1m",
            "opened_at": opened,
            "column": column,
            "ours": shown(column, ours),
            "theirs": shown(column, theirs),
            "status": status,
            "known_at": to_time(known_at),
            "date": opened.date(),
        }
        for column, ours, theirs in check.differences
    ]


def shown(column: str, units: int | None) -> str:
    """Return a column's value as people write it."""
    if units is None:
        return ""
    scale = CANDLE_SCALES.get(column)
    return str(units) if scale is None else f"{to_decimal(units, scale):f}".rstrip("0").rstrip(".")


def _untold(column: str) -> pl.Expr:
    """Whether it is an id of a kline that tells none."""
    told = pl.col(f"{column}_told")
    return told.is_null() if column.endswith("trade_id") else pl.lit(value=False)


def _in_range(frame: pl.LazyFrame, symbol: str, start: int, end: int) -> pl.LazyFrame:
    within = pl.col("opened_at").is_between(to_time(start), to_time(end), closed="left")
    return frame.filter(pl.col("symbol") == symbol, pl.col("interval") == "1m", within)


def _dates(start: int, end: int) -> list[str]:
    first = datetime.fromtimestamp(start // 1_000_000, UTC).date()
    last = datetime.fromtimestamp((end - 1) // 1_000_000, UTC).date()
    return [day.isoformat() for day in pl.date_range(first, last, eager=True)]
