"""A lake in a bucket of any S3: the options of the libraries that read and write it, and its objects by themselves."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.store import S3Store

from tapehouse.lake.place import LogEntry, entry_of, is_entry

CONNECT_WITHIN = "5s"
ANSWER_WITHIN = "30s"
"""How long one request may take; one that fails is made again."""
RETRY_FOR = timedelta(seconds=20)
"""How long requests are made again before the bucket's server counts as gone."""
MOST_RETRIES = 10


def is_bucket(root: str) -> bool:
    """Tell whether a lake's root is a bucket rather than a folder."""
    return "://" in root


def client_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a bucket (`aws_...`) with those of the connections to it, for delta-rs and Polars."""
    return {**options, **_limits(options)}


def delta_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options with which delta-rs opens a table: a commit never overwrites another's."""
    patience = {"max_retries": str(MOST_RETRIES), "retry_timeout": f"{RETRY_FOR.seconds}s"}
    return {**client_options(options), "aws_conditional_put": "etag", **patience}


def objects(root: str, options: Mapping[str, str], **client: str) -> S3Store:
    """Return the objects below a root; `client` overrides limits of the connections."""
    return S3Store.from_url(
        root,
        config={**options, "aws_conditional_put": "etag"},  # type: ignore[arg-type]  # names as the environment has them
        client_options={**_limits(options), **client},  # type: ignore[arg-type]  # durations as text
        retry_config={"max_retries": MOST_RETRIES, "retry_timeout": RETRY_FOR},
    )


class Bucket:
    """The objects of a lake below `s3://bucket/prefix`."""

    def __init__(self, root: str, options: Mapping[str, str]) -> None:
        self._root = root
        self._options = options
        self._opened: S3Store | None = None

    def log_entries(self, table: str) -> list[LogEntry]:
        """Return the objects of a table's log that belong to a version."""
        found = obstore.list(self._objects, f"{table}/_delta_log/").collect()
        named = [(told["path"].rpartition("/")[2], told["last_modified"].timestamp()) for told in found]
        return [entry_of(name, written_at) for name, written_at in named if is_entry(name)]

    def remove_log_entries(self, table: str, entries: Sequence[LogEntry]) -> None:
        """Remove objects of a table's log."""
        if entries:
            obstore.delete(self._objects, [f"{table}/_delta_log/{entry.name}" for entry in entries])

    @contextmanager
    def scratch(self, table: str) -> Iterator[Path]:
        """Give an empty folder of this machine; what a killed process left of it is the system's to remove."""
        with tempfile.TemporaryDirectory(prefix=f"tapehouse-{table.replace('/', '-')}-") as folder:
            yield Path(folder)

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


def _limits(options: Mapping[str, str]) -> dict[str, str]:
    plain = options.get("aws_endpoint_url", "").startswith("http://")
    return {"allow_http": str(plain).lower(), "connect_timeout": CONNECT_WITHIN, "timeout": ANSWER_WITHIN}
