"""What was said around a symbol: the day's Fear & Greed index and the newest stories of its coin, from memory."""

from collections.abc import Sequence

from tapehouse.api.context_rows import ATTRIBUTIONS, version_fields
from tapehouse.api.encoding import time_text
from tapehouse.api.periods import HOUR, counted
from tapehouse.market.coins import base_of
from tapehouse.market.context import Kind, Version
from tapehouse.market.stories import name_of
from tapehouse.market.windows import DAY
from tapehouse.streaming.context_view import ContextView

STORIES = 5
"""Most stories in an answer."""
HOURS = DAY // HOUR
"""Hours whose stories are counted."""


class Surroundings:
    """Reads the view; what is sorted once serves until something new is told."""

    def __init__(self, view: ContextView) -> None:
        self._view = view
        self._sorted: dict[Kind, tuple[int, Sequence[Version]]] = {}

    def sentiment(self, now: int) -> dict[str, object] | None:
        """Return the newest day of the index with its age, and whether it is today's; None before one was told."""
        days = self._newest("sentiment")
        if not days:
            return None
        observed, told = days[-1].observation.observed_at, version_fields(days[-1], exact_numbers=True)
        start, is_todays = observed // DAY * DAY, int(observed // DAY == now // DAY)
        window = _window(start, start + DAY, observed, now)
        completeness = counted("1d", 1, held=is_todays, proved=is_todays, gaps=0, still_open=0)
        return {"attribution": ATTRIBUTIONS["sentiment"], **window, "completeness": completeness, **told}

    def news(self, symbol: str, now: int) -> dict[str, object]:
        """Return the newest stories that mention a symbol's coin, and how those of the last day sound."""
        ticker = base_of(symbol)
        stories = self._stories(ticker)
        lately = [story for story in stories if story.observation.observed_at > now - DAY]
        every = [version.observation.observed_at for version in self._newest("news")]
        held = {(now - at) // HOUR for at in every if now - DAY < at <= now}
        tones = [tone for story in lately if isinstance(tone := story.observation.fields.get("sentiment"), int | float)]
        return {
            "ticker": ticker,
            "period": f"{HOURS}h",
            **_window(now - DAY, now, every[-1] if every else None, now),
            "completeness": counted("1h", HOURS, held=len(held), proved=None, gaps=None, still_open=0),
            "count": len(lately),
            "mean_sentiment": sum(tones) / len(tones) if tones else None,
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


def _window(start: int, end: int, as_of: int | None, now: int) -> dict[str, object]:
    return {
        "start": time_text(start),
        "end": time_text(end),
        "as_of": None if as_of is None else time_text(as_of),
        "age_seconds": None if as_of is None else max(0.0, (now - as_of) / 1e6),
    }
