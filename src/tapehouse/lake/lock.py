"""One writing process per lake: an advisory lock that dies with its holder."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tapehouse.errors import LakeError

LOCK_FILE = "_tapehouse.lock"


@contextmanager
def writing_lock(root: str) -> Iterator[None]:
    """Hold the lake's only writer's place; LakeError that names the holder when it is taken.

    The kernel drops the lock when the holding process ends, however it ends. A lake in a bucket has no such lock.
    """
    if "://" in root:
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
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"pid": os.getpid(), "command": command, "since": since}).encode()


def _holder(descriptor: int) -> str:
    try:
        told = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {told['pid']} ({told['command']}) since {told['since']}"
    except (ValueError, KeyError):  # it has just taken the lock and not yet said who it is
        return "another process"
