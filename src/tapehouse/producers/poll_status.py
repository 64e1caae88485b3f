"""What a polled source says of itself: values for /health, taken at one moment."""

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, TypeVar

import msgspec

MOST_NAMED = 3
"""Addresses of one kind that are named, stale or ended; the others are counted."""
MOST_TOLD = 50
"""Most addresses of a source that are told of, those in trouble first."""

PollState = Literal["connecting", "open", "idle", "backing_off", "limited", "circuit_open", "ended"]
"""`connecting`: nothing came yet; `open`: the last question was answered; `idle`: nothing needs to be asked;
`backing_off`: it failed and is asked again soon; `circuit_open`: it failed too often and is only tried now and then;
`limited`: we wait as we were asked to; `ended`: it is asked no more."""


SourceState = Literal["connecting", "connected", "stale", "limited", "circuit_open", "silent"]


class PollStatus(msgspec.Struct, frozen=True):
    """One address that is polled; times are microseconds since 1970 UTC, 0 when it has not happened.

    `fresh_within` is how many seconds old the last good answer may be.
    """

    name: str
    state: PollState
    since: int
    last_message_at: int
    next_at: int
    attempts: int
    failures: int
    fresh_within: float
    fresh: bool
    last_error: str

    @property
    def connected(self) -> bool:
        """Whether what it tells is as new as it should be, or needs to be told by nobody."""
        return self.fresh or self.state == "idle"

    @property
    def stale(self) -> bool:
        """Whether it should have told something by now and has not; one that waits for its first answer is not."""
        told_or_tried = bool(self.last_message_at or self.failures) or self.state == "limited"
        return told_or_tried and not self.fresh and self.state not in ("ended", "idle")


class PolledStatus(msgspec.Struct, frozen=True, tag_field="kind", tag="polled"):
    """A source as a whole; `requests_a_day` is None where none is set.

    `state` is `connecting`, `connected`, or why it is not: `stale` (no good answer for longer than `fresh_within`),
    `limited`, `circuit_open`, `silent` (the process that asks it is not heard of). A source some of whose addresses
    are stale is connected: `stale` is how many, and `notes` name the first of them.
    """

    name: str
    state: SourceState
    connections: tuple[PollStatus, ...]
    fresh_within: float
    requests_today: int
    requests_a_day: int | None
    last_error: str
    notes: tuple[str, ...]
    clock_offset: float | None = None
    stale: int = 0

    @property
    def connected(self) -> bool:
        """Whether anything it tells is as new as it should be."""
        return self.state == "connected"


class Address(Protocol):
    """One place that a source asks or listens to."""

    @property
    def connected(self) -> bool:
        """Whether what it tells is as new as it should be."""


AnAddress = TypeVar("AnAddress", bound=Address)


def in_trouble_first(addresses: Iterable[AnAddress]) -> list[AnAddress]:
    """Return as many addresses of a source as are told of: those in trouble, then the others, each in their order."""
    return sorted(addresses, key=lambda address: address.connected)[:MOST_TOLD]


def source_status(
    name: str, polls: tuple[PollStatus, ...], *, today: int, a_day: int | None, notes: tuple[str, ...] = ()
) -> PolledStatus:
    """Return the status of a source from that of its addresses."""
    asked = [poll for poll in polls if poll.state not in ("ended", "idle")]
    stale = [poll.name for poll in asked if poll.stale]
    worst = max(asked, key=lambda poll: poll.failures, default=None)
    return PolledStatus(
        name=name,
        state=_state(asked),
        connections=polls,
        fresh_within=max((poll.fresh_within for poll in asked), default=0.0),
        requests_today=today,
        requests_a_day=a_day,
        last_error=worst.last_error if worst is not None else "",
        notes=(*notes, *_naming(stale), *_ended([poll for poll in polls if poll.state == "ended"])),
        stale=len(stale),
    )


def _naming(stale: list[str]) -> tuple[str, ...]:
    """Return the note that names those addresses, none where there are none."""
    if not stale:
        return ()
    more = f" and {len(stale) - MOST_NAMED} more" if len(stale) > MOST_NAMED else ""
    return (f"stale, without a good answer for too long: {', '.join(stale[:MOST_NAMED])}{more}",)


def _ended(polls: list[PollStatus]) -> Iterator[str]:
    """Give a note for each of the first that ended, with why, and one that counts the others."""
    yield from (f"{poll.name}: {poll.last_error}" for poll in polls[:MOST_NAMED])
    if len(polls) > MOST_NAMED:
        yield f"and {len(polls) - MOST_NAMED} more that ended"


def _state(polls: list[PollStatus]) -> SourceState:
    if any(poll.fresh for poll in polls):
        return "connected"
    states = {poll.state for poll in polls}
    if "circuit_open" in states:
        return "circuit_open"
    if "limited" in states:
        return "limited"
    return "stale" if any(poll.stale for poll in polls) else "connecting"
