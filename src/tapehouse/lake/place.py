"""Where a lake lies: what upkeep needs beside the Delta tables themselves, of a folder or of a bucket."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from tapehouse.lake.bucket import client_needed, is_bucket
from tapehouse.lake.log_entries import LogEntry, entry_of, is_entry

_SCRATCH = "_scratch"


class Place(Protocol):
    """A folder or a bucket. Paths are relative to the lake's root; what refuses raises its own error."""

    def log_entries(self, table: str) -> list[LogEntry]:
        """Return the files of a table's log that belong to a version."""

    def remove_log_entries(self, table: str, entries: Sequence[LogEntry]) -> None:
        """Remove files of a table's log."""

    def scratch(self, table: str) -> AbstractContextManager[Path]:
        """Give an empty folder of this machine to write a table's new files in before they are taken in."""

    def take_in(self, file: Path, path: str) -> None:
        """Put a file from the scratch folder where the tables are."""

    def begin_to_age(self, path: str) -> None:
        """Take note that a data file was replaced now, where a file's age decides when it is removed."""

    def clear_scratch(self) -> None:
        """Remove what a killed upkeep left."""


def open_place(root: str, options: Mapping[str, str]) -> Place:
    """Return where the lake under a root lies: a folder, or a bucket with its options (`aws_...`)."""
    if not is_bucket(root):
        return Folder(root)
    with client_needed(root):
        from tapehouse.lake.objects import Bucket  # noqa: PLC0415  # of the extra `s3`

    return Bucket(root, options)


class Folder:
    """A folder of this machine."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def log_entries(self, table: str) -> list[LogEntry]:
        """Return the files of a table's log that belong to a version."""
        files = (self._root / table / "_delta_log").iterdir()
        return [entry_of(path.name, path.stat().st_mtime) for path in files if is_entry(path.name)]

    def remove_log_entries(self, table: str, entries: Sequence[LogEntry]) -> None:
        """Remove files of a table's log."""
        for entry in entries:
            (self._root / table / "_delta_log" / entry.name).unlink()

    @contextmanager
    def scratch(self, table: str) -> Iterator[Path]:
        """Give an empty folder beside the tables, so that taking in is renaming; it stays when the process dies."""
        beside = self._root / _SCRATCH / table
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=beside) as folder:
            yield Path(folder)

    def take_in(self, file: Path, path: str) -> None:
        """Move a file from the scratch folder where the tables are."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)

    def begin_to_age(self, path: str) -> None:
        """Set a replaced file's age to nothing: vacuum goes by it."""
        os.utime(self._root / path)

    def clear_scratch(self) -> None:
        """Remove what was being written beside the tables when its process was killed."""
        shutil.rmtree(self._root / _SCRATCH, ignore_errors=True)
