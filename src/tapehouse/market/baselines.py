"""What is usual: the median of the windows before, and how far they lie from it (median absolute deviation).

Both bear up to half of the values being wrong, so that a bad tick or a crash in the baseline does not hide the next
one (Hampel, Journal of the American Statistical Association 69, 1974). The deviation is multiplied by 1.4826, which
makes it the standard deviation where values are normal. Both depend on which values there are and not on their order:
a window's baseline is the same wherever its computation began (law 5).
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

import msgspec

NORMAL = 1.4826
"""Standard deviations in a median absolute deviation of normal values."""


class Baseline(msgspec.Struct, frozen=True, gc=False):
    """What is usual for a value: its median, its robust deviation, and how many values that is made from."""

    median: float
    scale: float
    count: int

    def score(self, value: float) -> float:
        """Return how many deviations a value lies above the median."""
        return (value - self.median) / self.scale


def middle(ordered: Sequence[float]) -> float:
    """Return the median of values in order; there must be one."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def deviation(ordered: Sequence[float], median: float) -> float:
    """Return the median of how far values in order lie from their median."""
    place = bisect_left(ordered, median)
    below, above = [median - value for value in ordered[:place]], [value - median for value in ordered[place:]]
    below.reverse()
    return middle(sorted(below + above))  # two runs in order: sorting them is one merge


class Rolling:
    """The usable ones (not NaN) of the `length` values before a place, in order; going on by one place is cheap.

    `values` may grow and change behind the last place asked for.
    """

    def __init__(self, values: Sequence[float], length: int) -> None:
        self._values = values
        self._length = length
        self._place = -1
        self._ordered: list[float] = []

    def before(self, place: int) -> list[float]:
        """Return the values of [place - length, place) that can be used, smallest first; not to be changed."""
        if place == self._place + 1 and self._place >= 0:
            self._step(place)
        elif place != self._place:
            values = self._values[max(place - self._length, 0) : place]
            self._ordered = [value for value in values if value == value]  # noqa: PLR0124  # NaN is not itself
            self._ordered.sort()
        self._place = place
        return self._ordered

    def baseline(self, place: int, floor: float, enough: int) -> Baseline | None:
        """Return what is usual before a place; None with fewer than `enough` values. `floor` bounds the scale below."""
        ordered = self.before(place)
        if len(ordered) < enough:
            return None
        median = middle(ordered)
        return Baseline(median, max(NORMAL * deviation(ordered, median), floor), len(ordered))

    def _step(self, place: int) -> None:
        leaving, coming = place - 1 - self._length, self._values[place - 1]
        if leaving >= 0:
            old = self._values[leaving]
            if old == old:  # noqa: PLR0124  # NaN is not itself
                del self._ordered[bisect_left(self._ordered, old)]
        if coming == coming:  # noqa: PLR0124
            insort(self._ordered, coming)
