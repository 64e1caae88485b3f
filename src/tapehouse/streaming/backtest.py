"""Signals over history: how often they come, how long they last, and how often what they warn of follows.

The windows are judged by the watch that judges them live (law 5), so that what is counted here is what is stored.
What follows a signal is an outcome anybody can check: the price moves, within some windows, further than is usual.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan, nan

import msgspec

from tapehouse.market import sentiments
from tapehouse.market.baselines import Rolling, middle
from tapehouse.market.series import UNKNOWN, Series
from tapehouse.market.signals import WHOLE_MARKET, Detection, Finding, Kind, Signal
from tapehouse.market.watch import DETECTORS, TELLING_INTERVAL, Watch
from tapehouse.market.windows import DAY, INTERVALS
from tapehouse.streaming.signal_reads import SignalReads, Span

BLOCK = 20_000
"""Windows that are read and judged at once."""
OF_CANDLES: tuple[Kind, ...] = (*DETECTORS, "divergence")
"""What is found in a symbol's candles, and what others tell of it."""
OF_INDEX: Kind = sentiments.KIND
"""What is found in the Fear & Greed index."""


class Outcome(msgspec.Struct, frozen=True):
    """A move of the close over `horizon` windows that is `times` what is usual: the median of such moves before."""

    horizon: int = 12
    times: float = 2.0


class Tally(msgspec.Struct, frozen=True):
    """What came of one kind. `followed` and `usual` are parts of one: after a signal, and after any window.

    `judged` are the windows of which the detector can say whether they are unusual.
    """

    kind: Kind
    judged: int
    signals: int
    a_day: float
    episodes: int
    """Runs of consecutive windows; of the index, stays at an end of its scale."""
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
        self._detection = detection
        self._outcome = outcome
        self._judged: Counter[Kind] = Counter()
        self._found: dict[Kind, list[tuple[int, bool | None]]] = defaultdict(list)
        self._stays: list[int] = []
        self._after_any = [0, 0]

    def add(self, watch: Watch, start: int, end: int) -> None:
        """Judge the windows of [start, end) and count what is found.

        The watch has to hold the windows up to `horizon` after the end, where there are any.
        """
        watch.touch(start, end)
        series = watch.series
        places = range(max(series.place(start), 0), min(series.place(end), len(series)))
        self.windows += sum(series.state[place] != UNKNOWN for place in places)
        follows = self._follows(series, places)
        for kind, opened, finding in watch.judge():
            self._count(kind, opened, finding, follows)

    def add_index(self, values: Mapping[int, int], series: Series, start: int, end: int) -> None:
        """Judge the index, by UTC day, of the days of [start, end); what follows is told by `series`, of 1d windows."""
        days = [day for day in sorted(values) if start <= day < end]
        self.windows += len(days)
        places = (series.place(day) for day in days)
        follows = self._follows(series, [place for place in places if 0 <= place < len(series)])
        for day in days:
            finding = sentiments.sentiment_extreme(values, day, self._detection)
            self._count(OF_INDEX, day, finding, follows)
            if finding is not None and finding.fires:
                self._stays.append(sentiments.stay(values, day, self._detection))

    def tallies(self, kinds: Iterable[Kind]) -> list[Tally]:
        """Return the counts of each kind."""
        return [self._tally(kind) for kind in kinds]

    def _count(self, kind: Kind, opened: int, finding: Finding | None, follows: Mapping[int, bool | None]) -> None:
        if finding is None:
            return
        self._judged[kind] += 1
        if finding.fires:
            self._found[kind].append((opened, follows.get(opened)))

    def _tally(self, kind: Kind) -> Tally:
        found = self._found[kind]
        told = [verdict for _, verdict in found if verdict is not None]
        runs = self._stays if kind == OF_INDEX else list(_runs([opened for opened, _ in found], self._step))
        return Tally(
            kind,
            judged=self._judged[kind],
            signals=len(found),
            a_day=len(found) * DAY / (self.windows * self._step) if self.windows else 0.0,
            episodes=len(runs),
            longest=max(runs, default=0),
            followed=sum(told) / len(told) if told else nan,
            usual=self._after_any[0] / self._after_any[1] if self._after_any[1] else nan,
        )

    def _follows(self, series: Series, places: Sequence[int]) -> dict[int, bool | None]:
        """Tell of each window, by its opening, whether the outcome follows; None where it cannot be said."""
        horizon, close = self._outcome.horizon, series.close
        moved = [nan] * horizon + [abs(close[place] - close[place - horizon]) for place in range(horizon, len(series))]
        usual, found = Rolling(moved, self._detection.baseline), {}
        for place in places:
            before = usual.before(place + 1)
            after = moved[place + horizon] if place + horizon < len(series) else nan
            known = len(before) >= self._detection.enough and not isnan(after)
            found[series.opened(place)] = after > self._outcome.times * middle(before) if known else None
        told = [verdict for verdict in found.values() if verdict is not None]
        self._after_any[0] += sum(told)
        self._after_any[1] += len(told)
        return found


def shortcomings(tallies: Iterable[Tally], detection: Detection, outcome: Outcome) -> Iterator[str]:
    """Give a sentence for each kind of which the history does not tell all: why, and what it would take."""
    for tally in tallies:
        if not tally.judged:
            yield f"{tally.kind} could not be judged: {_LACKING.get(tally.kind, _LACKING_CANDLES)}."
        elif tally.signals and isnan(tally.followed):
            yield (
                f"{tally.kind}: what followed cannot be told; it takes {detection.enough} windows before a signal, "
                f"{outcome.horizon} more for the moves over them, and {outcome.horizon} after it."
            )


_LACKING_CANDLES = "it takes half of a baseline of proved windows in which something was traded"
_LACKING: Mapping[Kind, str] = {
    "taker_imbalance": f"{_LACKING_CANDLES}, and who the takers were",
    "divergence": "it takes CoinGecko's prices of the coin, of windows with half of a baseline before them "
    f"(a lake's are held against {TELLING_INTERVAL} windows alone, those of files come with --context)",
    OF_INDEX: "there is no value of the Fear & Greed index in this range (files of it come with --context)",
}


def run_over(reads: SignalReads, span: Span, coins: Mapping[str, str], counted: Backtest, horizon: int) -> None:
    """Count the signals of a span of the lake's history, block by block."""
    step = INTERVALS[span.interval]
    for start in range(span.start, span.end, BLOCK * step):
        end = min(start + BLOCK * step, span.end)
        wider = Span(span.symbol, span.interval, start, end + horizon * step)
        for watch in reads.watches([wider], coins, said=False).values():
            counted.add(watch, start, end)


def run_over_index(reads: SignalReads, span: Span, counted: Backtest, horizon: int) -> None:
    """Count the extremes of the index over a span of days; what follows is the span's symbol's."""
    [watch] = reads.watches(
        [msgspec.structs.replace(span, end=span.end + horizon * DAY)], {span.symbol: ""}, said=False
    ).values()
    counted.add_index(reads.index(), watch.series, span.start, span.end)


def differing(reads: SignalReads, span: Span, coins: Mapping[str, str], known_at: int = 0) -> Iterator[Signal]:
    """Give what would have to be stored for the signals of a span to be what its candles and tellings give.

    `known_at` (microseconds) is when it becomes known.
    """
    step = INTERVALS[span.interval]
    for start in range(span.start, span.end, BLOCK * step):
        block = Span(span.symbol, span.interval, start, min(start + BLOCK * step, span.end))
        for watch in reads.watches([block], coins).values():
            watch.touch(block.start, block.end)
            yield from watch.derive(known_at)


def differing_extremes(reads: SignalReads, detection: Detection, known_at: int = 0) -> list[Signal]:
    """Return what would have to be stored for the extremes of the index to be what its values give."""
    values, said = reads.index(), {signal.opened_at: signal for signal in reads.said_of(WHOLE_MARKET)}
    return sentiments.extremes(values, values.keys() | said.keys(), said, detection, known_at)


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
