"""Many small files become few sorted ones, while commits go on.

Law: a compaction changes no row. The sorted file is written aside, moved into its partition, and swapped for its
sources in one commit without data change; killed at any point, the table is what it was before or after.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

from tapehouse.catalog import CONTEXT_TABLES, TABLES, Table
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.loose_files import write_files
from tapehouse.lake.refusals import explained, reads_explained

FULL_ROWS = 131_072
"""Most rows one compaction holds (about 80 MB with payloads)."""
FULL_ROWS_OF_CONTEXT = 8_192
"""The same where a row is a document of a kilobyte or two, and its fields once more (about 25 MB)."""
FAN_IN = 32
"""Small files that gather before they are merged."""

FULL_BYTES = 4 * 1024 * 1024
"""Most bytes of the files of one, as they are stored: rows with long payloads are many times that in memory."""
_FINAL = "final-"
"""How the names of files begin that are never merged again."""


@dataclass(frozen=True)
class DataFile:
    """A live file of a table: `path` as the log names it, its rows, its partition's day, when it was written (ms)."""

    path: str
    rows: int
    size: int
    date: str
    written_at: int = 0


def data_files(table: DeltaTable) -> list[DataFile]:
    """Return the table's live files, oldest partition first, small files after large ones of the same day."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    date = pl.col("partition.date").cast(pl.String)
    written_at = pl.col("modification_time").cast(pl.Int64)
    files = [DataFile(*row) for row in actions.select("path", "num_records", "size_bytes", date, written_at).rows()]
    return sorted(files, key=lambda file: (file.date, -file.rows, file.path))


@dataclass(frozen=True)
class Merge:
    """Files of one day that are to become one; `final` ones are compressed hard and left alone from then on."""

    files: Sequence[DataFile]
    final: bool


def full_rows(table_name: str) -> int:
    """Return how many rows of a table one compaction may hold."""
    return FULL_ROWS_OF_CONTEXT if table_name in CONTEXT_TABLES.values() else FULL_ROWS


def choose(files: Sequence[DataFile], full: int, *, finished_before: str, quiet_since: int) -> Iterator[Merge]:
    """Choose what is worth merging, in compactions of at most `full` rows.

    A day still written to: FAN_IN files of one magnitude, so that a row is rewritten at most once a magnitude, of three
    quarters of `full` rows, since that is done again and again beside everything else; a file of a quarter of them is
    left alone till the day is over: under load each commit is one. A finished day, which is before `finished_before`
    and was not written to after `quiet_since` (ms): every file that is not final yet.
    """
    full_while_written = full * 3 // 4
    for date, of_day in groupby(files, key=lambda file: file.date):
        open_files = [file for file in of_day if not _is_final(file)]
        if date < finished_before and max((file.written_at for file in open_files), default=0) <= quiet_since:
            yield from (Merge(group, final=True) for group in _packed(open_files, len(open_files), full))
            continue
        small = [file for file in open_files if file.rows < full // 4]
        for _, alike in groupby(small, key=_magnitude):
            groups = _packed(list(alike), FAN_IN, full_while_written)
            yield from (Merge(group, final=False) for group in groups if _worthwhile(group, full_while_written))


def compact(lake: DeltaLake, table_name: str, merge: Merge) -> None:
    """Swap the files of a merge for a sorted file of the same rows; LakeError when the disk or bucket refuses."""
    table = TABLES[table_name]
    rows = read_sorted(lake, table, merge.files)
    if rows.height != sum(file.rows for file in merge.files):
        raise LakeError(f"Compaction of {table_name} read {rows.height} rows where its log tells of another number.")
    with explained(f"compact {lake.address(table_name)}"):
        swap(lake, table, rows, merge, rows_change=False)


def swap(lake: DeltaLake, table: Table, rows: pl.DataFrame, merge: Merge, *, rows_change: bool) -> None:
    """Put one sorted file a day of these rows in the place of the merged files, in one commit."""
    lake.check_writer(table.name)
    files = write_files(lake.place, table, rows, "final" if merge.final else "merged", _FINAL if merge.final else "")
    added = [file.added(rows_change=rows_change) for file in files]
    for file in merge.files:
        lake.place.begin_to_age(f"{table.name}/{unquote(file.path)}")
    replaced_at = int(time.time() * 1000)
    removed = [
        RemoveAction(file.path, rows_change, replaced_at, file.size, {"date": file.date}) for file in merge.files
    ]
    with lake.writing(table.name) as delta:
        delta.create_write_transaction([*added, *removed], mode="append", schema=delta.schema(), partition_by=["date"])
        delta.update_incremental()


def read_sorted(lake: DeltaLake, table: Table, files: Sequence[DataFile]) -> pl.DataFrame:
    """Return the rows of some files of a table in its order."""
    rows = lake.scan_paths(table.name, [file.path for file in files])
    with reads_explained(lake.address(table.name)):
        return rows.sort(table.sort_by, maintain_order=True).collect()


def _is_final(file: DataFile) -> bool:
    return file.path.rpartition("/")[2].startswith(_FINAL)


def _magnitude(file: DataFile) -> int:
    return max(0, (file.rows.bit_length() - 10) // 4)


def _packed(files: Sequence[DataFile], most: int, most_rows: int) -> Iterator[list[DataFile]]:
    """Cut files into groups of at most `most` files, `most_rows` rows and FULL_BYTES bytes."""
    group: list[DataFile] = []
    rows = size = 0
    for file in files:
        if group and (len(group) == most or rows + file.rows > most_rows or size + file.size > FULL_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(file)
        rows += file.rows
        size += file.size
    if group:
        yield group


def _worthwhile(group: Sequence[DataFile], most_rows: int) -> bool:
    is_full = (
        len(group) == FAN_IN
        or sum(file.rows for file in group) >= most_rows // 2
        or sum(file.size for file in group) >= FULL_BYTES // 2
    )
    return len(group) > 1 and is_full
