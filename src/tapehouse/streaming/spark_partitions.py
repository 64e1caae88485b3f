"""What Spark's workers do with a partition of the tape: decode it once, reduce it, write its rows of bronze/trades.

Back come the runs found and the files written, which belong to the table once the driver commits them, and the records
about which the driver has to decide one by one.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import msgspec
import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame

from tapehouse.catalog import TABLES, TRADES
from tapehouse.lake.loose_files import LooseFile, write_files
from tapehouse.lake.place import open_place
from tapehouse.streaming.columns import TRADE_COLUMNS
from tapehouse.streaming.rows import bronze_trades
from tapehouse.streaming.runs import Run, runs_of
from tapehouse.streaming.spark_records import RAW, RAW_DDL, decode

_OUTCOME = RAW.append(pa.field("told", pa.binary()))
_OUTCOME_DDL = f"{RAW_DDL}, told binary"


class Aim(msgspec.Struct, frozen=True):
    """Where workers write: the lake's root and the options of its bucket (`aws_...`); whether payloads are kept."""

    root: str
    options: Mapping[str, str]
    keep_payload: bool


class Partition(msgspec.Struct, frozen=True):
    """What a worker made of a partition: how many records it read, runs of trades, the files with the runs' rows.

    `apart` are the symbols whose trades are no run here: they are among the records that come back. `received_to` is
    when the newest trade was received (microseconds), None where there is none.
    """

    records: int
    received_to: int | None
    runs: list[Run]
    files: list[LooseFile]
    apart: list[str]


def take_partitions(records: DataFrame, aim: Aim) -> tuple[list[Partition], pa.Table]:
    """Take a micro-batch (spark_records.RAW without `received_at`) in one job; return the rest of it as records."""
    outcome = records.mapInArrow(partial(_take_partition, aim), _OUTCOME_DDL).toArrow()
    told = outcome["told"].drop_null().to_pylist()
    partitions = [msgspec.json.decode(each, type=Partition) for each in told]
    return partitions, outcome.filter(outcome["told"].is_null()).drop_columns("told")


def records_apart(records: DataFrame, symbols: Iterable[str]) -> pa.Table:
    """Return the records of a micro-batch that are no trades of the stream, or of one of these symbols."""
    return records.mapInArrow(partial(_take_apart, frozenset(symbols)), RAW_DDL).toArrow()


def _take_partition(aim: Aim, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Take the records of one partition; runs in Spark's Python workers (`mapInArrow`)."""
    decoded = [decode(pl.DataFrame(pl.from_arrow(batch))) for batch in batches]
    if not decoded:
        return
    trades, rest = (pl.concat(each) for each in zip(*decoded, strict=True))
    runs = runs_of(trades)
    of_runs = pl.col("symbol").is_in([run.symbol for run in runs])
    apart = trades.filter(~of_runs)
    partition = Partition(
        records=trades.height + rest.height,
        received_to=trades["received_at"].max(),
        runs=runs,
        files=_write(aim, trades.filter(of_runs)) if runs else [],
        apart=apart["symbol"].unique().to_list(),
    )
    yield from _raw([rest, apart], _OUTCOME)
    yield pa.RecordBatch.from_pylist([{"told": msgspec.json.encode(partition)}], _OUTCOME)


def _take_apart(symbols: frozenset[str], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        trades, rest = decode(pl.DataFrame(pl.from_arrow(batch)))
        yield from _raw([rest, trades.filter(pl.col("symbol").is_in(symbols))], RAW)


def _write(aim: Aim, trades: pl.DataFrame) -> list[LooseFile]:
    table = TABLES[TRADES]
    rows = bronze_trades(trades.select(list(TRADE_COLUMNS)), keep_payload=aim.keep_payload).sort(table.sort_by)
    return write_files(open_place(aim.root, aim.options), table, rows, "live")


def _raw(frames: Iterable[pl.DataFrame], schema: pa.Schema) -> list[pa.RecordBatch]:
    """Return records; a trade that was decoded is told without the headers it came with."""
    none = pl.DataFrame(pl.from_arrow(schema.empty_table()))
    records = pl.concat([none, *frames], how="diagonal").select(schema.names)
    table: pa.Table = records.to_arrow(compat_level=pl.CompatLevel.oldest())
    return list(table.cast(schema).to_batches())
