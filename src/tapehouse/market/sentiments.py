"""Sentiment extremes: the day on which the Fear & Greed index comes to an end of its scale.

The index goes from 0 (fear) to 100 (greed); alternative.me calls a quarter at either end extreme. Only the first day of
a stay is told. A day the index has no value of is passed over, for `PATIENCE` days.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from tapehouse.market.signals import WHOLE_MARKET, Detection, Finding, Kind, Signal, moment, revised
from tapehouse.market.windows import DAY

KIND: Kind = "sentiment_extreme"
INTERVAL = "1d"
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
    days = (day - back * DAY for back in range(1, PATIENCE + 1))
    day_before = next((at for at in days if at in values), None)
    before = None if day_before is None else values[day_before]
    mood, mood_before = _mood(value, detection), "none" if before is None else _mood(before, detection)
    return Finding(
        KIND,
        (value - MIDDLE) / 10,
        fires=mood not in {"none", mood_before},
        proved=True,
        evidence={
            "value": value,
            "mood": mood,
            "value_before": before,
            "day_before": None if day_before is None else moment(day_before),
            "mood_before": mood_before,
        },
    )


def extremes(
    values: Mapping[int, int], days: Iterable[int], said: Mapping[int, Signal], detection: Detection, known_at: int
) -> list[Signal]:
    """Return a revision of every extreme of `days` of which there is something new to say; `said` are those by day."""
    revisions = (
        revised(said.get(day), sentiment_extreme(values, day, detection), (KIND, WHOLE_MARKET, INTERVAL, day), known_at)
        for day in sorted(days)
    )
    return [signal for signal in revisions if signal is not None]


def stay(values: Mapping[int, int], day: int, detection: Detection) -> int:
    """Return how many days from a day on the index stays in that day's mood, among `values` by day.

    A day the index has no value of is passed over as above, and not counted.
    """
    mood, days, last, at = _mood(values[day], detection), 0, day, day
    while at - last <= PATIENCE * DAY:
        if at in values:
            if _mood(values[at], detection) != mood:
                break
            days, last = days + 1, at
        at += DAY
    return days


def _mood(value: int, detection: Detection) -> Mood:
    if value <= detection.sentiment_extreme:
        return "extreme fear"
    return "extreme greed" if value >= 100 - detection.sentiment_extreme else "none"
