"""Which trade ids are held: ranges of consecutive integers, and the holes between them (law 1)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""First and last id, both included."""
JUMP_ALLOWANCE = 10_000_000
JUMP_PER_SECOND = 1_000_000
"""An id further ahead than this, and this many for each second since the last trade, cannot be true."""


def could_follow(last: int, trade_id: int, seconds: int) -> bool:
    """Tell whether an id can be true so many seconds of trade time after `last` (-1 where there is none)."""
    return last < 0 or trade_id <= last + JUMP_ALLOWANCE + JUMP_PER_SECOND * seconds


class Ranges:
    """A set of integers kept as sorted, disjoint, inclusive ranges that never touch."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._firsts, self._lasts, strict=True)))

    def __len__(self) -> int:
        """Return how many integers are held."""
        return sum(last - first + 1 for first, last in self)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # a set that changes has no hash

    def __contains__(self, number: int) -> bool:
        return self.covers(number, number)

    @property
    def first(self) -> int:
        """The smallest integer held; IndexError when there is none."""
        return self._firsts[0]

    @property
    def last(self) -> int:
        """The largest integer held; IndexError when there is none."""
        return self._lasts[-1]

    @property
    def count(self) -> int:
        """How many ranges there are."""
        return len(self._firsts)

    def covers(self, first: int, last: int) -> bool:
        """Tell whether every integer of first..last is held."""
        place = bisect_right(self._firsts, first) - 1
        return place >= 0 and self._lasts[place] >= last

    def add(self, first: int, last: int) -> None:
        """Hold every integer of first..last, whatever of it is held already."""
        if first > last:
            raise ValueError(f"a range that ends before it begins: {first}..{last}")
        if self._lasts and first == self._lasts[-1] + 1:
            self._lasts[-1] = last
            return
        left = bisect_left(self._lasts, first - 1)
        right = bisect_right(self._firsts, last + 1)
        if left < right:
            first = min(first, self._firsts[left])
            last = max(last, self._lasts[right - 1])
        self._firsts[left:right] = [first]
        self._lasts[left:right] = [last]

    def remove(self, first: int, last: int) -> None:
        """Hold no integer of first..last."""
        kept = [part for held in self._touched(first, last) for part in _outside(held, first, last)]
        left = bisect_left(self._lasts, first)
        right = bisect_right(self._firsts, last)
        self._firsts[left:right] = [part[0] for part in kept]
        self._lasts[left:right] = [part[1] for part in kept]

    def missing(self, first: int, last: int) -> list[Range]:
        """Return what of first..last is not held, in order."""
        found, at = [], first
        for held_first, held_last in self._touched(first, last):
            if at < held_first:
                found.append((at, held_first - 1))
            at = held_last + 1
        if at <= last:
            found.append((at, last))
        return found

    def holes(self) -> list[Range]:
        """Return what is not held between the first and the last integer held, in order."""
        return [(last + 1, first - 1) for last, first in zip(self._lasts[:-1], self._firsts[1:], strict=True)]

    def _touched(self, first: int, last: int) -> list[Range]:
        left = bisect_left(self._lasts, first)
        right = bisect_right(self._firsts, last)
        return list(zip(self._firsts[left:right], self._lasts[left:right], strict=True))


def _outside(held: Range, first: int, last: int) -> list[Range]:
    before = (held[0], first - 1)
    after = (last + 1, held[1])
    return [part for part in (before, after) if part[0] <= part[1]]


class Coverage:
    """Which ids of one symbol's trades are held, and which are known to exist and missing.

    Nothing is claimed about ids before the first held one.
    """

    def __init__(self, held: Iterable[Range] = (), *, known_last: int = -1) -> None:
        self.held = Ranges(held)
        self._known_last = known_last

    @property
    def last(self) -> int:
        """The largest id held, -1 when none is."""
        return self.held.last if self.held else -1

    @property
    def is_whole(self) -> bool:
        """Whether there is no hole."""
        return not self.held or (self.held.count == 1 and self._known_last <= self.held.last)

    def expect(self, last_trade_id: int) -> None:
        """Take note that the exchange numbered trades up to this id."""
        self._known_last = max(self._known_last, last_trade_id)

    def follows(self, first: int) -> bool:
        """Tell whether `first` is the id after the last one held, so that a run from it is wholly new."""
        return bool(self.held) and first == self.held.last + 1

    def missing(self) -> list[Range]:
        """Return the holes: ids that exist and are not held, in order."""
        if self.is_whole:
            return []
        holes = self.held.holes()
        if self._known_last > self.held.last:
            holes.append((self.held.last + 1, self._known_last))
        return holes

    def accept(self, first: int, last: int) -> list[Range]:
        """Hold first..last and return what of it is new, in order; empty for a duplicate."""
        new = self.held.missing(first, last)
        if new:
            self.held.add(first, last)
        return new


def overlay(rows: Iterable[tuple[int, int, bool]]) -> tuple[Ranges, Ranges]:
    """Apply (first id, last id, is held) in the order they became known; return (held, missing)."""
    held, missing = Ranges(), Ranges()
    for first, last, is_held in rows:
        gains, loses = (held, missing) if is_held else (missing, held)
        gains.add(first, last)
        loses.remove(first, last)
    return held, missing
