"""Holes become requests to the source that told of them, newest first, until they are closed (law 1)."""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import groupby

import msgspec
import structlog

from tapehouse.ports import Hole, Source, Tape
from tapehouse.streaming.holes import REACH, NotOffered, is_left_to_backfill

AT_ONCE = 4
"""Repairs under way at most."""
LOOK_EVERY = 0.2
"""Seconds between two looks at the holes; also the time a reordered message has to arrive by itself."""
TOGETHER = 1000
"""Holes of a symbol within so many ids are asked for in one request."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
"""Seconds before a hole that stayed is asked for again, doubled each time."""
SURE_AFTER = 3
"""Answers without all of a hole after which the exchange is said not to have it: its REST lags its streams."""

log = structlog.get_logger(__name__)


class Attempt(msgspec.Struct):
    """When a hole was asked for last, and how often."""

    not_before: float
    tries: int = 0
    refusals: int = 0


class RepairDesk:
    """Asks the source for what is missing; what it delivers comes back over the tape and closes the hole."""

    def __init__(
        self, holes: Callable[[], list[Hole]], source: Source, tape: Tape, not_offered: NotOffered | None = None
    ) -> None:
        self._holes = holes
        self._not_offered = not_offered or NotOffered()
        self._source = source
        self._tape = tape
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._under_way: set[tuple[str, int]] = set()

    async def run(self) -> None:
        """Repair until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(LOOK_EVERY)
                for hole in self._due(time.monotonic()):
                    self._under_way.add(_key(hole))
                    group.create_task(self._repair(hole), name="repair")

    def _due(self, now: float) -> list[Hole]:
        """Return the holes to ask for now, newest first; one seen for the first time waits for the next look."""
        holes = together(self._holes())
        known = {_key(hole) for hole in holes}
        self._attempts = {key: attempt for key, attempt in self._attempts.items() if key in known}
        due = []
        for hole in sorted(holes, key=lambda hole: -hole.before):
            attempt = self._attempts.setdefault(_key(hole), Attempt(now + LOOK_EVERY))
            if attempt.not_before <= now and _key(hole) not in self._under_way and not is_left_to_backfill(hole):
                due.append(hole)
        return due[: AT_ONCE - len(self._under_way)]

    async def _repair(self, hole: Hole) -> None:
        key = _key(hole)
        try:
            complete = await self._source.repair(hole, self._tape)
        finally:
            self._under_way.discard(key)
        attempt = self._attempts.setdefault(key, Attempt(0.0))
        attempt.not_before = time.monotonic() + min(FIRST_WAIT * 2**attempt.tries, LONGEST_WAIT)
        attempt.tries += 1
        attempt.refusals += complete is False
        if complete is False and attempt.refusals >= SURE_AFTER:
            self._not_offered.note(hole)
        level = log.info if complete else log.warning
        level(
            "repair",
            symbol=hole.symbol,
            first_trade_id=hole.first_trade_id,
            last_trade_id=hole.last_trade_id,
            complete=bool(complete),
            tries=attempt.tries,
        )


def together(holes: Sequence[Hole]) -> list[Hole]:
    """Return the holes with neighbours joined: what one request can answer is one hole."""
    joined: list[Hole] = []
    for _, group in groupby(sorted(holes), key=lambda hole: hole.symbol):
        for hole in group:
            last = joined[-1] if joined else None
            if (
                last is not None
                and last.symbol == hole.symbol
                and hole.last_trade_id - last.first_trade_id < TOGETHER
                and hole.before - last.after <= REACH
            ):
                joined[-1] = Hole(hole.symbol, last.first_trade_id, hole.last_trade_id, last.after, hole.before)
            else:
                joined.append(hole)
    return joined


def _key(hole: Hole) -> tuple[str, int]:
    return hole.symbol, hole.last_trade_id
