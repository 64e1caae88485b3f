"""What a build of the warehouse takes: full over a year of minutes, and for one hour more, in seconds and in memory.

Beside it, the hours alone in one query of DuckDB over the same Delta table, without a test, a history or a mart.
"""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import duckdb
import polars as pl

from benchmarks import stand
from benchmarks.measuring import Figure, check
from tapehouse.catalog import CANDLES, TABLES
from tapehouse.lake.delta import DeltaLake

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
FEW, MANY = 3, 400
POLL = 0.02
"""Seconds between two looks at the high-water mark of a build's memory."""
HOURLY = """create or replace temp table hours as
select venue, symbol, date_trunc('hour', opened_at) as hour, arg_min(open, opened_at) as open, max(high) as high,
    min(low) as low, arg_max(close, opened_at) as close, sum(volume) as volume, sum(quote_volume) as quote_volume,
    sum(trades) as trades
from delta_scan('{table}') where interval = '1m' group by all"""


def run(days: int) -> list[Figure]:
    """Build over some days of three symbols and an hour more, then over a day of 400 and an hour more."""
    figures = [*_builds(FEW, days), *_builds(MANY, 1)]
    return [*figures, Figure("load of the machine, which others shared, at the end", os.getloadavg()[0], "")]


def _builds(symbols: int, days: int) -> list[Figure]:
    past = days * 24 * 60
    with stand.folder() as folder:
        lake = DeltaLake(str(folder / "lake"))
        lake.create()
        figures = []
        for batch, (first, last) in enumerate([(0, past), (past, past + 60)]):
            lake.append(CANDLES, candles(symbols, first, last), writer="embedded", batch=batch)
            seconds, megabytes = build(folder)
            plain = compared(folder, lake)
            what = (
                f"one hour more of {symbols} symbols" if batch else f"full, {symbols} symbols, {days} days of minutes"
            )
            figures += [
                Figure(f"{what}: build", seconds, "s"),
                Figure(f"{what}: peak memory", megabytes, "MB"),
                Figure(f"{what}: the hours alone, one DuckDB query over all", plain, "s"),
                Figure(f"{what}: the build is longer by", seconds / plain, "times"),
            ]
    return figures


def candles(symbols: int, first: int, last: int) -> pl.DataFrame:
    """Return the minutes `first` to `last` of every symbol, and the hours they make, as silver has them."""
    minute = pl.col("minute")
    drawn = pl.struct("minute", "symbol")
    frame = pl.DataFrame({"minute": range(first, last)}).join(
        pl.DataFrame({"symbol": [f"S{number}USDT" for number in range(symbols)]}), how="cross"
    )
    minutes = frame.with_columns(
        opened_at=pl.lit(BEGIN).dt.cast_time_unit("us") + pl.duration(minutes=minute),
        open=50_000.0 + drawn.hash(1) % 100_000 / 100,
        close=50_000.0 + drawn.hash(2) % 100_000 / 100,
        volume=(1 + drawn.hash(3) % 10**9) / 10**6,
        trades=pl.lit(100),
        first_trade_id=minute * 100,
        last_trade_id=minute * 100 + 99,
    ).with_columns(
        high=pl.max_horizontal("open", "close") + 1,
        low=pl.min_horizontal("open", "close") - 1,
        quote_volume=pl.col("volume") * pl.col("close"),
        taker_buy_volume=pl.col("volume") / 2,
        taker_buy_quote_volume=pl.col("volume") * pl.col("close") / 2,
    )
    exact = typed(minutes, "1m", timedelta(minutes=1))
    ordered = exact.sort("symbol", "opened_at").with_columns(pl.col("opened_at").dt.truncate("1h"))
    sums = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
    hours = ordered.group_by("symbol", "opened_at").agg(
        pl.col("open", "first_trade_id").first(),
        pl.col("close", "last_trade_id").last(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col(sums).sum(),
    )
    return pl.concat([exact, typed(hours, "1h", timedelta(hours=1))])


def typed(rows: pl.DataFrame, interval: str, length: timedelta) -> pl.DataFrame:
    """Return candles with every column of the catalog, of its type."""
    whole = rows.with_columns(
        venue=pl.lit("binance"),
        interval=pl.lit(interval),
        state=pl.lit("closed"),
        revision=pl.lit(1),
        known_at=pl.col("opened_at") + length,
        date=pl.col("opened_at").dt.date(),
    )
    return whole.select(pl.col(name).cast(kind) for name, kind in TABLES[CANDLES].schema.items())


def build(folder: Path) -> tuple[float, float]:
    """Run `tapehouse warehouse build`; return its seconds and the megabytes it had at most."""
    told = {"PATH": os.environ["PATH"], "HOME": str(folder), "TAPEHOUSE_LAKE": str(folder / "lake")}
    command = [sys.executable, "-m", "tapehouse.cli", "warehouse", "build"]
    said, peak, began = folder / "said.txt", 0.0, time.monotonic()
    with (
        said.open("w") as out,
        subprocess.Popen(command, cwd=folder, env=told, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        while process.poll() is None:
            peak = max(peak, peak_megabytes(process.pid))
            time.sleep(POLL)
    check(process.returncode == 0, said.read_text()[-3000:])
    return time.monotonic() - began, peak


def peak_megabytes(process: int) -> float:
    """Return the most memory a process has had; 0 where it has just ended."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def compared(folder: Path, lake: DeltaLake) -> float:
    """Check the marts against Polars over the lake; return the seconds of the plain query, checked as well."""
    minutes = lake.scan(CANDLES).filter(pl.col("interval") == "1m")
    rows, hours, volume = minutes.select(
        pl.len(), pl.struct("symbol", pl.col("opened_at").dt.truncate("1h")).n_unique().alias("n"), pl.sum("volume")
    ).collect().row(0)  # fmt: skip
    with duckdb.connect(str(folder / "data/warehouse/warehouse.duckdb"), read_only=True) as warehouse:
        held = [sums(warehouse, f"marts.{name}") for name in ("fct_candle_1m", "agg_symbol_hour")]
    check(held == [(rows, volume), (hours, volume)], f"{held}, but the lake has {rows}, {hours}, {volume}")
    with duckdb.connect() as plain:
        plain.execute(f"LOAD '{extension()}'")
        began = time.monotonic()
        plain.execute(HOURLY.format(table=lake.address(CANDLES)))
        took = time.monotonic() - began
        check(sums(plain, "hours") == (hours, volume), "the plain query's hours differ")
    return took


def sums(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[object, ...]:
    """Return how many rows a table has, and their volume."""
    return connection.table(table).aggregate("count(*), sum(volume)").fetchall()[0]


def extension() -> Path:
    """Return DuckDB's extension for Delta, which comes from a wheel."""
    spec = find_spec("duckdb_extension_delta")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("duckdb-extension-delta is not installed: make setup-warehouse installs it")
    folder = Path(spec.submodule_search_locations[0])
    return folder / "extensions" / f"v{duckdb.__version__}" / "delta.duckdb_extension"
