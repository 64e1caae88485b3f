"""Divergences: a price that somebody else tells lies outside of what was traded here at that time.

Arbitrage mostly keeps exchanges together; where it cannot, prices part (Makarov and Schoar, Journal of Financial
Economics 135, 2020). A price is held against the range of the windows up to the one it is of, because an average over
many exchanges comes a little late. The distance from that range, in logarithms, has to be beyond a limit; the score
tells it in robust deviations of the returns of these windows.
"""

from decimal import Decimal
from math import exp, log

import msgspec

from tapehouse.market.fixed_point import PRICE_SCALE
from tapehouse.market.outliers import SMALLEST_MOVE
from tapehouse.market.signals import Finding, moment, rounded
from tapehouse.market.stretch import Stretch, known

LATE_BY = 5
"""Windows before that a price may still be of."""
SMALLEST_SCORE = 5.0
"""What lies within so many deviations is no divergence in a market that moves fast."""


class Told(msgspec.Struct, frozen=True, order=True):
    """A price in dollars, as its decimal's text, and as of when; of two, the one told last counts."""

    observed_at: int
    known_at: int
    source: str
    price: str


def divergence(stretch: Stretch, place: int, told: Told) -> Finding | None:
    """Judge a price against the window it is of; None where too little is known."""
    series, places = stretch.series, range(max(place + 1 - LATE_BY, 0), place + 1)
    seen = [at for at in places if known(series.high[at])]
    usual = stretch.baseline("move", place, SMALLEST_MOVE)
    price = float(told.price)
    if usual is None or not known(series.high[place]) or not price > 0:
        return None
    units = log(price * 10**PRICE_SCALE)
    highest, lowest = max(series.high[at] for at in seen), min(series.low[at] for at in seen)
    distance = rounded(units - highest if units > highest else units - lowest if units < lowest else 0.0)
    score, limit = distance / usual.scale, log(1 + stretch.detection.divergence)
    first, last = stretch.ids(seen)
    return Finding(
        "divergence",
        rounded(score),
        fires=abs(distance) >= limit and abs(score) >= SMALLEST_SCORE,
        proved=stretch.proved(*places),
        evidence={
            **stretch.about(place, usual.count),
            "range_from": moment(series.opened(seen[0])),
            "range_first_trade_id": first,
            "range_last_trade_id": last,
            "highest": _price(highest),
            "lowest": _price(lowest),
            "told_price": told.price,
            "told_by": told.source,
            "told_at": moment(told.observed_at),
            "distance": distance,
            "deviation": usual.scale,
        },
    )


def _price(logarithm: float) -> str:
    """Return a price of the series as a decimal's text; a logarithm of double precision holds twelve digits of it."""
    return f"{Decimal(f'{exp(logarithm) / 10**PRICE_SCALE:.12g}'):f}"
