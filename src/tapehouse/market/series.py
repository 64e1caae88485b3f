"""The windows of one symbol and interval, one after the other, as columns of what detectors compare.

A window whose candle is not proved, or of which nothing is known, is NaN in the columns baselines are made from. A
float is for comparing only: what is stored of a price or a volume stays in the candle.
"""

from array import array
from collections.abc import Iterable
from math import fsum, log, nan

from tapehouse.market.baselines import middle
from tapehouse.market.candles import Candle
from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE
from tapehouse.market.ledger import CandleRow
from tapehouse.market.proof import CLOSED, QUIET
from tapehouse.market.windows import INTERVALS

UNKNOWN, UNPROVED, PROVED = 0, 1, 2
"""What is known of a window: nothing; a candle that may still change; one that is whole."""
LEVEL_LENGTH = 36
"""Windows whose median volume is the level that the next one is held against."""
VWAP_LENGTH = 60
"""Windows of the rolling VWAP."""
ONE_SIDED = 0.005
"""What is added to both sides of the taker volume, as a part of it: a window of buyers alone has finite odds."""
_BODY = 2 * log(2) - 1
_FLOATS = (
    *("high", "low", "close", "volume", "quote_volume"),
    *("log_volume", "excess", "move", "variance", "odds", "distance"),
)
_SUMMED = ("proved_volume", "proved_quote_volume")


class Series:
    """Places count windows from `origin` (microseconds UTC); columns are as long as there are places.

    `high, low, close` are logarithms, NaN where not known; `volume` and `quote_volume` are amounts. Of proved windows:
    `log_volume`, its `excess` over the windows just before, `odds` (buyers by sellers, its logarithm) and `move` (log
    return to the close before) where something traded, `variance` (Garman and Klass's, Journal of Business 53, 1980),
    `distance` (logarithm of the close by the rolling VWAP), and the amounts that VWAP is made from, 0 elsewhere.
    """

    def __init__(self, interval: str, origin: int) -> None:
        self.interval = interval
        self.origin = origin
        self.step = INTERVALS[interval]
        self.state = array("b")
        self.first_trade_id = array("q")
        self.last_trade_id = array("q")
        self.high, self.low, self.close, self.volume, self.quote_volume = (array("d") for _ in range(5))
        self.log_volume, self.excess, self.move = (array("d") for _ in range(3))
        self.variance, self.odds, self.distance = (array("d") for _ in range(3))
        self.proved_volume, self.proved_quote_volume = array("d"), array("d")

    def __len__(self) -> int:
        return len(self.state)

    def place(self, opened: int) -> int:
        """Return the place of the window that opened then; it may lie before or behind what is held."""
        return (opened - self.origin) // self.step

    def opened(self, place: int) -> int:
        """Return when the window at a place opened."""
        return self.origin + place * self.step

    def put(self, row: CandleRow) -> int:
        """Take a candle in place of what is known of its window; return its place, which must not be before 0."""
        place = self.place(row.opened_at)
        self._reach(place + 1)
        proved = row.state in {CLOSED, QUIET}
        if row.candle is not None:
            self._put_candle(place, row.candle, proved=proved)
        else:
            self._put_flat(place, row.flat)
        self.state[place] = PROVED if proved else UNPROVED
        self.proved_volume[place] = self.volume[place] if proved else 0.0
        self.proved_quote_volume[place] = self.quote_volume[place] if proved else 0.0
        for later in range(place, min(place + 2, len(self))):
            self.move[later] = self._move(later)
        for later in range(place, min(place + LEVEL_LENGTH + 1, len(self))):
            self.excess[later] = self.excess_of(later, self.log_volume[later])
        for later in range(place, min(place + VWAP_LENGTH, len(self))):
            self.distance[later] = self._distance(later)
        return place

    def put_all(self, rows: Iterable[CandleRow]) -> None:
        """Take candles, oldest first."""
        for row in rows:
            self.put(row)

    def cut(self, length: int) -> None:
        """Forget the windows from this place on."""
        for column in self._columns():
            del column[length:]

    def forget(self, places: int) -> None:
        """Forget so many of the oldest windows."""
        for column in self._columns():
            del column[:places]
        self.origin += places * self.step

    def _columns(self) -> list["array[int] | array[float]"]:
        floats = [getattr(self, name) for name in (*_FLOATS, *_SUMMED)]
        return [self.state, self.first_trade_id, self.last_trade_id, *floats]

    def _reach(self, length: int) -> None:
        missing = length - len(self)
        if missing > 0:
            self.state.extend([UNKNOWN] * missing)
            self.first_trade_id.extend([-1] * missing)
            self.last_trade_id.extend([-1] * missing)
            for name in _FLOATS:
                getattr(self, name).extend([nan] * missing)
            for name in _SUMMED:
                getattr(self, name).extend([0.0] * missing)

    def _put_candle(self, place: int, candle: Candle, *, proved: bool) -> None:
        opened, self.close[place] = log(candle.open), log(candle.close)
        self.high[place], self.low[place] = log(candle.high), log(candle.low)
        self.volume[place] = candle.volume / 10**PRICE_SCALE
        self.quote_volume[place] = candle.quote_volume / 10**NOTIONAL_SCALE
        self.first_trade_id[place] = -1 if candle.first_trade_id is None else candle.first_trade_id
        self.last_trade_id[place] = -1 if candle.last_trade_id is None else candle.last_trade_id
        reach, body = self.high[place] - self.low[place], self.close[place] - opened
        self.variance[place] = 0.5 * reach * reach - _BODY * body * body if proved else nan
        traded = proved and candle.volume > 0
        self.log_volume[place] = log(candle.volume) if traded else nan
        self.odds[place] = odds(candle) if traded else nan

    def _put_flat(self, place: int, flat: int | None) -> None:
        price, nothing = (nan, nan) if flat is None else (log(flat), 0.0)
        self.high[place] = self.low[place] = self.close[place] = price
        self.volume[place] = self.quote_volume[place] = self.variance[place] = nothing
        self.log_volume[place] = self.odds[place] = nan
        self.first_trade_id[place] = self.last_trade_id[place] = -1

    def _move(self, place: int) -> float:
        if place == 0 or not self.volume[place] > 0 or self.state[place] != PROVED or self.state[place - 1] != PROVED:
            return nan
        return self.close[place] - self.close[place - 1]

    def excess_of(self, place: int, log_volume: float) -> float:
        """Return how far a window's logarithm of the volume lies above the median of the LEVEL_LENGTH ones before.

        NaN where less than half of those are proved and traded.
        """
        before = [value for value in self.log_volume[max(place - LEVEL_LENGTH, 0) : place] if value == value]  # noqa: PLR0124  # NaN is not itself
        if len(before) < LEVEL_LENGTH // 2:
            return nan
        before.sort()
        return log_volume - middle(before)

    def _distance(self, place: int) -> float:
        return self.distance_from_vwap(place) if self.state[place] == PROVED else nan

    def distance_from_vwap(self, place: int) -> float:
        """Return the logarithm of a close by the VWAP up to it, whether or not the window is proved.

        NaN where less than half of the windows before are proved, or nothing traded.
        """
        start = max(place - VWAP_LENGTH + 1, 0)
        if self.state[start:place].count(PROVED) + 1 < VWAP_LENGTH // 2:
            return nan
        volume = fsum([*self.proved_volume[start:place], self.volume[place]])
        quote_volume = fsum([*self.proved_quote_volume[start:place], self.quote_volume[place]])
        if not volume > 0:
            return nan
        return self.close[place] - log(10**PRICE_SCALE * quote_volume / volume)


def odds(candle: Candle) -> float:
    """Return the logarithm of taker buyers' volume by taker sellers'; NaN where the sides are not told."""
    bought, rest = candle.taker_buy_volume, ONE_SIDED * candle.volume
    if not 0 <= bought <= candle.volume:
        return nan
    return log((bought + rest) / (candle.volume - bought + rest))
