"""Signals over history: how often they come, how long they last, and how often what they warn of follows.

The windows are judged by the watch that judges them live (law 5), so that what is counted here is what is stored.
What follows a signal is an outcome anybody can check: the price moves, within some windows, further than is usual.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import isnan, nan

import msgspec

from tapehouse.market.baselines import Rolling, middle
from tapehouse.market.series import Series
from tapehouse.market.signals import Detection, Kind, Signal
from tapehouse.market.watch import DETECTORS, Watch
from tapehouse.market.windows import DAY, INTERVALS
from tapehouse.streaming.signal_reads import SignalReads, Span

BLOCK = 20_000
"""Windows that are read and judged at once."""
KINDS: tuple[Kind, ...] = (*DETECTORS, "divergence")
"""What is found in a symbol's candles, and what others tell of it."""


class Outcome(msgspec.Struct, frozen=True):
    """A move of the close over `horizon` windows that is `times` what is usual: the median of such moves before."""

    horizon: int = 12
    times: float = 2.0


class Tally(msgspec.Struct, frozen=True):
    """What came of one kind. `followed` and `usual` are parts of one: after a signal, and after any window."""

    kind: Kind
    signals: int
    a_day: float
    episodes: int
    """Runs of consecutive windows."""
    longest: int
    followed: float
    usual: float

    @property
    def false_a_day(self) -> float:
        """How many a day are not followed by the outcome."""
        return self.a_day * (1 - self.followed)


class Backtest:
    """Counts the signals of one symbol and interval; stretches are added in order of time."""

    def __init__(self, interval: str, detection: Detection, outcome: Outcome) -> None:
        self.windows = 0
        self._step = INTERVALS[interval]
        self._length = detection.baseline
        self._enough = detection.enough
        self._outcome = outcome
        self._found: dict[Kind, list[tuple[int, bool | None]]] = defaultdict(list)
        self._after_any = [0, 0]

    def add(self, watch: Watch, start: int, end: int) -> list[Signal]:
        """Judge the windows of [start, end) and count what is found; return it.

        The watch has to hold the windows up to `horizon` after the end, where there are any.
        """
        watch.touch(start, end)
        found = [signal for signal in watch.derive(known_at=0) if signal.state != "retracted"]
        series = watch.series
        places = range(max(series.place(start), 0), min(series.place(end), len(series)))
        follows = dict(zip(places, self._follows(series, places), strict=True))
        told = [verdict for verdict in follows.values() if verdict is not None]
        self.windows += sum(series.state[place] != 0 for place in places)
        self._after_any[0] += sum(told)
        self._after_any[1] += len(told)
        for signal in found:
            self._found[signal.kind].append((signal.opened_at, follows.get(series.place(signal.opened_at))))
        return found

    def tallies(self, kinds: Iterable[Kind]) -> list[Tally]:
        """Return the counts of each kind."""
        return [self._tally(kind) for kind in kinds]

    def _tally(self, kind: Kind) -> Tally:
        found = self._found[kind]
        told = [verdict for _, verdict in found if verdict is not None]
        runs = list(_runs([opened for opened, _ in found], self._step))
        return Tally(
            kind,
            signals=len(found),
            a_day=len(found) * DAY / (self.windows * self._step) if self.windows else 0.0,
            episodes=len(runs),
            longest=max(runs, default=0),
            followed=sum(told) / len(told) if told else nan,
            usual=self._after_any[0] / self._after_any[1] if self._after_any[1] else nan,
        )

    def _follows(self, series: Series, places: range) -> Iterator[bool | None]:
        """Tell of each window whether the outcome follows; None where it cannot be said."""
        horizon, close = self._outcome.horizon, series.close
        moved = [nan] * horizon + [abs(close[place] - close[place - horizon]) for place in range(horizon, len(series))]
        usual = Rolling(moved, self._length)
        for place in places:
            before = usual.before(place + 1)
            after = moved[place + horizon] if place + horizon < len(series) else nan
            known = len(before) >= self._enough and not isnan(after)
            yield after > self._outcome.times * middle(before) if known else None


def run_over(
    reads: SignalReads, span: Span, coins: Mapping[str, str], counted: Backtest, horizon: int
) -> Iterator[Signal]:
    """Count the signals of a span of the lake's history, block by block; give each."""
    step = INTERVALS[span.interval]
    for start in range(span.start, span.end, BLOCK * step):
        end = min(start + BLOCK * step, span.end)
        wider = Span(span.symbol, span.interval, start, end + horizon * step)
        for watch in reads.watches([wider], coins, said=False).values():
            yield from counted.add(watch, start, end)


def differing(reads: SignalReads, span: Span, coins: Mapping[str, str]) -> Iterator[Signal]:
    """Give what would have to be stored for the signals of a span to be what its candles and tellings give."""
    step = INTERVALS[span.interval]
    for start in range(span.start, span.end, BLOCK * step):
        block = Span(span.symbol, span.interval, start, min(start + BLOCK * step, span.end))
        for watch in reads.watches([block], coins).values():
            watch.touch(block.start, block.end)
            yield from watch.derive(known_at=0)


def _runs(openings: Iterable[int], step: int) -> Iterator[int]:
    """Give the length of each run of openings that follow one another."""
    length, before = 0, None
    for opened in sorted(openings):
        if before is not None and opened - before > step:
            yield length
            length = 0
        length, before = length + 1, opened
    if length:
        yield length
