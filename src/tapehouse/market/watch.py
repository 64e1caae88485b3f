"""The watch over one symbol's candles of one interval: candles go in, revisions of signals come out (laws 4, 5).

The live engines, a restart and a back-test use this one class. It holds the newest windows; a window that rests on
older ones is not judged here, and `reaches` says so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from tapehouse.market.deviations import vwap_deviation
from tapehouse.market.divergences import LATE_BY, Told, divergence
from tapehouse.market.imbalances import taker_imbalance
from tapehouse.market.ledger import CandleRow
from tapehouse.market.outliers import price_outlier
from tapehouse.market.regimes import MEMORY, RECENT, volatility_regime
from tapehouse.market.seasons import Seasons
from tapehouse.market.series import LEVEL_LENGTH, UNKNOWN, VWAP_LENGTH, Series
from tapehouse.market.signals import Detection, Finding, Key, Kind, Signal, revised
from tapehouse.market.spikes import volume_spike
from tapehouse.market.stretch import Stretch

DETECTORS: Mapping[Kind, Callable[[Stretch, int], Finding | None]] = {
    "volume_spike": volume_spike,
    "price_outlier": price_outlier,
    "vwap_deviation": vwap_deviation,
    "volatility_regime": volatility_regime,
    "taker_imbalance": taker_imbalance,
}
"""What is looked for in every window, by kind."""
TELLING_INTERVAL = "1m"
"""The interval of the candles that prices told by others are held against."""


def reach(detection: Detection) -> int:
    """Return how many windows before it a window rests on at most."""
    return detection.baseline + max(VWAP_LENGTH + 1, RECENT + MEMORY + 1, LEVEL_LENGTH, LATE_BY)


class Watch:
    """Judges the windows of a series that starts at `origin` (microseconds UTC), and knows what was said of them."""

    def __init__(self, symbol: str, interval: str, origin: int, detection: Detection, seasons: Seasons) -> None:
        self.symbol = symbol
        self.series = Series(interval, origin)
        self.told: dict[int, Told] = {}
        """What others told, by the opening of the window it is of."""
        self._detection = detection
        self._minimum_quote_volume = detection.minimum_of(symbol)
        self.seasons = seasons
        self._signals: dict[Key, Signal] = {}
        self._dirty: set[int] = set()

    def recall(
        self, candles: Iterable[CandleRow] = (), signals: Iterable[Signal] = (), told: Iterable[Told] = ()
    ) -> None:
        """Take what is stored already: candles, oldest first, the newest revisions of signals, and what others told."""
        self.series.put_all(candles)
        self._signals |= {(signal.kind, signal.opened_at): signal for signal in signals}
        for each in told:
            self._keep(each)

    def put(self, row: CandleRow) -> None:
        """Take a candle that is new or corrected; every window that rests on it is to be judged anew."""
        place = self.series.put(row)
        self.touch(row.opened_at, self.series.opened(place + reach(self._detection) + 1))

    def tell(self, told: Told) -> None:
        """Take a price that somebody else told; of two of one window, the one that was told last counts."""
        opened = self._keep(told)
        if opened is not None:
            self.touch(opened, opened + self.series.step)

    def touch(self, start: int, end: int) -> None:
        """Have the windows of [start, end) (microseconds) judged anew."""
        first, last = max(self.series.place(start), 0), min(self.series.place(end - 1), len(self.series) - 1)
        self._dirty.update(self.series.opened(place) for place in range(first, last + 1))

    def derive(self, known_at: int) -> list[Signal]:
        """Judge what has to be, and return a revision of every signal of which there is something new to say."""
        found: list[Signal] = []
        for kind, opened, finding in self.judge():
            about = kind, self.symbol, self.series.interval, opened
            signal = revised(self._signals.get((kind, opened)), finding, about, known_at)
            if signal is not None:
                self._signals[kind, opened] = signal
                found.append(signal)
        return found

    def judge(self) -> Iterator[tuple[Kind, int, Finding | None]]:
        """Give what each detector says of each window that has to be judged, in order of time; None: it cannot say."""
        stretch = Stretch(self.series, self.seasons, self._detection, self._minimum_quote_volume)
        for opened in sorted(self._dirty):
            for kind, finding in self._findings(stretch, opened).items():
                yield kind, opened, finding
        self._dirty.clear()

    def foresee(self, row: CandleRow) -> list[Signal]:
        """Return what would be signals if the window of an open candle ended now, as revisions 0; none is kept."""
        length = len(self.series)
        if not 0 <= self.series.place(row.opened_at) - length <= reach(self._detection):
            return []
        place = self.series.put(row)
        stretch = Stretch(self.series, self.seasons, self._detection, self._minimum_quote_volume)
        findings = {kind: detect(stretch, place) for kind, detect in DETECTORS.items()}
        self.series.cut(length)
        about = self.symbol, self.series.interval, row.opened_at
        revisions = (revised(None, finding, (kind, *about), known_at=0) for kind, finding in findings.items())
        return [msgspec.structs.replace(signal, revision=0) for signal in revisions if signal is not None]

    def reaches(self, opened: int) -> bool:
        """Tell whether everything that a window may rest on would lie in this series."""
        return self.series.place(opened) >= reach(self._detection)

    def forget(self, places: int) -> None:
        """Forget so many of the oldest windows, and what was said of them."""
        self.series.forget(places)
        self._signals = {key: signal for key, signal in self._signals.items() if key[1] >= self.series.origin}
        self.told = {opened: told for opened, told in self.told.items() if self.reaches(opened)}

    def _keep(self, told: Told) -> int | None:
        opened = told.observed_at - told.observed_at % self.series.step
        if opened in self.told and self.told[opened] >= told:
            return None
        self.told[opened] = told
        return opened

    def _findings(self, stretch: Stretch, opened: int) -> dict[Kind, Finding | None]:
        place = self.series.place(opened)
        if self.series.state[place] == UNKNOWN:
            return {}
        found = {kind: detect(stretch, place) for kind, detect in DETECTORS.items()}
        told = self.told.get(opened)
        if told is not None:
            found["divergence"] = divergence(stretch, place, told)
        return found
