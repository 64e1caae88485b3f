"""The holes of each symbol: which are new, which are closed, and between which times their trades lie."""

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from tapehouse import telemetry
from tapehouse.market.coverage import Range, Ranges
from tapehouse.market.windows import DAY
from tapehouse.ports import Hole

TimeOf = Callable[[int], int | None]
"""The trade time of an id where it is known."""


REACH = 7 * DAY
"""A hole that spans more time is not asked for by itself: it is left to `tapehouse backfill`."""


class Outlook(msgspec.Struct, frozen=True):
    """How many missing trades will not come by themselves, and between which times a back-fill would bring some.

    Times are microseconds UTC, 0 where there is nothing to bring.
    """

    not_offered: int
    left_to_backfill: int
    backfill_from: int
    backfill_to: int


NOTHING_MISSING = Outlook(0, 0, 0, 0)


class NotOffered:
    """The ids that the exchange was asked for and does not have; told by one thread, read by any."""

    def __init__(self) -> None:
        self._of: dict[str, Ranges] = {}

    def note(self, hole: Hole) -> None:
        """Take note that the exchange does not have what is left of a hole."""
        known = Ranges(self._of.get(hole.symbol, ()))
        known.add(hole.first_trade_id, hole.last_trade_id)
        self._of[hole.symbol] = known

    def outlook(self, holes: Sequence[Hole]) -> Outlook:
        """Say what will become of the holes of a symbol."""
        if not holes:  # as almost always, and asked after every fold
            return NOTHING_MISSING
        far = [hole for hole in holes if is_left_to_backfill(hole)]
        refused = self._of.get(holes[0].symbol, Ranges())
        return Outlook(
            not_offered=_trades(
                hole
                for hole in holes
                if not is_left_to_backfill(hole) and refused.covers(hole.first_trade_id, hole.last_trade_id)
            ),
            left_to_backfill=_trades(far),
            backfill_from=min((hole.after for hole in far), default=0),
            backfill_to=max((hole.before for hole in far), default=0),
        )


def is_left_to_backfill(hole: Hole) -> bool:
    """Tell whether a hole spans more time than is asked for by itself."""
    return hole.before - hole.after > REACH


def _trades(holes: Iterable[Hole]) -> int:
    return sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in holes)


class Holes:
    """The holes known of, by symbol, and which of them the exchange does not have."""

    def __init__(self) -> None:
        self.not_offered = NotOffered()
        self._known: dict[str, list[Hole]] = {}

    def of(self, symbol: str) -> list[Hole]:
        """Return the holes of a symbol, oldest first."""
        return self._known.get(symbol, [])

    def all(self) -> list[Hole]:
        """Return every hole; from any thread."""
        return [hole for holes in list(self._known.values()) for hole in holes]

    def update(self, symbol: str, missing: Sequence[Range], time_of: TimeOf, between: Range) -> list[Hole]:
        """Take the ids missing now; return the holes that were no part of a known one.

        `between` bounds the trade times of a hole whose neighbours' times are not known.
        """
        known = self._known.get(symbol, [])
        if not missing and not known:
            return []
        holes, opened = [], []
        for first, last in missing:
            parent = next((hole for hole in known if hole.first_trade_id <= first and last <= hole.last_trade_id), None)
            after = time_of(first - 1) or (parent.after if parent else between[0])
            before = time_of(last + 1) or (parent.before if parent else between[1])
            holes.append(Hole(symbol, first, last, after, before))
            if parent is None:
                opened.append(holes[-1])
        closed = sum(1 for hole in known if not any(_overlap(hole, left) for left in holes))
        telemetry.holes_opened.labels(symbol).inc(len(opened))
        telemetry.holes_repaired.labels(symbol).inc(closed)
        telemetry.missing_trades.labels(symbol).set(sum(last - first + 1 for first, last in missing))
        self._known[symbol] = holes
        return opened


class Lasting:
    """Picks the holes that have been seen for a while: another process may be fetching those that are young."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._since: dict[tuple[str, int], float] = {}

    def of(self, holes: Sequence[Hole]) -> list[Hole]:
        """Return those of the holes there are now that were there so many seconds ago, in every look since."""
        now = self._now()
        known = {(hole.symbol, hole.last_trade_id) for hole in holes}
        self._since = {key: self._since.get(key, now) for key in known}
        return [hole for hole in holes if now - self._since[hole.symbol, hole.last_trade_id] >= self._seconds]


def _overlap(left: Hole, right: Hole) -> bool:
    return left.first_trade_id <= right.last_trade_id and right.first_trade_id <= left.last_trade_id
