"""The polite loop: an upstream is asked at its interval, within what it allows, and left alone while it is in trouble.

Each address has a loop of its own, so that one that is down slows no other. What a question brings goes to the tape.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import ldexp
from random import Random
from typing import Protocol

import msgspec
import structlog

from tapehouse import telemetry
from tapehouse.errors import RateLimitedError, UpstreamError
from tapehouse.ports import Batch, Shape, Tape
from tapehouse.producers.allowance import DAY, Allowance, SpentError
from tapehouse.producers.fetching import (
    LONGEST_WAIT,
    Answer,
    Fetcher,
    GoneError,
    RefusedError,
    Validators,
)
from tapehouse.producers.memory import Memory
from tapehouse.producers.poll_status import PollState, PollStatus

JITTER, LONGEST_JITTER = 0.1, 30.0
"""The part of its interval, and the seconds, by which a poll may come later, so that many do not come together."""
RESTART_PAUSE = 60.0
"""Seconds between two questions of the same kind at least, however often the process is started."""
FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0
CIRCUIT_OPENS_AFTER = 5
"""Failures in a row after which an address is only tried now and then."""
PROBE_EVERY, LONGEST_PROBE = 300.0, 3600.0
"""Seconds between two of these tries at most: as its interval is, within these."""
LONGEST_LIMITED = 3600.0
"""Seconds to which the pause of one that finds it too much (429) is doubled; it may ask for a longer one."""
REFUSED_PAUSE = 3600.0
"""Seconds after which an address that refuses the question itself is asked again: only a person can mend that."""
STALE_AFTER = 3.0
"""Intervals without a good answer after which what is held is stale."""
LONGEST_PATIENCE = 60.0
"""Seconds a question waits for the allowance; one that had to wait longer is put off."""
MOST_HELD = 16
"""Addresses with parameters whose validators one poll holds."""

log = structlog.get_logger(__name__)


class Clock(msgspec.Struct, frozen=True):
    """The time in microseconds since 1970 UTC, and a way to let it pass (seconds)."""

    now: Callable[[], int] = lambda: time.time_ns() // 1000
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def seconds(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now() / 1e6


class Found(msgspec.Struct, frozen=True):
    """What a question brought: frames for the tape, none when nothing is new.

    `problem` says why the answer could not be cut into items: it is then one frame, and the question counts as failed.
    `next_in` are the seconds after which the upstream has something new, where it tells.
    """

    frames: Sequence[bytes] = ()
    problem: str = ""
    next_in: float | None = None


class Ask(Protocol):
    """Asks an upstream for one answer, within its allowance, and not for what is held already."""

    async def __call__(
        self,
        address: str,
        *,
        params: Mapping[str, str] | None = None,
        secret_headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer; raise UpstreamError, of a kind that says what to do."""


class Upstream(Protocol):
    """One thing to poll. `name` tells it from the others of its source; `source` and `shape` are those of its batches.

    One that `can_end` is asked no more once it is gone for good (410), as feeds are.
    """

    name: str
    source: str
    shape: Shape
    can_end: bool

    @property
    def interval(self) -> float:
        """The seconds from one question to the next; also the time within which all of it is told."""

    async def fetch(self, ask: Ask) -> Found:
        """Ask once, and cut the answer into frames; raise what `ask` raises, and nothing else.

        Where nothing needs to be asked, return nothing found.
        """


class Poller:
    """Polls one upstream until it is cancelled, or the upstream says that it is gone."""

    def __init__(
        self, upstream: Upstream, fetcher: Fetcher, memory: Memory, allowance: Allowance, clock: Clock, random: Random
    ) -> None:
        self._upstream = upstream
        self._fetcher = fetcher
        self._memory = memory
        self._known = memory.of(upstream.name)
        self._allowance = allowance
        self._clock = clock
        self._random = random
        self._held: dict[str, Validators] = {}
        self._received: dict[str, Validators] = {}
        self._answer: Answer | None = None
        if not upstream.can_end:
            self._known.ended = ""
        self._state: PollState = "ended" if self._known.ended else "connecting"
        self._since = clock.now()
        self._answered_at = 0
        self._attempts = 0
        self._last_error = self._known.ended
        self._next_at = self._first_at(clock.seconds())

    async def run(self, tape: Tape) -> None:
        """Ask whenever it is time; what is found goes to the tape."""
        while not self._known.ended:
            wait = self._next_at - self._clock.seconds()
            if wait > 0:
                await self._clock.sleep(wait)
            await self._poll(tape)

    def status(self) -> PollStatus:
        """Return the status now."""
        fresh_within = STALE_AFTER * max(self._upstream.interval, PROBE_EVERY if self._known.failures else 0.0)
        age = self._clock.now() - self._answered_at
        return PollStatus(
            name=self._upstream.name,
            state=self._state,
            since=self._since,
            last_message_at=self._answered_at,
            next_at=int(self._next_at * 1e6),
            attempts=self._attempts,
            failures=self._known.failures,
            fresh_within=fresh_within,
            fresh=bool(self._answered_at) and age <= fresh_within * 1e6,
            last_error=self._last_error,
        )

    def _first_at(self, now: float) -> float:
        """Return when to ask first; times to come that no upstream asked for are those of a clock that was set back."""
        soonest = min(self._known.asked_at, now) + min(self._upstream.interval, RESTART_PAUSE)
        latest = now + LONGEST_WAIT + LONGEST_JITTER
        return max(soonest, self._known.not_before if self._known.not_before <= latest else now)

    async def _poll(self, tape: Tape) -> None:
        self._attempts += 1
        self._received.clear()
        self._answer = None
        try:
            found = await self._upstream.fetch(self._ask)
        except SpentError as error:
            self._spent(error)
        except RateLimitedError as error:
            self._limited(error)
        except GoneError as error:
            self._gone(str(error))
        except UpstreamError as error:
            self._failed(str(error), refused=isinstance(error, RefusedError))
        except Exception as error:  # strangers' bytes broke their reader, in a way nobody foresaw: bad data, a value
            if not self._known.failures:
                log.exception("poll_broken", source=self._upstream.source, poll=self._upstream.name)
            told = (self._answer.body,) if self._answer else ()
            await self._deliver(Found(told, f"its answer could not be read: {type(error).__name__}"), tape)
        else:
            await self._deliver(found, tape)
        self._memory.save()

    async def _ask(
        self,
        address: str,
        *,
        params: Mapping[str, str] | None = None,
        secret_headers: Mapping[str, str] | None = None,
    ) -> Answer:
        await self._spend()
        asked = address if params else self._known.moved_to or address
        identity = f"{asked}?{sorted((params or {}).items())}"
        held = self._held.get(identity)
        try:
            answer = await self._fetcher.get(asked, params=params, secret_headers=secret_headers, held=held)
        except RateLimitedError as error:
            self._allowance.block(error.retry_after, self._clock.seconds())
            raise
        if params:
            answer = msgspec.structs.replace(answer, moved_to="")
        if not answer.not_modified:
            self._received[identity] = answer.validators
        self._answer = answer
        return answer

    async def _spend(self) -> None:
        patience = LONGEST_PATIENCE
        while (wait := self._allowance.wait(self._clock.seconds())) > 0:
            if wait > patience:
                text = f"{self._upstream.source}: what may be asked of it is spent for {wait:.0f} s"
                raise SpentError(text, retry_after=wait)
            patience -= wait
            await self._clock.sleep(wait)
        self._known.asked_at = self._clock.seconds()
        self._allowance.spend(self._known.asked_at)
        self._memory.save()  # before the question leaves: a crash loop must not ask more than is allowed

    async def _deliver(self, found: Found, tape: Tape) -> None:
        now = self._clock.now()
        frames = self._bounded(found.frames) if found.problem else list(found.frames)
        if frames:
            telemetry.messages_received.labels(self._upstream.source).inc(len(frames))
            await tape.append(Batch(frames, [now] * len(frames), self._upstream.shape, self._upstream.source))
        if found.problem:
            is_kept = len(frames) == len(found.frames)
            self._failed(found.problem if is_kept else f"{found.problem}; not kept, as too much of it came today")
            return
        if self._answer is None:
            self._go_on("idle", "idle")
        else:
            self._answered(self._answer, now, "answered" if frames else "not_modified")
        self._next_at = self._later(self._upstream.interval if found.next_in is None else found.next_in)

    def _answered(self, answer: Answer, now: int, outcome: str) -> None:
        self._held |= self._received  # only now: what was not delivered must be told again
        while len(self._held) > MOST_HELD:
            del self._held[next(iter(self._held))]
        self._known.moved_to = answer.moved_to or self._known.moved_to  # only now: something readable is there
        self._known.failures, self._known.not_before = 0, 0.0
        self._answered_at, self._last_error = now, ""
        telemetry.last_answer.labels(self._upstream.source).set(now / 1e6)
        self._go_on("open", outcome)

    def _bounded(self, frames: Sequence[bytes]) -> list[bytes]:
        """Return what is handed on of an unreadable answer: all, or nothing once it would be too much in a day."""
        if self._known.has_room(sum(map(len, frames)), int(self._clock.seconds() // DAY)):
            return list(frames)
        telemetry.answers_not_kept.labels(self._upstream.source).inc()
        return []

    def _spent(self, error: SpentError) -> None:
        self._last_error = str(error)
        self._go_on("circuit_open" if self._known.failures >= CIRCUIT_OPENS_AFTER else "limited", "limited")
        self._put_off_until(self._later(error.retry_after))

    def _limited(self, error: RateLimitedError) -> None:
        doubled = ldexp(self._upstream.interval, min(self._known.failures, 20))
        self._trouble(str(error), "limited", "limited", is_open=False)
        self._put_off_until(self._later(max(error.retry_after, min(doubled, LONGEST_LIMITED))))

    def _failed(self, why: str, *, refused: bool = False) -> None:
        self._known.moved_to = ""  # where it moved to is no better than where it was
        if self._trouble(why, "backing_off", "failed", is_open=refused):
            probe_every = max(PROBE_EVERY, min(self._upstream.interval, LONGEST_PROBE))
            pause = (REFUSED_PAUSE if refused else probe_every) * self._random.uniform(0.5, 1.0)
        else:
            longest = min(LONGEST_RETRY, FIRST_RETRY * 2**self._known.failures)
            pause = FIRST_RETRY + self._random.uniform(0, longest)
        self._put_off_until(self._clock.seconds() + pause)

    def _trouble(self, why: str, state: PollState, outcome: str, *, is_open: bool) -> bool:
        """Count it; return whether the circuit is open now, as it is after some in a row."""
        self._known.failures += 1
        self._last_error = why
        is_open = is_open or self._known.failures >= CIRCUIT_OPENS_AFTER
        if is_open and self._state != "circuit_open":
            log.warning("circuit_open", source=self._upstream.source, poll=self._upstream.name, why=why)
        self._go_on("circuit_open" if is_open else state, outcome)
        return is_open

    def _gone(self, why: str) -> None:
        if self._known.moved_to or not self._upstream.can_end:
            self._failed(why, refused=not self._known.moved_to)
            return
        self._known.ended = self._last_error = why
        self._go_on("ended", "gone")
        log.warning("poll_ended", source=self._upstream.source, poll=self._upstream.name, why=why)

    def _later(self, seconds: float) -> float:
        """Return the time in so many seconds, or a little later."""
        return self._clock.seconds() + seconds + self._random.uniform(0, min(seconds * JITTER, LONGEST_JITTER))

    def _put_off_until(self, time: float) -> None:
        self._next_at = self._known.not_before = time

    def _go_on(self, state: PollState, outcome: str) -> None:
        telemetry.polls.labels(self._upstream.source, outcome).inc()
        if state != self._state:
            if self._state == "circuit_open":
                log.info("circuit_closed", source=self._upstream.source, poll=self._upstream.name, state=state)
            self._state, self._since = state, self._clock.now()
