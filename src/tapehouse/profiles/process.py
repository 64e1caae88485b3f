"""What every command that runs until it is told to stop needs of its process."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

from tapehouse.settings import Settings

M_ARENA_MAX = -8
"""What `mallopt(3)` of glibc calls the most arenas."""


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # for the person at the terminal


def announce(settings: Settings) -> Callable[[str, int], None]:
    """Return what tells the person where the platform answers, once it does."""

    def tell(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        say(f"Tapehouse follows {', '.join(settings.symbols)}; the lake is {settings.lake}")
        say(f"Open http://{shown}:{port}   (Ctrl-C stops)")

    return tell


def leave_within(seconds: float) -> None:
    """End the process although some reader's thread may still be at work: nothing is left to be lost."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def when_told_to_stop() -> asyncio.Future[None]:
    """Return what is done once SIGINT or SIGTERM has come."""
    loop = asyncio.get_running_loop()
    stopped = loop.create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: _set(stopped))
    return stopped


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def keep_memory_together() -> None:
    """Let the threads share two arenas of the C library's memory: with one each, what one freed the others lack."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc keeps memory in its own way
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def first_error(errors: BaseException) -> BaseException:
    """Return what went wrong first of what went wrong together."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
