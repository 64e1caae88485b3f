"""Bytes a trade takes in bronze after compaction, with and without its payload; beside it other ways to keep it.

A million trades of the generator, received when they were traded; and, where the recordings are at hand, ten minutes
of the real market with the times they were received at, whose prices, quantities and times compress differently.
"""

import gzip
import json
from pathlib import Path

import polars as pl
from pyarrow import parquet

from benchmarks import stand, stored
from benchmarks.measuring import Figure, at_most, check
from tapehouse.catalog import TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView

TRADES_KEPT = 1_000_000
RECORDED = Path(__file__).parents[2] / "shared" / "data" / "1-binance-ws"
DAYS = "20240808", "20240809"


def run() -> list[Figure]:
    """Measure every way."""
    with stand.folder() as folder:
        full = kept(folder / "full", payload=True)
        lean = kept(folder / "lean", payload=False)
        rows = full.scan(TRADES).collect()
        typed = rows.drop("payload")
        plain = folder / "plain.parquet"
        typed.write_parquet(plain)
        text = typed.drop("venue", "source", "date", "received_at").write_csv().encode()
        return [
            at_most("bronze with the payload", size_of(full), "bytes", 20),
            at_most("bronze without the payload", size_of(lean), "bytes", 7),
            Figure("raw JSON messages", rows.select(pl.col("payload").bin.size().sum()).item() / rows.height, "bytes"),
            Figure("CSV, gzip", len(gzip.compress(text, 6)) / rows.height, "bytes"),
            Figure("plain typed Parquet (Polars' defaults)", plain.stat().st_size / rows.height, "bytes"),
            *(recorded(folder) if RECORDED.is_dir() else ()),
        ]


def recorded(folder: Path) -> list[Figure]:
    """Measure the recorded minutes of BTCUSDT."""
    lines = []
    for day in DAYS:
        with gzip.open(RECORDED / f"hftbacktest_spot_btcusdt_{day}.gz", "rb") as file:
            lines += [line.split(b" ", 1) for line in file if b'"e":"trade"' in line]
    frames = Batch([frame.strip() for _, frame in lines], [int(at) // 1000 for at, _ in lines])
    full, lean = (real(folder / f"real-{payload}", frames, payload=payload) for payload in (True, False))
    check(
        stored.rows_of(full) == len(lines) == len({json.loads(frame)["data"]["t"] for frame in frames.frames}), "rows"
    )
    name = f"{len(lines):,} recorded trades of BTCUSDT"
    return [
        at_most(f"{name}, with the payload: columns", columns_of(full), "bytes", 20),
        at_most(f"{name}, without the payload: columns", columns_of(lean), "bytes", 7),
        Figure(f"{name}, without the payload: two files", size_of(lean), "bytes"),
    ]


def real(folder: Path, frames: Batch, *, payload: bool) -> DeltaLake:
    """Return a compacted lake of these frames."""
    lake = DeltaLake(str(folder))
    lake.create()
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"]), now=ArrivalClock().now, keep_payload=payload)
    engine.fold([frames])
    engine.close()
    stored.tidy(lake, finished=True)
    return lake


def kept(folder: Path, *, payload: bool) -> DeltaLake:
    """Return a compacted lake of generated trades."""
    lake = stored.fill(str(folder), TRADES_KEPT, rate=2_000, payload=payload)
    stored.tidy(lake, finished=True)
    return lake


def size_of(lake: DeltaLake) -> float:
    """Return the bytes of the table's live files for each row."""
    return sum(Path(file).stat().st_size for file in lake.files(TRADES)) / stored.rows_of(lake)


def columns_of(lake: DeltaLake) -> float:
    """Return the bytes of the live files' columns for each row: the rest counts little where a file is large."""
    files = [parquet.read_metadata(file) for file in lake.files(TRADES)]
    chunks = [
        file.row_group(group).column(column).total_compressed_size
        for file in files
        for group in range(file.num_row_groups)
        for column in range(file.num_columns)
    ]
    return sum(chunks) / stored.rows_of(lake)
