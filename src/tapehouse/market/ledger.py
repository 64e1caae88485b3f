"""The windows of one symbol: trades and klines go in, revisions of candles come out (laws 4, 5, 6).

The live engine, recovery and the batch rebuild use this one class; that is why they cannot disagree. It keeps only
the windows that can still change by themselves; for older ones `lacks` says what has to be recalled first.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from tapehouse.market.candles import Candle, merge, merge_all
from tapehouse.market.coverage import Coverage
from tapehouse.market.events import Kline
from tapehouse.market.proof import (
    CLOSED,
    GAP,
    OPEN,
    PROVED,
    QUIET,
    Neighbour,
    State,
    differences,
    judge_empty,
    judge_held,
    quiet_price,
)
from tapehouse.market.windows import DAY, INTERVALS, MINUTE, ROLLED_UP_FROM, closes_at, is_over, kept_from, opened_at

LONGEST_EMPTY_RUN = 7 * 24 * 60
"""Most consecutive windows without a held trade that are written; of a longer hole `silver/coverage` alone tells."""


_Known = TypeVar("_Known")


class CandleRow(msgspec.Struct, frozen=True):
    """A revision of a candle. `flat` is the price of a quiet window; a gap of which nothing is held has neither."""

    symbol: str
    interval: str
    opened_at: int
    candle: Candle | None
    flat: int | None
    state: State
    revision: int
    known_at: int


class Check(msgspec.Struct, frozen=True):
    """A candle held against the exchange's own kline; no differences means they agree in every column.

    `agreed_before` is what the comparison of the same window before this one came to, None where it is the first.
    """

    symbol: str
    opened_at: int
    differences: list[tuple[str, int | None, int | None]]
    revision: int = 0
    agreed_before: bool | None = None


class _Verdict(msgspec.Struct, frozen=True):
    candle: Candle | None
    flat: int | None
    state: State


class Ledger:
    """What is known of one symbol's windows, and what was last written of them."""

    def __init__(self, symbol: str, coverage: Coverage | None = None) -> None:
        self.symbol = symbol
        self.coverage = coverage or Coverage()
        self.horizon = 0
        self.unproved: set[int] = set()
        self.uncompared: set[int] = set()
        self._candles: dict[int, Candle] = {}
        self._klines: dict[int, Kline] = {}
        self._rows: dict[str, dict[int, CandleRow]] = {interval: {} for interval in INTERVALS}
        self._checked: dict[int, tuple[int, bool]] = {}
        self._touched: set[int] = set()
        self.settled_to = 0
        self._retained_from = 0
        self._recalled: set[int] = set()

    # What comes in

    def add(self, opened: int, candle: Candle) -> None:
        """Merge newly held trades of the 1m window that opened then."""
        held = self._candles.get(opened)
        self._candles[opened] = merge(held, candle) if held else candle
        self._touched.add(opened)
        if candle.first_trade_id < held.first_trade_id if held else opened == self.horizon:
            self._touched.add(opened - MINUTE)  # a new first id may prove those before, while this window is open
        self.horizon = max(self.horizon, opened)

    def tell(self, kline: Kline) -> bool:
        """Take the exchange's closed 1m kline as evidence; False when it was told before."""
        known = self._klines.get(kline.opened_at)
        if known is not None and (known.has_ids and not kline.has_ids):
            return False
        if known is not None and msgspec.structs.replace(known, received_at=kline.received_at) == kline:
            return False
        self._klines[kline.opened_at] = kline
        self._touched.add(kline.opened_at)
        self.uncompared.discard(kline.opened_at)
        if kline.opened_at in self._checked:
            self._checked[kline.opened_at] = (0, self._checked[kline.opened_at][1])
        self.horizon = max(self.horizon, closes_at(kline.opened_at, "1m"))
        if kline.candle is not None and kline.has_ids:
            self.coverage.expect(kline.candle.last_trade_id)
        return True

    def recall(self, rows: Iterable[CandleRow], klines: Iterable[Kline] = (), days: Iterable[int] = ()) -> None:
        """Take back rows written earlier (the highest revision of each window) and the klines told of them.

        `days` are openings of UTC days of which these are all the rows there are.
        """
        for row in rows:
            self._rows[row.interval].setdefault(row.opened_at, row)
            self.horizon = max(self.horizon, closes_at(row.opened_at, "1m"))
            if row.interval == "1m":
                self.settled_to = max(self.settled_to, row.opened_at + MINUTE)
                if row.candle is not None:
                    self._candles.setdefault(row.opened_at, row.candle)
        for kline in klines:
            self._klines.setdefault(kline.opened_at, kline)
            known = self._rows["1m"].get(kline.opened_at)
            if known is not None and known.state in PROVED:
                agrees = not differences(known.candle, known.flat, kline)
                self._checked.setdefault(kline.opened_at, (known.revision, agrees))
        self._recalled.update(days)

    def reach(self, horizon: int) -> None:
        """Take note that event time has come this far."""
        self.horizon = max(self.horizon, horizon)

    def restore(self, candles: Iterable[tuple[int, Candle]]) -> None:
        """Take 1m candles computed anew from bronze in place of what is known; they are judged at the next settling."""
        for opened, candle in candles:
            self._candles.pop(opened, None)
            self.add(opened, candle)

    def lacks(self, opened: int) -> bool:
        """Tell whether rows of that time must be recalled before trades of it are added."""
        if opened < self._retained_from:
            return True
        between = self._retained_from > 0 and opened < self.newest()
        return between and not self.holds_between(self._retained_from, opened)

    def has_recalled(self, day: int) -> bool:
        """Tell whether what was written of the UTC day that began then is at hand since the last trim."""
        return day in self._recalled

    def holds_between(self, start: int, end: int) -> bool:
        """Tell whether trades of [start, end) are at hand."""
        return any(start <= opened < end for opened in self._candles)

    # What comes out

    def settle(self, known_at: int) -> list[CandleRow]:
        """Return a new revision of every window that is over and of which there is something new to say."""
        if self.horizon <= self.settled_to and not any(is_over(at, "1m", self.horizon) for at in self._touched):
            return []
        minutes = sorted(self._candles)
        if not minutes:
            return []
        written = []
        for opened in self._to_judge(minutes):
            verdict = self._judge(opened, minutes)
            if verdict is not None:
                written += self._revise("1m", opened, verdict, known_at)
        written += self._roll_up(written, minutes, known_at)
        self.settled_to = max(self.settled_to, self.horizon)
        self._touched = {opened for opened in self._touched if not is_over(opened, "1m", self.horizon)}
        return written

    def checks(self) -> list[Check]:
        """Return each comparison with a kline that has become possible since the last call."""
        found = []
        for opened, kline in self._klines.items():
            row = self._rows["1m"].get(opened)
            checked, agreed = self._checked.get(opened, (0, None))
            if row is None or row.state not in PROVED or checked == row.revision:
                continue
            differing = differences(row.candle, row.flat, kline)
            self._checked[opened] = (row.revision, not differing)
            found.append(Check(self.symbol, opened, differing, row.revision, agreed))
        return found

    def unheard(self) -> list[int]:
        """Return the 1m windows over for a minute or more that want a kline and were told none, in order.

        Those are the closed and quiet ones of the last day, which are to be compared, and those that wait for proof.
        """
        waiting = self.unproved.copy() - self._klines.keys()
        ended = self.horizon - 2 * MINUTE
        return sorted(opened for opened in self.uncompared.copy() | waiting if opened <= ended)

    def row(self, interval: str, opened: int) -> CandleRow | None:
        """Return the last revision of a window that is still kept here."""
        return self._rows[interval].get(opened)

    def rows(self, interval: str) -> list[CandleRow]:
        """Return the last revisions that are still kept here, in order of time."""
        return [row for _, row in sorted(self._rows[interval].copy().items())]

    def summary(self, interval: str, opened: int) -> Candle | None:
        """Return the candle of the trades held of a window, over or not, as far as it is still kept here."""
        row = self._rows[interval].get(opened)
        if interval == "1m":
            return self._candles.get(opened)
        if row is not None:
            return row.candle
        if closes_at(opened, interval) <= self._retained_from:
            return None
        child = ROLLED_UP_FROM[interval]
        return merge_all(
            candle
            for at in range(opened, closes_at(opened, interval), INTERVALS[child])
            if (candle := self.summary(child, at)) is not None
        )

    def newest(self) -> int:
        """Return the opening of the newest 1m window with a held trade, -1 when there is none."""
        return max(self._candles.copy(), default=-1)

    def trim(self) -> None:
        """Forget what cannot change by itself any more; call it when everything written is on its way to the lake.

        While a symbol is silent everything since its last trade is kept: the next trade may change any of it.
        """
        last_before = max((at for at in self._candles if at < kept_from("1m", self.horizon)), default=self.horizon)
        since = max(min(last_before + MINUTE, self.horizon), self.horizon - LONGEST_EMPTY_RUN * MINUTE)
        oldest = kept_from("1m", since)
        self._candles = _kept(self._candles, oldest, last_before)
        self._klines = _kept(self._klines, oldest)
        self._checked = _kept(self._checked, oldest)
        self.unproved = {opened for opened in self.unproved if opened >= oldest}
        self.uncompared = {opened for opened in self.uncompared if opened >= self.horizon - DAY}
        for interval, rows in self._rows.items():
            self._rows[interval] = _kept(rows, kept_from(interval, since), last_before if interval == "1m" else None)
        self._retained_from = max(self._retained_from, oldest)
        self._recalled.clear()

    # How it is judged

    def _to_judge(self, minutes: list[int]) -> list[int]:
        spans = {opened for opened in self._touched if is_over(opened, "1m", self.horizon)}
        chosen: set[int] = set()
        for opened in spans:
            chosen.update(self._around(opened, minutes))
        start = max(self.settled_to, minutes[0])
        if start < self.horizon:
            chosen.update(self._around(start, minutes))
            chosen.update(range(max(start, self.horizon - LONGEST_EMPTY_RUN * MINUTE), self.horizon, MINUTE))
            chosen.update(opened for opened in minutes[bisect_left(minutes, start) :])
        return sorted(
            at
            for at in chosen
            if at >= minutes[0] and is_over(at, "1m", self.horizon) and self._knows(at) and self._is_told(at, minutes)
        )

    def _is_told(self, opened: int, minutes: list[int]) -> bool:
        """Tell whether a window is written: an empty one only within LONGEST_EMPTY_RUN of what follows it."""
        place = bisect_left(minutes, opened)
        following = minutes[place] if place < len(minutes) else self.horizon
        return following - opened <= LONGEST_EMPTY_RUN * MINUTE

    def _knows(self, opened: int) -> bool:
        """Tell whether what was written of a window is at hand; of one between recalled days it is not."""
        return opened >= self._retained_from or opened in self._candles or opened_at(opened, "1d") in self._recalled

    def _around(self, opened: int, minutes: list[int]) -> Iterable[int]:
        """Return the windows whose judgement may change with this one: up to the nearest held ones on both sides."""
        before = minutes[max(bisect_left(minutes, opened) - 1, 0)]
        place = bisect_right(minutes, opened)
        after = minutes[place] if place < len(minutes) else self.horizon - MINUTE
        longest = LONGEST_EMPTY_RUN * MINUTE
        yield from (before, after)
        yield from range(max(min(before, opened), opened - longest), opened, MINUTE)
        yield from range(max(opened, after - longest), after, MINUTE)
        yield opened

    def _judge(self, opened: int, minutes: list[int]) -> _Verdict | None:
        candle, kline = self._candles.get(opened), self._klines.get(opened)
        before = self._neighbour(minutes, bisect_left(minutes, opened) - 1)
        after = self._neighbour(minutes, bisect_right(minutes, opened))
        if candle is not None:
            settled = self._rows["1m"].get(opened)
            if settled is not None and settled.state == CLOSED and settled.candle == candle:
                return None
            state = judge_held(candle, kline, self.coverage.held, before, after)
        elif before is not None:
            state = judge_empty(kline, before, after)
        else:
            return None
        if state == OPEN:
            self.unproved.add(opened)
            return None
        self.unproved.discard(opened)
        flat = quiet_price(kline, before, after) if state == QUIET and before is not None else None
        return _Verdict(candle, flat, state)

    def _neighbour(self, minutes: list[int], place: int) -> Neighbour | None:
        if not 0 <= place < len(minutes):
            return None
        return Neighbour(self._candles[minutes[place]], self._klines.get(minutes[place]))

    def _roll_up(self, written: list[CandleRow], minutes: list[int], known_at: int) -> list[CandleRow]:
        found = []
        for interval in ROLLED_UP_FROM:
            parents = sorted({opened_at(row.opened_at, interval) for row in written})
            written = [
                row
                for opened in parents
                if (verdict := self._judge_parent(interval, opened, minutes[-1])) is not None
                for row in self._revise(interval, opened, verdict, known_at)
            ]
            found += written
        return found

    def _judge_parent(self, interval: str, opened: int, newest: int) -> _Verdict | None:
        if not is_over(opened, interval, self.horizon):
            return None
        child = ROLLED_UP_FROM[interval]
        openings = range(opened, closes_at(opened, interval), INTERVALS[child])
        children = [self._rows[child].get(at) for at in openings]
        if any(row is None and newest < closes_at(at, child) for at, row in zip(openings, children, strict=True)):
            return None  # a window at the end is over but not proved: so is this one
        states = {row.state if row is not None else GAP for row in children}
        candle = merge_all(row.candle for row in children if row is not None and row.candle is not None)
        if states == {QUIET}:
            return _Verdict(None, children[0].flat if children[0] is not None else None, QUIET)
        return _Verdict(candle, None, CLOSED if states <= {CLOSED, QUIET} else GAP)

    def _revise(self, interval: str, opened: int, verdict: _Verdict, known_at: int) -> list[CandleRow]:
        last = self._rows[interval].get(opened)
        if last is not None and verdict == _Verdict(last.candle, last.flat, last.state):
            return []
        revision = last.revision + 1 if last is not None else 1
        row = CandleRow(self.symbol, interval, opened, verdict.candle, verdict.flat, verdict.state, revision, known_at)
        self._rows[interval][opened] = row
        if interval == "1m":
            wants_kline = row.state in PROVED and opened not in self._klines
            (self.uncompared.add if wants_kline else self.uncompared.discard)(opened)
        return [row]


def _kept(windows: dict[int, _Known], oldest: int, besides: int | None = None) -> dict[int, _Known]:
    return {at: known for at, known in windows.items() if at >= oldest or at == besides}
