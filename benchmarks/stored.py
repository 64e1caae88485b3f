"""A lake with many trades, written straight into the tables in the catalog's form: what a long run would have left."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import polars as pl

from tapehouse.catalog import PRICE, TRADES
from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
from tapehouse.exchange.messages import TradeWriter
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.maintenance import Maintenance
from tapehouse.ports import Batch
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.decode import decode_stream
from tapehouse.streaming.columns import TRADE_COLUMNS, stream_columns
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView

SYMBOLS = 3
SECOND = 1_000_000


def fill(
    root: str, trades: int, *, rate: float, payload: bool = False, before: Mapping[str, int] | None = None
) -> DeltaLake:
    """Write about so many trades that end now, through the engine itself, `rate` a second of event time.

    `before` gives the id of each symbol that follows the last one written.
    """
    now = int(datetime.now(UTC).timestamp() * SECOND)
    starts_at = now - int(trades / rate * SECOND)
    tape = GeneratedTape(GeneratorOptions(symbols=SYMBOLS, rate=rate, starts_at=starts_at))
    lake = DeltaLake(root)
    lake.create()
    recovered = recover(lake, tuple(tape.pairs))
    engine = EmbeddedEngine(lake, LiveView(), recovered, now=ArrivalClock().now, keep_payload=payload)
    writer = TradeWriter(list(tape.pairs), combined=True, microseconds=False)
    piece = int(200_000 / rate * SECOND)
    shifts = {symbol: after - tape.id_at(symbol, now) for symbol, after in (before or {}).items()}
    for start in range(starts_at, now, piece):
        rows = tape.between(start, min(start + piece, now))
        rows = rows.filter(pl.col("first_trade_id") == pl.col("last_trade_id"))
        rows = renumbered(rows, shifts) if shifts else rows
        engine.fold_columns(with_payload(rows, writer) if payload else bare(rows))
        engine.commit()
    engine.close()
    return lake


def renumbered(rows: pl.DataFrame, shifts: Mapping[str, int]) -> pl.DataFrame:
    """Return the rows with the ids of each symbol moved."""
    shift = pl.col("symbol").cast(pl.String).replace_strict(shifts, return_dtype=pl.Int64)
    return rows.with_columns(pl.col("first_trade_id", "last_trade_id") + shift)


def bare(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the tape's rows as accepted trades without the bytes they came in."""
    one_unit = pl.lit("0.00000001").cast(PRICE)
    return rows.select(
        pl.col("symbol").cast(pl.String),
        "first_trade_id",
        "last_trade_id",
        price=pl.col("price").cast(PRICE) * one_unit,
        quantity=pl.col("quantity").cast(PRICE) * one_unit,
        taker_side=pl.when("buyer_is_maker").then(pl.lit("sell")).otherwise(pl.lit("buy")),
        traded_at="traded_at",
        event_at="traded_at",
        received_at="traded_at",
        source=pl.lit("stream"),
        payload=pl.lit(None, pl.Binary),
    ).select(list(TRADE_COLUMNS))


def with_payload(rows: pl.DataFrame, writer: TradeWriter) -> pl.DataFrame:
    """Return the rows as the platform would have received them."""
    frames = [text.encode() for text in writer.trades(rows).to_list()]
    return stream_columns(decode_stream(Batch(frames=frames, received_at=rows["traded_at"].to_list())))[0]


def tidy(lake: DeltaLake, *, finished: bool) -> None:
    """Keep the tables until nothing is left to do: as on the day itself, or as when the day is over."""
    maintenance = Maintenance(lake, finished_after=timedelta(0) if finished else timedelta(hours=2))
    when = datetime.now(UTC) + timedelta(days=2 if finished else 0)
    while maintenance.run_once(when).pending:
        pass


def rows_of(lake: DeltaLake) -> int:
    """Return how many trades are stored."""
    return int(lake.scan(TRADES).select(pl.len()).collect().item())
