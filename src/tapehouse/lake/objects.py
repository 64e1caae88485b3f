"""The objects of a lake in a bucket by themselves: what is done to them that delta-rs and Polars do not.

Imported where a lake lies in a bucket and nowhere else: obstore, the client, is of the extra `s3`.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import BaseError as BucketError
from obstore.store import S3Store

from tapehouse.lake.bucket import MOST_RETRIES, RETRY_FOR, limits
from tapehouse.lake.log_entries import LogEntry, entry_of, is_entry


@contextmanager
def refused_as_by_a_disk() -> Iterator[None]:
    """Turn what a bucket refuses into an OSError: to who uses a place it is the same, wherever that is."""
    try:
        yield
    except BucketError as error:
        raise OSError(str(error)) from error


def objects(root: str, options: Mapping[str, str], **client: str) -> S3Store:
    """Return the objects below a root; `client` overrides limits of the connections."""
    return S3Store.from_url(
        root,
        config={**options, "aws_conditional_put": "etag"},  # type: ignore[arg-type]  # names as the environment has them
        client_options={**limits(options), **client},  # type: ignore[arg-type]  # durations as text
        retry_config={"max_retries": MOST_RETRIES, "retry_timeout": RETRY_FOR},
    )


class Bucket:
    """The objects of a lake below `s3://bucket/prefix`; what it refuses is an OSError."""

    def __init__(self, root: str, options: Mapping[str, str]) -> None:
        self._root = root
        self._options = options
        self._opened: S3Store | None = None

    @refused_as_by_a_disk()
    def log_entries(self, table: str) -> list[LogEntry]:
        """Return the objects of a table's log that belong to a version."""
        found = obstore.list(self._objects, f"{table}/_delta_log/").collect()
        named = [(told["path"].rpartition("/")[2], told["last_modified"].timestamp()) for told in found]
        return [entry_of(name, written_at) for name, written_at in named if is_entry(name)]

    @refused_as_by_a_disk()
    def remove_log_entries(self, table: str, entries: Sequence[LogEntry]) -> None:
        """Remove objects of a table's log."""
        if entries:
            obstore.delete(self._objects, [f"{table}/_delta_log/{entry.name}" for entry in entries])

    @contextmanager
    def scratch(self, table: str) -> Iterator[Path]:
        """Give an empty folder of this machine; what a killed process left of it is the system's to remove."""
        with tempfile.TemporaryDirectory(prefix=f"tapehouse-{table.replace('/', '-')}-") as folder:
            yield Path(folder)

    @refused_as_by_a_disk()
    def take_in(self, file: Path, path: str) -> None:
        """Store a file as one object."""
        obstore.put(self._objects, path, file, use_multipart=False)

    def begin_to_age(self, path: str) -> None:
        """Do nothing: an object's age cannot be set; vacuum keeps what a promised version names (versions.py)."""

    def clear_scratch(self) -> None:
        """Do nothing: the scratch folder is not in the bucket."""

    @property
    def _objects(self) -> S3Store:
        if self._opened is None:
            self._opened = objects(self._root, self._options)
        return self._opened
