"""A lake in a folder and rows to put there."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tapehouse.catalog import TABLES, TRADES
from tapehouse.lake.delta import DeltaLake

TradesMaker = Callable[..., pl.DataFrame]


@pytest.fixture
def root(tmp_path) -> str:
    return str(tmp_path / "lake")


@pytest.fixture
def lake(root) -> DeltaLake:
    lake = DeltaLake(root)
    lake.create()
    return lake


@pytest.fixture(scope="session")
def checkpoint() -> Callable[[DeltaLake, str], None]:
    """Write a table's state at its newest version, as a commit does now and then."""

    def write(lake: DeltaLake, table: str) -> None:
        with lake.writing(table) as delta:
            delta.create_checkpoint()

    return write


@pytest.fixture(scope="session")
def make_trades() -> TradesMaker:
    def make(first: int, count: int, symbol: str = "BTCUSDT", start: datetime | None = None) -> pl.DataFrame:
        start = start or datetime(2024, 8, 9, tzinfo=UTC) + timedelta(milliseconds=first)
        numbers = pl.int_range(count, dtype=pl.Int64, eager=True).alias("number")
        time = (pl.lit(start) + pl.duration(milliseconds=pl.col("number"))).cast(pl.Datetime("us", "UTC"))
        return (
            numbers.to_frame()
            .select(
                venue=pl.lit("binance"),
                symbol=pl.lit(symbol),
                first_trade_id=pl.col("number") + first,
                last_trade_id=pl.col("number") + first,
                price=(pl.col("number") % 97 + 6_000_000).cast(pl.Decimal(38, 8)) / 100,
                quantity=pl.lit("0.00000001").cast(pl.Decimal(38, 8)),
                taker_side=pl.when(pl.col("number") % 3 == 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
                traded_at=time,
                event_at=time,
                received_at=time,
                source=pl.lit("stream"),
                payload=(pl.lit('{"t":') + (pl.col("number") + first).cast(pl.String) + pl.lit("}")).cast(pl.Binary),
                date=time.dt.date(),
            )
            .cast(dict(TABLES[TRADES].schema))
        )

    return make
