"""What was said around a symbol: the day's Fear & Greed index and the newest stories of its coin, from memory."""

from collections.abc import Sequence
from datetime import timedelta

from tapehouse.api.context_rows import ATTRIBUTIONS, version_fields
from tapehouse.api.encoding import time_text
from tapehouse.market.coins import base_of
from tapehouse.market.context import Kind, Version
from tapehouse.market.stories import name_of
from tapehouse.market.windows import DAY
from tapehouse.streaming.context_view import ContextView

STORIES = 5
"""Most stories in an answer."""


class Surroundings:
    """Reads the view; what is sorted once serves until something new is told."""

    def __init__(self, view: ContextView) -> None:
        self._view = view
        self._sorted: dict[Kind, tuple[int, Sequence[Version]]] = {}

    def sentiment(self, now: int) -> dict[str, object] | None:
        """Return the newest day of the index with its age; None before one was told."""
        days = self._newest("sentiment")
        if not days:
            return None
        told = version_fields(days[-1], exact_numbers=True)
        age = (now - days[-1].observation.observed_at) / 1e6
        return {"attribution": ATTRIBUTIONS["sentiment"], "age_seconds": max(0.0, age), **told}

    def news(self, symbol: str, now: int) -> dict[str, object]:
        """Return the newest stories that mention a symbol's coin, and how those of the last day sound."""
        ticker = base_of(symbol)
        stories = self._stories(ticker)
        lately = [story for story in stories if story.observation.observed_at > now - DAY]
        tones = [tone for story in lately if isinstance(tone := story.observation.fields.get("sentiment"), int | float)]
        newest = stories[-1].observation.observed_at if stories else None
        return {
            "ticker": ticker,
            "period": f"{timedelta(microseconds=DAY) // timedelta(hours=1)}h",
            "count": len(lately),
            "mean_sentiment": sum(tones) / len(tones) if tones else None,
            "as_of": None if newest is None else time_text(newest),
            "age_seconds": None if newest is None else max(0.0, (now - newest) / 1e6),
            "stories": [version_fields(story, exact_numbers=True) for story in stories[-STORIES:]],
        }

    def _stories(self, ticker: str) -> list[Version]:
        """Return each story once, as it was told first, in order of time."""
        told: dict[object, Version] = {}
        for version in self._newest("news"):
            fields = version.observation.fields
            tickers = fields.get("tickers")
            if isinstance(tickers, list) and ticker in tickers:
                item = version.observation.source, version.observation.key
                told.setdefault(fields.get("story") or name_of(item), version)
        return list(told.values())

    def _newest(self, kind: Kind) -> Sequence[Version]:
        sequence = self._view.sequence
        known = self._sorted.get(kind)
        if known is None or known[0] != sequence:
            known = self._sorted[kind] = (sequence, self._view.newest(kind))
        return known[1]
