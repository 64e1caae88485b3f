"""Bytes a trade takes in bronze after compaction, with and without its payload; beside it other ways to keep it.

The trades are the generator's; the parts of the real market that compress differently are prices and quantities.
"""

import gzip
from pathlib import Path

import polars as pl

from benchmarks import stand, stored
from benchmarks.measuring import Figure, at_most
from tapehouse.catalog import TRADES
from tapehouse.lake.delta import DeltaLake

TRADES_KEPT = 1_000_000


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
        ]


def kept(folder: Path, *, payload: bool) -> DeltaLake:
    """Return a compacted lake of generated trades."""
    lake = stored.fill(str(folder), TRADES_KEPT, rate=2_000, payload=payload)
    stored.tidy(lake, finished=True)
    return lake


def size_of(lake: DeltaLake) -> float:
    """Return the bytes of the table's live files for each row."""
    return sum(Path(file).stat().st_size for file in lake.files(TRADES)) / stored.rows_of(lake)
