"""Taker imbalances: who pays the spread is nearly all on one side, in a window that traded at least as much as usual.

The score is of the logarithm of taker buyers' volume by taker sellers' (order imbalance: Chordia, Roll and
Subrahmanyam, Journal of Financial Economics 65, 2002), in robust deviations from the baseline. Trades are no
independent coins, one order makes many, so that the deviation is measured and not taken from a binomial. A window that
traded less than the median is left alone: of few orders, most are one-sided.
"""

from math import exp, log

from tapehouse.market.baselines import middle
from tapehouse.market.series import ONE_SIDED
from tapehouse.market.signals import Finding, rounded
from tapehouse.market.spikes import UNITS
from tapehouse.market.stretch import Stretch, known

SMALLEST_SCALE = 0.1


def taker_imbalance(stretch: Stretch, place: int) -> Finding | None:
    """Judge the sides of a window; None where they are not told, or too little is known before it."""
    series = stretch.series
    usual, volumes = stretch.baseline("odds", place, SMALLEST_SCALE), stretch.rolling("log_volume").before(place)
    if usual is None or not known(series.odds[place]) or not volumes:
        return None
    odds = rounded(series.odds[place])
    score = usual.score(odds)
    share = exp(odds) / (1 + exp(odds))
    times_usual = rounded(exp(log(series.volume[place] * UNITS) - middle(volumes)))
    worth = series.quote_volume[place] >= stretch.minimum_quote_volume
    return Finding(
        "taker_imbalance",
        rounded(score),
        fires=abs(score) >= stretch.detection.taker_score and times_usual >= 1 and worth,
        proved=stretch.proved(place),
        evidence={
            **stretch.about(place, usual.count),
            "buyers_share": rounded(share * (1 + 2 * ONE_SIDED) - ONE_SIDED),
            "times_usual": times_usual,
            "usual_odds": usual.median,
            "odds": odds,
            "deviation": usual.scale,
        },
    )
