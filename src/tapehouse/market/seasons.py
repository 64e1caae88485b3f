"""How much is usually traded at an hour of the week, from the hours of the weeks before.

Trading has its hours: New York's opening is no spike because the night before it was calm. The season of an hour is
the median of the logarithms of the volume at the same hour of the weeks before it.
"""

from array import array
from math import isnan, log, nan

from tapehouse.market.baselines import middle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.proof import CLOSED
from tapehouse.market.windows import INTERVALS

WEEKS = 4
"""Weeks before an hour that tell its season."""
ENOUGH_WEEKS = 2
HOUR = INTERVALS["1h"]
HOURS_A_WEEK = 7 * 24
WEEK = HOURS_A_WEEK * HOUR


class Seasons:
    """The logarithms of one symbol's hourly volumes from `origin` (microseconds UTC, the opening of an hour) on."""

    def __init__(self, origin: int) -> None:
        self.origin = origin
        self._volumes = array("d")

    def put(self, row: CandleRow) -> None:
        """Take an hour's candle in place of what is known of the hour; one before `origin` is left alone."""
        self.tell(row.opened_at, row.candle.volume if row.candle is not None and row.state == CLOSED else 0)

    def tell(self, opened: int, volume: int) -> None:
        """Take an hour's volume in units, 0 where it is not proved or nothing traded; see `put`."""
        place = (opened - self.origin) // HOUR
        if place < 0:
            return
        self._volumes.extend([nan] * (place + 1 - len(self._volumes)))
        self._volumes[place] = log(volume) if volume > 0 else nan

    def at(self, time: int) -> float:
        """Return the season of the hour a time lies in; NaN with fewer than ENOUGH_WEEKS weeks of it."""
        place = (time - self.origin) // HOUR
        told = [self._volume(place - back * HOURS_A_WEEK) for back in range(1, WEEKS + 1)]
        known = sorted(volume for volume in told if not isnan(volume))
        return middle(known) if len(known) >= ENOUGH_WEEKS else nan

    def forget_before(self, time: int) -> None:
        """Forget the hours before a time."""
        places = min(max((time - self.origin) // HOUR, 0), len(self._volumes))
        del self._volumes[:places]
        self.origin += places * HOUR

    def _volume(self, place: int) -> float:
        return self._volumes[place] if 0 <= place < len(self._volumes) else nan
