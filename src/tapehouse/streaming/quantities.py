"""How much was traded in ids that are held: what is taken off an aggregate of which a part is held already."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate

import polars as pl

STRETCH = 20_000
"""Ids looked up at once: an answer of the exchange has up to a thousand aggregates, one after the other."""

Read = Callable[[str, int, int], pl.DataFrame]
"""Returns `first_trade_id` and `quantity` (units) of the held rows of a symbol whose first id is in first..last."""


class Quantities:
    """The quantities of held trades, read a stretch of ids at a time and kept until `forget`."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.forget()

    def forget(self) -> None:
        """Read anew from now on: call it when what is held has changed."""
        self._symbol, self._from, self._to = "", 0, -1
        self._ids: list[int] = []
        self._sums: list[int] = []

    def between(self, symbol: str, first: int, last: int) -> int:
        """Return the summed quantity of the rows of a symbol whose first id is in first..last."""
        if symbol != self._symbol or first < self._from or last > self._to:
            self._look_up(symbol, first, max(last, first + STRETCH))
        begin, end = bisect_left(self._ids, first), bisect_right(self._ids, last)
        return self._sums[end] - self._sums[begin]

    def _look_up(self, symbol: str, first: int, last: int) -> None:
        rows = self._read(symbol, first, last).sort("first_trade_id")
        self._symbol, self._from, self._to = symbol, first, last
        self._ids = rows["first_trade_id"].to_list()
        self._sums = list(accumulate(rows["quantity"].to_list(), initial=0))
