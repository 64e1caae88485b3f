"""Volume spikes: a window that traded far more than those just before it, and more than its hour of the week does.

What is compared is the logarithm of the volume, which is close to normal where the volume is not. Its excess over the
median of the windows just before is told in robust deviations of such excesses (Iglewicz and Hoaglin, How to Detect and
Handle Outliers, 1993): the level follows the market within the hour, how much windows differ changes slowly. Where two
weeks of hours are known the excess over the hour's season counts if it is smaller: New York's opening is no spike.
Windows without trades are left out, and where most are empty nothing is said: there any trade would be a spike.
"""

from math import exp, log

from tapehouse.market.fixed_point import PRICE_SCALE
from tapehouse.market.signals import Finding, rounded
from tapehouse.market.stretch import Stretch, known

SMALLEST_SCALE = 0.1
"""A tenth more or less is never unusual."""
UNITS = 10**PRICE_SCALE


def volume_spike(stretch: Stretch, place: int) -> Finding | None:
    """Judge the volume of a window; None where too little is known before it, or nothing traded in it."""
    series = stretch.series
    if not series.volume[place] > 0:
        return None
    volume = log(series.volume[place] * UNITS)
    excess, season = series.excess_of(place, volume), stretch.season(place)
    usual = stretch.baseline("excess", place, SMALLEST_SCALE)
    if usual is None or not known(excess):
        return None
    over_hour = volume - season if known(season) else None
    times_before = rounded(exp(excess))
    times_hour = rounded(exp(over_hour)) if over_hour is not None else None
    score = usual.score(log(times_before if times_hour is None else min(times_before, times_hour)))
    return Finding(
        "volume_spike",
        rounded(score),
        fires=score >= stretch.detection.volume_score and series.quote_volume[place] >= stretch.minimum_quote_volume,
        proved=stretch.proved(place),
        evidence={
            **stretch.about(place, usual.count),
            "times_before": times_before,
            "times_hour_of_week": times_hour,
            "usual_excess": usual.median,
            "deviation": usual.scale,
        },
    )
