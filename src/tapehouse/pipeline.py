"""The data path, top to bottom: source -> tape -> engine -> lake, and the API beside it.

The event loop receives, repairs and serves; one thread folds; one commits; one keeps the lake. What goes wrong in any
of them ends the platform loudly, and the next start goes on from what is committed.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Protocol

import msgspec
import structlog

from tapehouse.errors import TapehouseError
from tapehouse.lake.maintenance import Maintenance
from tapehouse.ports import Hole, Lake, Source
from tapehouse.producers.polled_source import PolledSource
from tapehouse.streaming.backfill import Past
from tapehouse.streaming.bookkeeping import Bookkeeping
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.lost_klines import KlineDesk
from tapehouse.streaming.repairs import RepairDesk
from tapehouse.streaming.rows import to_time
from tapehouse.streaming.verification import Oracle, Witness, look_into
from tapehouse.tape.local import LocalTape

WAKE_EVERY = 0.1
"""Seconds the engine waits for messages before it looks whether a commit is due."""
BUSY_FRAMES = 200
"""A read of more frames than this means load: then folds are made of more messages, which costs less a message."""
BUSY_PACE = 0.05
"""Seconds from the start of one fold to the start of the next under load."""
SWITCH_EVERY = 0.001
"""Seconds a thread may keep the interpreter while another wants it: the loop answers while the fold works."""
MAINTAIN_EVERY = 10.0
"""Seconds between two looks at what upkeep is due."""
UPKEEP_ENDS_WITHIN = 2.0
"""Seconds that a merge under way has to end when we are to stop; one that is cut short is done by the next start."""
DISPUTES_EVERY = 1.0
COMMITTED_WITHIN = 5.0
"""Seconds after which the trades of a window that was just closed are in bronze."""

log = structlog.get_logger(__name__)


class LiveSource(Source, Oracle, Past, Protocol):
    """A source that repairs, tells klines and the past, and can be let go."""

    async def close(self) -> None:
        """Let connections go."""


class Parts(msgspec.Struct):
    """What a profile puts together."""

    source: LiveSource | None
    """The exchange, None where none is followed."""
    polled: Sequence[PolledSource]
    """What is asked now and then about the market around it."""
    tape: LocalTape
    engine: EmbeddedEngine
    lake: Lake
    maintenance: Maintenance
    serve: Callable[[], Coroutine[Any, Any, None]]
    past: dict[str, tuple[int, int]]
    """Symbols whose past is still to be fetched, from when to when (microseconds)."""

    def holes(self) -> list[Hole]:
        """Return the holes to repair: those that the fetching of the past will not close."""
        return [
            hole
            for hole in self.engine.holes.all()
            if hole.symbol not in self.past or hole.after >= self.past[hole.symbol][1]
        ]

    def unheard(self) -> dict[str, list[int]]:
        """Return the windows whose klines are to be asked for: those that the fetching of the past will not bring."""
        return {symbol: windows for symbol, windows in self.engine.books.unheard().items() if symbol not in self.past}

    now: Callable[[], int]
    give_memory_back: Callable[[], None]
    """Called after work that takes memory only while it lasts."""


async def run(parts: Parts) -> None:
    """Run until cancelled; then take what was received to the lake and return."""
    sys.setswitchinterval(SWITCH_EVERY)
    folding = Stage("fold", lambda stopping: fold_forever(parts.tape, parts.engine, stopping))
    maintaining = Stage(
        "maintain", lambda stopping: maintain_forever(parts.maintenance, parts.now, parts.give_memory_back, stopping)
    )
    try:
        async with asyncio.TaskGroup() as group:
            for work in (
                *follow(parts),
                *(source.run(parts.tape) for source in parts.polled),
                parts.serve(),
                folding.watch(),
                maintaining.watch(),
            ):
                group.create_task(work)
    finally:
        for source in (parts.source, *parts.polled):
            if source is not None:
                await source.close()
        parts.tape.close()
        await asyncio.gather(
            asyncio.to_thread(maintaining.stop, within=UPKEEP_ENDS_WITHIN), asyncio.to_thread(folding.stop)
        )


def follow(parts: Parts) -> Sequence[Coroutine[Any, Any, None]]:
    """Return the work that following an exchange takes; none where none is followed."""
    if parts.source is None:
        return ()
    repairs = RepairDesk(parts.holes, parts.source, parts.tape, parts.engine.holes.not_offered).run()
    klines = KlineDesk(parts.unheard, parts.source, parts.tape, parts.now).run()
    disputes = settle_disputes(parts.engine.books, parts.lake, parts.source, parts.now)
    return parts.source.run(parts.tape), repairs, klines, disputes, fetch_past(parts, parts.source)


def fold_forever(tape: LocalTape, engine: EmbeddedEngine, stopping: threading.Event) -> None:
    """Take the tape to the engine, and what is new to the lake, until told to stop; then take the rest."""
    while not stopping.is_set():
        began = time.monotonic()
        batches = tape.read(WAKE_EVERY) if engine.ready else []
        if batches:
            engine.fold(batches)
        elif not engine.ready:
            engine.commit()
        engine.commit_when_due()
        if sum(len(batch.frames) for batch in batches) > BUSY_FRAMES:
            stopping.wait(max(0.0, BUSY_PACE - (time.monotonic() - began)))
    while batches := tape.read(0):
        engine.fold(batches)
    engine.close()


def maintain_forever(
    maintenance: Maintenance,
    now: Callable[[], int],
    give_memory_back: Callable[[], None],
    stopping: threading.Event,
) -> None:
    """Keep the tables small and fast to read, at a pace, and do not keep the memory that this took."""
    while not stopping.wait(MAINTAIN_EVERY):
        if maintenance.run_once(to_time(now()), go_on=lambda: not stopping.is_set()).merges:
            give_memory_back()


async def settle_disputes(books: Bookkeeping, lake: Lake, witness: Witness, now: Callable[[], int]) -> None:
    """Look into each candle that differs from the exchange's, and record what is found."""
    while True:
        await asyncio.sleep(DISPUTES_EVERY)
        found = len(books.disputes)
        if found:
            await asyncio.sleep(COMMITTED_WITHIN)
        for _ in range(found):
            check = books.disputes.popleft()
            try:
                books.record(await look_into(check, lake, witness, now()))
            except TapehouseError as error:
                log.warning("dispute_waits", symbol=check.symbol, why=str(error))
                books.disputes.append(check)
                break


async def fetch_past(parts: Parts, source: Past) -> None:
    """Bring the trades from before the start, one symbol after the other, over the same tape."""
    for symbol, (start, _) in list(parts.past.items()):
        try:
            async for batch, _ in source.history(symbol, start, parts.now()):
                await parts.tape.append(batch)
        except TapehouseError as error:
            log.warning("past_not_fetched", symbol=symbol, why=str(error), what_to_do="tapehouse backfill brings it")
        finally:
            del parts.past[symbol]


class Stage:
    """A thread of the platform; its failure is raised where it is watched, and where it is stopped."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._ended = self._threads.submit(work, self._stopping)

    async def watch(self) -> None:
        """Return when the thread has ended; raise what ended it."""
        ended = asyncio.wrap_future(self._ended)
        ended.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard, though the watch be over
        await asyncio.shield(ended)

    def stop(self, within: float | None = None) -> None:
        """End the thread and wait for it, for so many seconds at most; raise what went wrong in it."""
        self._stopping.set()
        self._threads.shutdown(wait=False)
        if wait([self._ended], within).done:
            self._ended.result()
