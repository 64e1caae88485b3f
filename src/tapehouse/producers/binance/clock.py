"""How far the exchange's clock is from ours. Shown, never used to place a trade in a window."""

import time

from tapehouse.producers.binance.endpoints import monotonic
from tapehouse.producers.binance.rest import BinanceRest

SAMPLES = 5
MEASURE_EVERY = 300.0
"""Seconds between two measurements."""


async def measure_offset(rest: BinanceRest) -> float:
    """Return the exchange's clock minus ours in seconds, from the quickest of several answers.

    The exchange is taken to have read its clock halfway through the round trip; it tells whole milliseconds.
    Raise UpstreamError when it does not answer.
    """
    samples = [await _sample(rest) for _ in range(SAMPLES)]
    _, offset = min(samples)
    return offset


async def _sample(rest: BinanceRest) -> tuple[float, float]:
    asked_at, began = time.time(), monotonic()
    exchange_time = await rest.server_time() / 1000
    round_trip = monotonic() - began
    return round_trip, exchange_time - (asked_at + round_trip / 2)
