"""Indicators over the last windows of a symbol, computed when asked for and stored nowhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tapehouse.api.encoding import time_text, to_microseconds
from tapehouse.api.frames import candle_frame
from tapehouse.api.indicators import Asked
from tapehouse.api.periods import Period, Present, span
from tapehouse.api.problems import ProblemError
from tapehouse.api.recent_windows import RecentWindows
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import INTERVALS, opened_at

MOST_ANCHORED = 10_080
"""Windows from an anchor to now at most: a week of minutes."""
AGAINST = "against"
"""The column with the closes of the other symbol."""


@dataclass(frozen=True)
class IndicatorQuery:
    """The last `limit` windows of a symbol with indicators; some need an anchor, or a symbol to compare with."""

    symbol: str
    interval: str
    asked: Sequence[Asked]
    limit: int
    anchor: datetime | None = None
    against: str | None = None


def check(query: IndicatorQuery) -> None:
    """Raise the 422 when an indicator lacks what it needs."""
    for each in query.asked:
        for need in each.needs & {"anchor", "against"}:
            if getattr(query, need) is None:
                what = "a time" if need == "anchor" else "a symbol"
                text = f"{each.name} needs {need}={what}, such as {_EXAMPLES[need]}."
                raise ProblemError(422, "unusable-parameter", text)


_EXAMPLES = {"anchor": "2026-01-31T12:00:00Z", "against": "BTCUSDT"}


class IndicatorValues:
    """Computes them, on a thread."""

    def __init__(self, windows: RecentWindows) -> None:
        self._windows = windows

    def of(self, query: IndicatorQuery, presents: Mapping[str, Present]) -> dict[str, object]:
        """Return the windows with their indicators, the open one last: its values are provisional.

        `presents` has the time of the answer for the symbol, and for the one it is compared with.
        """
        period = Period(query.interval, self._needed(query, presents[query.symbol].now))
        rows = self._windows.last(query.symbol, query.interval, period.count)
        theirs = self._windows.last(query.against, query.interval, len(rows)) if query.against else []
        length = INTERVALS[query.interval]
        given = {
            "interval": length,
            "anchor": to_microseconds(query.anchor) if query.anchor else None,
            "against": AGAINST,
        }
        values = _values(query.asked, _frame(rows, theirs), given).tail(query.limit)
        shown = rows[-query.limit :]
        return {
            "symbol": query.symbol,
            "interval": query.interval,
            "anchor": None if query.anchor is None else time_text(to_microseconds(query.anchor)),
            "against": query.against,
            **span(period, rows, presents[query.symbol]),
            "against_span": span(period, theirs, presents[query.against]) if query.against else None,
            "count": len(shown),
            "windows": [
                {"opened_at": time_text(row.opened_at), "state": row.state, **told}
                for row, told in zip(shown, values.to_dicts(), strict=True)
            ],
        }

    def _needed(self, query: IndicatorQuery, now: int) -> int:
        """Return how many windows are read, those before the first one told among them."""
        length = INTERVALS[query.interval]
        history = max((each.history(length) for each in query.asked), default=0)
        if query.anchor is None or not any(each.looks_back == "anchor" for each in query.asked):
            return query.limit + history
        since = (opened_at(now, query.interval) - to_microseconds(query.anchor)) // length + 1
        if since > MOST_ANCHORED:
            text = (
                f"From the anchor to now are {since:,} windows, more than {MOST_ANCHORED:,}: ask for a longer interval."
            )
            raise ProblemError(422, "unusable-parameter", text)
        return max(query.limit + history, since)


def _frame(rows: Sequence[CandleRow], theirs: Sequence[CandleRow]) -> pl.DataFrame:
    other = candle_frame(theirs).select("opened_at", pl.col("close").alias(AGAINST))
    return candle_frame(rows).join(other, on="opened_at", how="left", maintain_order="left")


def _values(asked: Sequence[Asked], frame: pl.DataFrame, given: Mapping[str, object]) -> pl.DataFrame:
    return frame.select(**{name: column for each in asked for name, column in each.columns(given).items()})
