"""The Delta tables of the catalog in a folder (or a bucket): idempotent appends, scans that see every commit.

Law: a batch is one Delta commit that carries its writer and number, so that a retry, a second process or a crash
between any two lines cannot store it twice. One lock a table; the table stays open and is never read from scratch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import unquote

import polars as pl
from arro3.core import RecordBatchReader
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from tapehouse.catalog import EMBEDDED, MARTS, TABLES, WAREHOUSE, Table
from tapehouse.errors import LakeError
from tapehouse.lake.bucket import client_options, delta_options, is_bucket
from tapehouse.lake.encoding import pruning_columns, writer_properties
from tapehouse.lake.loose_files import LooseFile, write_files
from tapehouse.lake.place import open_place
from tapehouse.lake.refusals import explained

CHECKPOINT_EVERY = 20
"""Commits between two checkpoints: each commit reads the log since the last one, so few keep commits fast."""

TOMBSTONES_KEPT = "interval 1 hours"
"""How long checkpoints name removed files; the files themselves stay as long as time travel is promised (upkeep.py)."""

_Write = Callable[[DeltaTable, CommitProperties], None]
"""Commits to an open table with these properties."""

_COMMIT_ATTEMPTS = 5
_ROUNDED_BY_LOG = timedelta(milliseconds=1)
"""By how much the greatest time that a log names of a file may lie before the one in it."""
_NO_CLEANUP = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


class DeltaLake:
    """The lake under `root`: a folder, or `s3://bucket/prefix` with `storage_options` (`aws_...`).

    `writer` is what the catalog calls this process: it appends to and keeps the tables it is the writer of; None only
    reads, and finds a table that is not there yet empty. Safe from several threads. Every method raises LakeError when
    the disk or bucket refuses.
    """

    def __init__(
        self,
        root: str,
        *,
        storage_options: Mapping[str, str] | None = None,
        time_travel_days: int = 7,
        writer: str | None = EMBEDDED,
    ) -> None:
        self.root = root.rstrip("/") or "/"
        self.storage_options = dict(storage_options or {})
        self.time_travel_days = time_travel_days
        self.writer = writer
        self.place = open_place(self.root, self.storage_options)
        self._tables = {name: _OpenTable(self, table) for name, table in TABLES.items()}

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder of this machine."""
        return not is_bucket(self.root)

    @property
    def delta_options(self) -> dict[str, str] | None:
        """The options delta-rs opens a table of this lake with."""
        return None if self.is_local else delta_options(self.storage_options)

    def may_write(self, table: str) -> bool:
        """Tell whether this process is a writer of a table."""
        return self.writer in TABLES[table].writers.values()

    def check_writer(self, table: str) -> None:
        """Raise LakeError where a table has another writer: two engines on one table lose commits."""
        if not self.may_write(table):
            writers = " or ".join(dict.fromkeys(TABLES[table].writers.values()))
            raise LakeError(
                f"{self.address(table)} is written by {writers} alone, and this process is "
                f"{self.writer or 'a reader'}: a table has one writer."
            )

    def address(self, table: str) -> str:
        """Return where a table lies."""
        return f"{self.root}/{table}"

    def create(self) -> None:
        """Make every table that is missing; refuse one whose columns are not the catalog's.

        The warehouse makes those it publishes and no other, and nobody else makes those.
        """
        for name, table in self._tables.items():
            if (name in MARTS) == (self.writer == WAREHOUSE):
                table.create()

    def append(
        self, table: str, frame: pl.DataFrame, *, writer: str, batch: int, files: Sequence[LooseFile] = ()
    ) -> bool:
        """Commit the rows as one transaction; False when this batch of this writer was there already.

        `files` are further rows of the batch, which lie in the table's place.
        """
        opened = self._open(table)
        self.check_writer(table)
        return opened.append(frame, files, writer, batch)

    def replace(
        self, table: str, rows: pl.DataFrame, *, writer: str, batch: int, dates: Sequence[str] | None = None
    ) -> bool:
        """Put the rows in the place of all there are, or of those of `dates` (ISO days); otherwise as `append`."""
        opened = self._open(table)
        self.check_writer(table)
        return opened.replace(rows, writer, batch, dates)

    def last_batch(self, table: str, writer: str) -> int:
        """Return the last batch number committed by this writer, -1 when there is none."""
        with self._open(table).current() as delta:
            return -1 if delta is None else _last_batch(delta, writer)

    def scan(self, table: str, *, dates: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the table as it is now, columns as in the catalog; `dates` (ISO days) prunes partitions."""
        return self.scan_files(table, self.files(table, dates=dates))

    def scan_files(self, table: str, files: Sequence[str]) -> pl.LazyFrame:
        """Return the rows of these files of a table (addresses as `files` gives them)."""
        opened = self._open(table).table
        schema, partitioned = opened.schema, bool(opened.partition_by)
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(
            list(files),
            schema=schema,
            hive_schema={"date": pl.Date} if partitioned else None,
            hive_partitioning=partitioned,
            glob=False,
            storage_options=None if self.is_local else client_options(self.storage_options),
        )

    def scan_paths(self, table: str, paths: Iterable[str]) -> pl.LazyFrame:
        """Return the rows of data files in a table's place by their paths in its log, whether it names them or not."""
        return self.scan_files(table, [f"{self.address(table)}/{unquote(path)}" for path in paths])

    def files(self, table: str, *, dates: Sequence[str] | None = None) -> list[str]:
        """Return the addresses of the table's live files, of these days only when given."""
        pruning = [("date", "in", list(dates))] if dates is not None else None
        with self._open(table).current() as delta:
            if delta is None or (dates is not None and not dates):
                return []
            return [
                unquote(address) for address in delta.file_uris(file_pruning_predicate=pruning)
            ]  # quoted as in a URL

    def dates(self, table: str, *, symbol: str | None = None, known_since: datetime | None = None) -> list[str]:
        """Return the ISO days the table has rows of, oldest first, from its log alone.

        With `symbol` or `known_since` (of a table that has the column) only those of files that may hold such rows, by
        the least and the greatest value that the log names for each.
        """
        wanted = [] if symbol is None else [("symbol", "=", symbol)]
        if known_since is not None:
            wanted.append(("known_at", ">=", (known_since - _ROUNDED_BY_LOG).isoformat()))
        with self._open(table).current() as delta:
            if delta is None:
                return []
            if not wanted:
                return sorted({str(part["date"]) for part in delta.partitions()})
            files = delta.file_uris(file_pruning_predicate=wanted)
            return sorted({file.rsplit("/date=", 1)[1].partition("/")[0] for file in files})

    def version(self, table: str) -> int:
        """Return the table's newest version, -1 of a table that a reader finds not to be there."""
        with self._open(table).current() as delta:
            return -1 if delta is None else delta.version()

    @contextmanager
    def writing(self, table: str) -> Iterator[DeltaTable]:
        """Hold a table for a commit of one's own (compaction, upkeep), at its newest version."""
        self.check_writer(table)
        with self._open(table).current() as delta:
            if delta is None:
                raise LakeError(f"There is no table at {self.address(table)}.")
            yield delta

    def opened_apart(self, table: str) -> DeltaTable:
        """Return a table opened for itself: what is done with it holds up nobody."""
        self.check_writer(table)
        return DeltaTable(self.address(table), storage_options=self.delta_options)

    def _open(self, table: str) -> "_OpenTable":
        try:
            return self._tables[table]
        except KeyError:
            raise LakeError(f"The lake has no table {table!r}; it has {', '.join(self._tables)}.") from None


class _OpenTable:
    """One table, kept open; its lock makes commits and refreshes of this process take turns."""

    def __init__(self, lake: DeltaLake, table: Table) -> None:
        self.table = table
        self._lake = lake
        self._lock = RLock()
        self._delta: DeltaTable | None = None
        self._opened_at = 0
        self._writer_properties = writer_properties(table, "live")

    def create(self) -> None:
        with self._lock, explained(f"create {self._address}"):
            if not self._exists():
                if self._lake.is_local:
                    Path(self._address).mkdir(parents=True, exist_ok=True)
                _create(self._address, self.table, self._lake)
            self._held()

    @contextmanager
    def current(self) -> Iterator[DeltaTable | None]:
        """Hold the table at its newest version; None is a table that a reader found not to be there yet."""
        with self._lock, explained(f"read {self._address}"):
            others = not self._lake.may_write(self.table.name)  # its writer may not have made it yet
            missing = others and self._delta is None and not self._exists()
            yield None if missing else self._refreshed()

    def append(self, frame: pl.DataFrame, files: Sequence[LooseFile], writer: str, batch: int) -> bool:
        _check_columns(self.table, frame.schema)
        with self._lock, explained(f"write to {self._address}"):
            if files and frame.height:
                files = [*files, *write_files(self._lake.place, self.table, frame, "live")]
            write = partial(self._name, files) if files else partial(self._write, frame, {"mode": "append"})
            return self._attempted(write, writer, batch)

    def replace(self, frame: pl.DataFrame, writer: str, batch: int, dates: Sequence[str] | None) -> bool:
        _check_columns(self.table, frame.schema)
        days = None if dates is None else "date in ('" + "', '".join(dates) + "')"
        with self._lock, explained(f"write to {self._address}"):
            write = partial(self._write, frame, {"mode": "overwrite", "predicate": days})
            return self._attempted(write, writer, batch)

    def _attempted(self, write: _Write, writer: str, batch: int) -> bool:
        for _ in range(_COMMIT_ATTEMPTS):
            try:
                return self._commit(write, writer, batch)
            except CommitFailedError:  # another commit came first: look again and decide anew
                self._refreshed()
        return self._commit(write, writer, batch)

    def _write(self, frame: pl.DataFrame, how: dict[str, Any], delta: DeltaTable, properties: CommitProperties) -> None:
        write_deltalake(
            delta,
            frame,
            **how,
            writer_properties=self._writer_properties,
            commit_properties=properties,
            post_commithook_properties=_NO_CLEANUP,
        )

    def _name(self, files: Sequence[LooseFile], delta: DeltaTable, properties: CommitProperties) -> None:
        delta.create_write_transaction(
            [file.added() for file in files],
            mode="append",
            schema=delta.schema(),
            partition_by=list(self.table.partition_by),
            commit_properties=properties,
            post_commithook_properties=_NO_CLEANUP,
        )
        delta.update_incremental()

    def _commit(self, write: _Write, writer: str, batch: int) -> bool:
        delta = self._held()
        if batch <= _last_batch(delta, writer):
            return False
        write(
            delta,
            CommitProperties(app_transactions=[Transaction(writer, batch)], max_commit_retries=_COMMIT_ATTEMPTS),
        )
        if delta.version() >= self._opened_at + CHECKPOINT_EVERY:
            self._delta = None  # an open table remembers each commit apart and slows; one opened anew is compact
        return True

    def _exists(self) -> bool:
        return DeltaTable.is_deltatable(self._address, self._lake.delta_options)

    def _held(self) -> DeltaTable:
        if self._delta is None:
            self._delta = self._opened()
            self._opened_at = self._delta.version()
        return self._delta

    def _refreshed(self) -> DeltaTable:
        delta = self._held()
        try:
            delta.update_incremental()
        except DeltaError:  # the log moved on by more than it keeps: start from its newest checkpoint
            self._delta = None
            return self._held()
        return delta

    def _opened(self) -> DeltaTable:
        delta = DeltaTable(self._address, storage_options=self._lake.delta_options)
        expected = _delta_schema(self.table)
        if delta.schema() != expected or delta.metadata().partition_columns != list(self.table.partition_by):
            raise LakeError(
                f"The table at {self._address} has other columns than this version of Tapehouse writes "
                f"({_difference(delta.schema(), expected)}). Point TAPEHOUSE_LAKE elsewhere, or move the table away."
            )
        return delta

    @property
    def _address(self) -> str:
        return self._lake.address(self.table.name)


def _last_batch(delta: DeltaTable, writer: str) -> int:
    version = delta.transaction_version(writer)
    return -1 if version is None else version


def _check_columns(table: Table, found: pl.Schema) -> None:
    expected = pl.Schema(table.schema)
    if found != expected or list(found) != list(expected):
        wrong = [f"{name}: {kind}" for name, kind in found.items() if expected.get(name) != kind]
        missing = [f"{name}: {kind} is missing" for name, kind in expected.items() if name not in found]
        told = ", ".join(wrong + missing) or "columns in another order"
        raise LakeError(f"These rows do not fit {table.name}: {told}.")


def _create(address: str, table: Table, lake: DeltaLake) -> None:
    DeltaTable.create(
        address,
        schema=_delta_schema(table),
        mode="ignore",
        partition_by=list(table.partition_by),
        configuration={
            "delta.checkpointInterval": str(CHECKPOINT_EVERY),
            "delta.logRetentionDuration": f"interval {max(1, lake.time_travel_days)} days",
            "delta.deletedFileRetentionDuration": TOMBSTONES_KEPT,
            "delta.enableExpiredLogCleanup": "false",
            "delta.dataSkippingStatsColumns": ",".join(pruning_columns(table)),
        },
        storage_options=lake.delta_options,
    )


def _delta_schema(table: Table) -> Schema:
    return Schema.from_arrow(RecordBatchReader.from_arrow(pl.DataFrame(schema=table.schema)).schema)


def _difference(found: Schema, expected: Schema) -> str:
    there = {field.name: str(field.type) for field in found.fields}
    wanted = {field.name: str(field.type) for field in expected.fields}
    names = [name for name in wanted | there if there.get(name) != wanted.get(name)]
    return ", ".join(names) or "partitions or order"
