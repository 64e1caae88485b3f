"""A stretch of windows as detectors go through it: each window with what is usual before it.

Going on by one window is cheap, going anywhere else is possible; what is found is the same either way (law 5).
"""

from collections.abc import Iterable
from math import isnan, log, nan

from tapehouse.market.baselines import Baseline, Rolling
from tapehouse.market.seasons import HOUR, Seasons
from tapehouse.market.series import PROVED, Series
from tapehouse.market.signals import Detection, Evidence, moment, rounded


class Stretch:
    """The windows of a series beside their seasons; what is kept here holds while neither changes.

    `minimum_quote_volume` is in what the series' symbol is quoted in (see `Detection.minimum_of`).
    """

    def __init__(self, series: Series, seasons: Seasons, detection: Detection, minimum_quote_volume: float) -> None:
        self.series = series
        self.detection = detection
        self.minimum_quote_volume = minimum_quote_volume
        self.volatilities: dict[int, tuple[float, float]] = {}
        """Of places: recent volatility and the usual one (see `regimes`)."""
        self._seasons = seasons
        self._rolling: dict[str, Rolling] = {}

    def rolling(self, column: str) -> Rolling:
        """Return the values of a column of the series before a place."""
        if column not in self._rolling:
            self._rolling[column] = Rolling(getattr(self.series, column), self.detection.baseline)
        return self._rolling[column]

    def baseline(self, column: str, place: int, floor: float) -> Baseline | None:
        """Return what is usual for a column before a place; None where too few windows can be used.

        It has the digits that evidence tells, so that a score can be computed again from its evidence.
        """
        usual = self.rolling(column).baseline(place, floor, self.detection.enough)
        return usual and Baseline(rounded(usual.median), rounded(usual.scale), usual.count)

    def season(self, place: int) -> float:
        """Return what a window usually trades at its hour of the week, as a logarithm (see `seasons`).

        NaN where the hour is not known, or the window is longer.
        """
        if self.series.step > HOUR:
            return nan
        return self._seasons.at(self.series.opened(place)) - log(HOUR / self.series.step)

    def proved(self, *places: int) -> bool:
        """Tell whether the candles of windows are whole."""
        return all(place >= 0 and self.series.state[place] == PROVED for place in places)

    def last_close(self, place: int) -> float:
        """Return the logarithm of the price before a window; NaN where the window before is not known."""
        return self.series.close[place - 1] if place > 0 else nan

    def about(self, place: int, count: int, before: int | None = None) -> Evidence:
        """Return the evidence every finding has: the candle's ids, and the windows it was compared with.

        Those are `count` usable ones of the baseline before `before`, which is `place` where it is not given.
        """
        first, last = self.ids([place])
        start = (place if before is None else before) - self.detection.baseline
        return {
            "first_trade_id": first,
            "last_trade_id": last,
            "baseline_from": moment(self.series.opened(start)),
            "baseline_windows": count,
        }

    def ids(self, places: Iterable[int]) -> tuple[int | None, int | None]:
        """Return the first and the last trade id of windows; None where nothing traded in them."""
        told = [at for at in places if self.series.first_trade_id[at] >= 0]
        first = min((self.series.first_trade_id[at] for at in told), default=None)
        return first, max((self.series.last_trade_id[at] for at in told), default=None)


def known(value: float) -> bool:
    """Tell whether there is a value."""
    return not isnan(value)
