"""Sentiment extremes: the day on which the Fear & Greed index comes to an end of its scale.

The index goes from 0 (fear) to 100 (greed); alternative.me calls a quarter at either end extreme. Only the first day of
a stay is told. A day the index has no value of is passed over, for `PATIENCE` days.
"""

from collections.abc import Mapping
from typing import Literal

from tapehouse.market.signals import Detection, Finding
from tapehouse.market.windows import DAY

PATIENCE = 3
MIDDLE = 50

Mood = Literal["extreme fear", "extreme greed", "none"]


def sentiment_extreme(values: Mapping[int, int], day: int, detection: Detection) -> Finding | None:
    """Judge the index of the UTC day that began then, among `values` by day; None where it has none.

    The score is how far the value lies from the middle, in tenths of the scale.
    """
    value = values.get(day)
    if value is None:
        return None
    before = next((values[at] for back in range(1, PATIENCE + 1) if (at := day - back * DAY) in values), MIDDLE)
    mood, mood_before = _mood(value, detection), _mood(before, detection)
    return Finding(
        "sentiment_extreme",
        (value - MIDDLE) / 10,
        fires=mood not in {"none", mood_before},
        proved=True,
        evidence={"value": value, "value_before": before, "mood": mood},
    )


def _mood(value: int, detection: Detection) -> Mood:
    if value <= detection.sentiment_extreme:
        return "extreme fear"
    return "extreme greed" if value >= 100 - detection.sentiment_extreme else "none"
