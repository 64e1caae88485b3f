"""One writing process per lake: a lock of the folder that dies with its holder, a lease of the bucket."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tapehouse.errors import LakeError
from tapehouse.lake.bucket import client_needed, is_bucket

LOCK_FILE = "_tapehouse.lock"


@contextmanager
def writing_lock(root: str, options: Mapping[str, str] | None = None) -> Iterator[None]:
    """Hold the lake's only writer's place; LakeError that names the holder when it is taken.

    The kernel drops a folder's lock when the holding process ends, however it ends. In a bucket (`options` are those of
    the lake) a holder on another machine that gives no sign of life for some seconds counts as dead.
    """
    if is_bucket(root):
        with client_needed(root):
            from tapehouse.lake.lease import lease  # noqa: PLC0415  # of the extra `s3`

        with lease(root, options or {}, _command(), _now()):
            yield
        return
    descriptor = _opened(Path(root))
    try:
        _take(descriptor, root)
        yield
    finally:
        os.close(descriptor)


def _opened(root: Path) -> int:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LakeError(
            f"Cannot write to the lake at {root}: {error}. Is the disk read-only or another user's?"
        ) from error


def _take(descriptor: int, root: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LakeError(f"The lake at {root} is being written by {_holder(descriptor)}. {_ADVICE}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _introduction(), 0)


_ADVICE = "Stop it, wait for it, or set TAPEHOUSE_LAKE to another place: one lake has one writing process."


def _introduction() -> bytes:
    return json.dumps({"pid": os.getpid(), "command": _command(), "since": _now()}).encode()


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _holder(descriptor: int) -> str:
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {told['pid']} ({told['command']}) since {told['since']}"
    except (ValueError, KeyError):  # it has just taken the lock and not yet said who it is
        return "another process"
