"""The holes of each symbol: which are new, which are closed, and between which times their trades lie."""

from collections.abc import Callable, Sequence

from tapehouse import telemetry
from tapehouse.market.coverage import Range
from tapehouse.ports import Hole

TimeOf = Callable[[int], int | None]
"""The trade time of an id where it is known."""


class Holes:
    """The holes known of, by symbol."""

    def __init__(self) -> None:
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


def _overlap(left: Hole, right: Hole) -> bool:
    return left.first_trade_id <= right.last_trade_id and right.first_trade_id <= left.last_trade_id
