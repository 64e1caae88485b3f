"""What a symbol does: latest price, the last hour, day and week, who moves alike, what is said around it.

Prices and volumes are exact, merged from candles; ratios, volatilities and correlations are floats. Each figure says
which windows it was made from, how many of them were held and proved, and how old the newest is.
"""

from collections.abc import Sequence
from dataclasses import asdict

from tapehouse.api.correlations import Likeness, likenesses, log_returns
from tapehouse.api.encoding import DecimalForm
from tapehouse.api.largest import Largest
from tapehouse.api.periods import (
    PERIODS,
    PROFILE,
    Once,
    Period,
    Present,
    Summaries,
    hourly_volume,
    over_and_open,
    span,
)
from tapehouse.api.recent_signals import recent_signals
from tapehouse.api.recent_windows import RecentWindows
from tapehouse.api.rows import trade_fields
from tapehouse.api.surroundings import Surroundings
from tapehouse.market.ledger import CandleRow
from tapehouse.streaming.view import LiveView

CORRELATED_OVER = "24h"
COMPARED = 10
"""Symbols that are compared where none are named: the largest."""


class Analytics:
    """Answers about one symbol, read on a thread."""

    def __init__(self, view: LiveView, windows: RecentWindows, largest: Largest) -> None:
        self._view = view
        self._windows = windows
        self._largest = largest
        self._surroundings = Surroundings(view.context)
        self._known: dict[str, _Known] = {}

    def of(self, symbol: str, now: int, decimal: DecimalForm) -> dict[str, object]:
        """Return all that is told of a symbol but its indicators; `now` is in microseconds."""
        rows = {name: self._rows(symbol, name) for name in PERIODS}
        present = present_of(self._view, symbol, now)
        known = self._known.setdefault(symbol, _Known())
        others = self._largest.first(COMPARED, now, besides=symbol)
        return {
            "symbol": symbol,
            "latest": self._latest(symbol, rows["1h"], present, decimal),
            "periods": {
                name: known.summaries.of(period, rows[name], present, decimal) for name, period in PERIODS.items()
            },
            "hourly_volume": hourly_volume(rows[PROFILE], present, decimal),
            "correlations": self._correlations(symbol, rows[CORRELATED_OVER], others, present, known),
            "sentiment": self._surroundings.sentiment(now),
            "news": self._surroundings.news(symbol, now),
            "signals": recent_signals(self._view.signals, symbol, rows["24h"], present),
        }

    def _rows(self, symbol: str, name: str) -> list[CandleRow]:
        period = PERIODS[name]
        return period.of(self._windows.last(symbol, period.interval, period.count))

    def _latest(
        self, symbol: str, minutes: Sequence[CandleRow], present: Present, decimal: DecimalForm
    ) -> dict[str, object] | None:
        """Return the last trade, with the minute it lies in as its window."""
        trade, health = self._view.last_trade(symbol), self._view.health().get(symbol)
        if trade is None:
            return None
        return {
            **trade_fields(trade, decimal),
            **span(Period("1m", 1), minutes[-1:], present),
            **present.freshness(trade.traded_at),
            "missing_trades": health.missing_trades if health else None,
        }

    def _correlations(
        self, symbol: str, ours: Sequence[CandleRow], others: Sequence[str], present: Present, known: "_Known"
    ) -> dict[str, object]:
        period = PERIODS[CORRELATED_OVER]
        series = {symbol: ours, **{other: self._rows(other, CORRELATED_OVER) for other in others}}
        over = {name: over_and_open(rows)[0] for name, rows in series.items()}
        pairs = [(symbol, other) for other in others]
        found = known.likenesses.of(
            [row for rows in over.values() for row in rows], lambda: likenesses(log_returns(over, period.length), pairs)
        )
        told = {
            other: {**asdict(likeness), **span(period, series[other], present_of(self._view, other, present.now))}
            for (_, other), likeness in found.items()
        }
        return {"period": CORRELATED_OVER, "interval": period.interval, **span(period, ours, present), "with": told}


class _Known:
    """What was computed of a symbol from windows that are over."""

    def __init__(self) -> None:
        self.summaries = Summaries()
        self.likenesses: Once[dict[tuple[str, str], Likeness]] = Once()


def present_of(view: LiveView, symbol: str, now: int) -> Present:
    """Return the time of an answer about a symbol."""
    trade = view.last_trade(symbol)
    return Present(now, trade.traded_at if trade else 0)
