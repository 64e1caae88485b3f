"""Fear & Greed as alternative.me tells it: one number a UTC day, as text, newest first, three days really missing."""

import math
import random
from collections.abc import Mapping
from datetime import date

from tapehouse.exchange.context.answers import Answer, json_answer
from tapehouse.exchange.market_view import MarketView
from tapehouse.market.windows import DAY, SECOND

_FIRST_DAY = (date(2018, 2, 1) - date(1970, 1, 1)).days
_MISSING = range((date(2018, 4, 14) - date(1970, 1, 1)).days, (date(2018, 4, 17) - date(1970, 1, 1)).days)
_CLASSES = ((25, "Extreme Fear"), (46, "Fear"), (54, "Neutral"), (75, "Greed"), (100, "Extreme Greed"))


class FearGreed:
    """Answers of `/fng/`; a day begins by the playhead of the market."""

    name = "fear_greed"

    def __init__(self, market: MarketView, seed: int) -> None:
        self._market = market
        self._seed = seed

    def answer(self, _path: str, query: Mapping[str, str], _headers: Mapping[str, str]) -> Answer:
        """Give the last `limit` days, one without it, all with 0.

        Only a single day says when the next is due. Recorded days have no such field, and of many days the newest may
        have it or not: who can do without it can do with it.
        """
        text = query.get("limit", "1")
        limit = int(text) if text.isdecimal() else 1
        today = self._market.now() // DAY
        days = [day for day in range(today, _FIRST_DAY - 1, -1) if day not in _MISSING]
        rows = [self._row(day) for day in (days[:limit] if limit else days)]
        if rows and limit == 1:
            rows[0]["time_until_update"] = str((DAY - self._market.now() % DAY) // SECOND)
        return json_answer({"name": "Fear and Greed Index", "data": rows, "metadata": {"error": None}})

    def refusal(self, status: int) -> Answer:
        """Refuse as the upstream does: in the metadata."""
        words = {"name": "Fear and Greed Index", "data": [], "metadata": {"error": f"status {status}: try again later"}}
        return json_answer(words, status)

    def _row(self, day: int) -> dict[str, str]:
        value = self._value(day)
        return {
            "value": str(value),
            "value_classification": next(word for most, word in _CLASSES if value <= most),
            "timestamp": str(day * DAY // SECOND),
        }

    def _value(self, day: int) -> int:
        """Return the day's value: slow waves, and a little chance."""
        chance = random.Random(f"{self._seed}/fear-greed/{day}").uniform(-7, 7)  # noqa: S311  # must repeat
        wave = 26 * math.sin(day / 41 + self._seed) + 11 * math.sin(day / 9.3)
        return max(5, min(95, round(50 + wave + chance)))
