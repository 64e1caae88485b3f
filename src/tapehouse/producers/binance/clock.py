"""How far the exchange's clock is from ours. Shown, never used to place a trade in a window."""

import time
from typing import NamedTuple

from tapehouse.producers.binance.endpoints import monotonic
from tapehouse.producers.binance.rest import BinanceRest

SAMPLES = 5
MEASURE_EVERY = 300.0
"""Seconds between two measurements."""
COARSE = 0.1
"""Seconds of possible error from which a measurement is coarse: made while one side was busy, as at a start."""
MEASURE_COARSE_AGAIN = 10.0
"""Seconds after which a coarse one is made anew."""


class ClockOffset(NamedTuple):
    """The exchange's clock minus ours, in seconds, and the most by which that can be wrong."""

    seconds: float
    error: float

    @property
    def good_for(self) -> float:
        """Return the seconds until it should be measured anew."""
        return MEASURE_COARSE_AGAIN if self.error > COARSE else MEASURE_EVERY


async def measure_offset(rest: BinanceRest) -> ClockOffset:
    """Return how far the exchange's clock is from ours, from the quickest of several answers.

    The exchange is taken to have read its clock halfway through the round trip; it tells whole milliseconds.
    Raise UpstreamError when it does not answer.
    """
    samples = [await _sample(rest) for _ in range(SAMPLES)]
    return min(samples, key=lambda sample: sample.error)


async def _sample(rest: BinanceRest) -> ClockOffset:
    asked_at, began = time.time(), monotonic()
    exchange_time = await rest.server_time() / 1000
    halfway = (monotonic() - began) / 2
    return ClockOffset(exchange_time - (asked_at + halfway), halfway)
