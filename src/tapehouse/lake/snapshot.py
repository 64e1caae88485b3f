"""The tables as they were at one moment, for reads that must agree with each other while another process commits.

Law: what the silver tables tell of is in bronze. A unit is committed bronze first, so silver is pinned before bronze,
and the trades last.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from tapehouse.catalog import TABLES, TRADES
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake

_PINNED = sorted(TABLES, key=lambda name: (name == TRADES, TABLES[name].layer == "bronze"))


class Snapshot:
    """A lake (`ports.Lake`) that takes no rows and shows none that came later."""

    def __init__(self, lake: DeltaLake) -> None:
        self._lake = lake
        self._files = {name: lake.files(name) for name in _PINNED}

    def append(self, table: str, frame: pl.DataFrame, *, writer: str, batch: int) -> bool:
        """Raise LakeError: a moment that is past takes nothing."""
        raise LakeError(f"Batch {batch} of {writer} ({frame.height} rows of {table}) was to change the past.")

    def last_batch(self, table: str, writer: str) -> int:
        """Return the last batch number committed by this writer, -1 when there is none."""
        return self._lake.last_batch(table, writer)

    def files(self, table: str) -> list[str]:
        """Return the addresses of a table's files."""
        return self._files[table]

    def scan(self, table: str, *, dates: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the table as it was, columns as in the catalog; `dates` (ISO days) prunes partitions."""
        files = self._files[table]
        if dates is not None:
            wanted = {f"date={day}" for day in dates}
            files = [file for file in files if _partition(file) in wanted]
        return self._lake.scan_files(table, files)

    def dates(
        self,
        table: str,
        *,
        symbol: str | None = None,  # noqa: ARG002  # it may return more days
        known_since: datetime | None = None,  # noqa: ARG002  # the same
    ) -> list[str]:
        """Return the ISO days the table had rows of, oldest first."""
        return sorted({_partition(file).removeprefix("date=") for file in self._files[table]})


def _partition(file: str) -> str:
    return file.rsplit("/", 2)[1]
