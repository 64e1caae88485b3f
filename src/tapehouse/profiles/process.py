"""What every command that runs until it is told to stop needs of its process."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tapehouse.settings import Settings

M_ARENA_MAX = -8
"""What `mallopt(3)` of glibc calls the most arenas."""
MADV_DONTNEED = 4
"""What `madvise(2)` of Linux calls pages that are not needed for now."""


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
    """End the process, with status 0, although some thread of it may still be at work: nothing is left to be lost."""
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


def let_go_of_the_start() -> None:
    """Give back what only the start needed.

    What lives on from it (modules, classes) is looked at no more for garbage, which is found sooner and in less time
    among the rest.
    """
    gc.collect()
    gc.freeze()
    give_memory_back()


def give_memory_back() -> None:
    """Give back freed memory, and the pages of programs that were run through and may not be again for a while.

    Code is never written to, so a page that is needed after all comes back from the file, which the system has cached.
    """
    with contextlib.suppress(OSError, AttributeError):  # another system than Linux with glibc
        library = ctypes.CDLL(None)
        library.malloc_trim(0)
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, *rest = line.split(maxsplit=5)
            if rights == "r-xp" and rest[-1].startswith("/"):
                start, end = (int(bound, 16) for bound in span.split("-"))
                library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)


def first_error(errors: BaseException) -> BaseException:
    """Return what went wrong first of what went wrong together."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
