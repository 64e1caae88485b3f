"""Data files that lie in a table's place and belong to it only once a commit names them.

Whoever reaches the place may write one: upkeep, or Spark's workers. The commit is the table's one writer's. A file that
is never named holds no row of the table, and vacuum removes it in time.
"""

import json
import time
from pathlib import Path
from urllib.parse import unquote

import msgspec
import polars as pl
from arro3.core import RecordBatchReader
from deltalake import write_deltalake
from deltalake.transaction import AddAction

from tapehouse.catalog import Table
from tapehouse.lake.encoding import Stage, pruning_columns, writer_properties
from tapehouse.lake.place import Place

PIECE_ROWS = 8_192
"""Rows handed to the writer at a time: it holds what it was handed several times over."""


class LooseFile(msgspec.Struct, frozen=True):
    """A data file of a table: `path` as a log names it, relative to the table; `size` in bytes; `date` its partition.

    `stats` are its rows and the least and greatest values of its columns, JSON as in a log; `written_at` milliseconds
    since 1970.
    """

    path: str
    size: int
    date: str
    stats: str
    written_at: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(json.loads(self.stats)["numRecords"])

    def added(self, *, rows_change: bool = True) -> AddAction:
        """Return what makes it part of the table; `rows_change` False says that the rows were there before."""
        return AddAction(self.path, self.size, {"date": self.date}, self.written_at, rows_change, self.stats)


def write_files(place: Place, table: Table, rows: pl.DataFrame, stage: Stage, prefix: str = "") -> list[LooseFile]:
    """Write rows of a table to its place, one file a day; raises what the disk or bucket raises."""
    with place.scratch(table.name) as scratch:
        write_deltalake(
            scratch,
            _in_pieces(rows),
            partition_by=list(table.partition_by),
            configuration={"delta.dataSkippingStatsColumns": ",".join(pruning_columns(table))},
            writer_properties=writer_properties(table, stage),
        )
        log = (scratch / "_delta_log" / f"{0:020d}.json").read_text().splitlines()
        written = [action["add"] for action in map(json.loads, log) if "add" in action]
        return [_taken_in(place, table, scratch, add, prefix) for add in written]


def _in_pieces(rows: pl.DataFrame) -> RecordBatchReader:
    pieces = (batch for piece in rows.iter_slices(PIECE_ROWS) for batch in RecordBatchReader.from_arrow(piece))
    return RecordBatchReader.from_batches(RecordBatchReader.from_arrow(rows.head(0)).schema, pieces)


def _taken_in(place: Place, table: Table, scratch: Path, add: dict[str, object], prefix: str) -> LooseFile:
    written = str(add["path"])
    partition, _, name = written.rpartition("/")
    path = f"{partition}/{prefix}{name}"
    place.take_in(scratch / unquote(written), f"{table.name}/{unquote(path)}")
    return LooseFile(
        path=path,
        size=add["size"],  # type: ignore[arg-type]  # as the log has it
        date=add["partitionValues"]["date"],  # type: ignore[index]  # as the log has them
        stats=str(add["stats"]),
        written_at=int(time.time() * 1000),
    )
