"""Volatility regimes: the last windows are far more, or far less, volatile than those before; told when it changes.

Volatility is Garman and Klass's estimate of each window (Journal of Business 53, 1980): the median of the last
`RECENT` windows by that of the baseline before them, so that one bad tick changes neither. A regime begins beyond the
limit and ends only well within it (hysteresis). Looking back for where it began ends after `MEMORY` windows.
"""

from math import isnan, log2, nan, sqrt
from typing import Literal

from tapehouse.market.baselines import middle
from tapehouse.market.signals import Finding, moment, rounded
from tapehouse.market.stretch import Stretch, known

RECENT = 20
MEMORY = 60
LASTS = 0.4
"""A regime lasts while the logarithm of the ratio is above this part of its limit's."""

Regime = Literal["low", "normal", "high"]


def volatility_regime(stretch: Stretch, place: int) -> Finding | None:
    """Judge the volatility up to a window; None where too little is known of it, or of the window itself."""
    if not known(stretch.series.variance[place]):
        return None
    ratio = _ratio(stretch, place)
    if isnan(ratio):
        return None
    before, now = _regime(stretch, place - 1), _regime(stretch, place)
    recent, usual = _volatilities(stretch, place)
    start = place + 1 - RECENT
    return Finding(
        "volatility_regime",
        rounded(log2(ratio)) if ratio > 0 else -64.0,
        fires=now != before,
        proved=stretch.proved(place),
        evidence={
            **stretch.about(place, len(stretch.rolling("variance").before(start)), start),
            "recent_from": moment(stretch.series.opened(start)),
            "recent_volatility": recent,
            "usual_volatility": usual,
            "ratio": ratio,
            "regime": now,
            "regime_before": before,
        },
    )


def _regime(stretch: Stretch, place: int) -> Regime:
    """Return the regime that the newest decisive ratio up to a window begins."""
    for back in range(MEMORY):
        regime = _decided(_ratio(stretch, place - back), stretch.detection.volatility_ratio)
        if regime is not None:
            return regime
    return "normal"


def _decided(ratio: float, limit: float) -> Regime | None:
    if isnan(ratio):
        return None
    lasts: float = limit**LASTS
    if ratio >= limit:
        return "high"
    if ratio <= 1 / limit:
        return "low"
    return "normal" if 1 / lasts <= ratio <= lasts else None


def _ratio(stretch: Stretch, place: int) -> float:
    """Return the recent volatility by the usual one; NaN where it cannot be said."""
    recent, usual = _volatilities(stretch, place)
    return rounded(recent / usual) if usual > 0 else nan


def _volatilities(stretch: Stretch, place: int) -> tuple[float, float]:
    """Return the volatility of a window, of the recent ones and of the usual ones; NaN where it cannot be said."""
    if place not in stretch.volatilities:
        stretch.volatilities[place] = _compute_volatilities(stretch, place)
    return stretch.volatilities[place]


def _compute_volatilities(stretch: Stretch, place: int) -> tuple[float, float]:
    start = place + 1 - RECENT
    if start < 0 or not known(stretch.series.variance[place]):
        return nan, nan
    recent = sorted(value for value in stretch.series.variance[start : place + 1] if known(value))
    usual = stretch.rolling("variance").before(start)
    if len(recent) < RECENT // 2 or len(usual) < stretch.detection.enough:
        return nan, nan
    return rounded(sqrt(middle(recent))), rounded(sqrt(middle(usual)))
