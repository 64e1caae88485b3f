"""VWAP deviations: the close leaves the volume-weighted average price of the last hour of windows, told at crossings.

The distance is the logarithm of the close by the rolling VWAP (Berkowitz, Logue and Noser, Journal of Finance 43,
1988, for VWAP as the price all who traded paid on average); the score is its robust deviations from what was usual.
A distance lasts for many windows, so that only the first one beyond the limit is told.
"""

from tapehouse.market.signals import Finding, rounded
from tapehouse.market.stretch import Stretch, known

SMALLEST_DISTANCE = 1e-4


def vwap_deviation(stretch: Stretch, place: int) -> Finding | None:
    """Judge how far a window's close lies from the VWAP; None where too little is known."""
    distance = stretch.series.distance_from_vwap(place) if stretch.series.volume[place] > 0 else float("nan")
    usual = stretch.baseline("distance", place, SMALLEST_DISTANCE)
    if usual is None or not known(distance):
        return None
    distance = rounded(distance)
    score, limit = usual.score(distance), stretch.detection.vwap_score
    return Finding(
        "vwap_deviation",
        rounded(score),
        fires=abs(score) >= limit and not _was_beyond(stretch, place - 1, score, limit),
        proved=stretch.proved(place, place - 1),
        evidence={
            **stretch.about(place, usual.count),
            "distance": distance,
            "usual_distance": usual.median,
            "deviation": usual.scale,
        },
    )


def _was_beyond(stretch: Stretch, place: int, score: float, limit: float) -> bool:
    """Tell whether the window before lay beyond the limit on the same side."""
    distance = stretch.series.distance[place] if place >= 0 else float("nan")
    usual = stretch.baseline("distance", place, SMALLEST_DISTANCE) if known(distance) else None
    return usual is not None and usual.score(rounded(distance)) * (1 if score > 0 else -1) >= limit
