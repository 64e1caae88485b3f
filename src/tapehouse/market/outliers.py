"""Price outliers: a window whose price jumped far from the last trade before it, whether or not it stayed there.

The jump is the logarithm of the window's farthest price by the close before; it is told in robust deviations of the
log returns of the windows before (Iglewicz and Hoaglin, 1993). `kept` is the part of the jump that the close kept:
about 1 is a move of the market, about 0 a bad tick or a wick.
"""

from tapehouse.market.signals import Finding, rounded
from tapehouse.market.stretch import Stretch, known

SMALLEST_MOVE = 1e-4
"""A deviation of returns is at least a basis point: where a pair is pegged, a tick is no outlier."""


def price_outlier(stretch: Stretch, place: int) -> Finding | None:
    """Judge the prices of a window; None where the price before it is not known, or too few returns are."""
    series, before = stretch.series, stretch.last_close(place)
    if not (known(before) and series.volume[place] > 0):
        return None
    usual = stretch.baseline("move", place, SMALLEST_MOVE)
    if usual is None:
        return None
    up, down = series.high[place] - before, series.low[place] - before
    jump = rounded(up if up >= -down else down)
    moved = rounded(series.close[place] - before)
    score = usual.score(jump)
    return Finding(
        "price_outlier",
        rounded(score),
        fires=abs(score) >= stretch.detection.outlier_score,
        proved=stretch.proved(place, place - 1),
        evidence={
            **stretch.about(place, usual.count),
            "jump": jump,
            "move": moved,
            "move_score": rounded(usual.score(moved)),
            "kept": rounded(moved / jump) if jump else None,
            "usual_move": usual.median,
            "deviation": usual.scale,
        },
    )
