"""Reads of the lake on threads of their own: the loop goes on, and only so many wait (law 8)."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import polars as pl

from tapehouse.api.problems import ProblemError
from tapehouse.errors import LakeError

THREADS = 2
MOST_WAITING = 32
LONGEST = 20.0
"""Seconds after which the asker is told to try again."""

P = ParamSpec("P")
R = TypeVar("R")


class Reads:
    """A small pool of threads with a bounded number of requests in it."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lake-read")
        self._inside = 0

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read; raise ProblemError 503 when too many wait already or it takes too long.

        Raise LakeError when a table cannot be read.
        """
        if self._inside >= MOST_WAITING:
            raise _busy(f"{MOST_WAITING} reads are waiting already.")
        self._inside += 1
        reading = self._pool.submit(_attempt, partial(read, *args, **kwargs))
        reading.add_done_callback(self._finished(asyncio.get_running_loop()))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(reading), LONGEST)
        except TimeoutError:
            raise _busy(f"The read took more than {LONGEST:.0f} s.") from None

    def close(self) -> None:
        """Let running reads end; start no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finished(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def leave(_reading: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._leave)

        return leave

    def _leave(self) -> None:
        self._inside -= 1


def _attempt(read: Callable[[], R]) -> R:
    try:
        return read()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LakeError(f"A table cannot be read: {error}") from error


def _busy(why: str) -> ProblemError:
    return ProblemError(503, "too-busy", f"{why} Ask again in a second, or for less.", {"Retry-After": "1"})
