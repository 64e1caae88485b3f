"""The last windows of symbols, kept in memory: read from the lake once, then kept up by what the engine settles.

A reader asks for the same hours again and again, while the lake changes by a few rows a minute. Law: what is given is
what `Queries.candles` gives.
"""

import threading

from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.market.ledger import CandleRow
from tapehouse.streaming.view import LiveView

MOST_KEPT = 1_200
"""Windows of one symbol and interval; of more the lake is asked."""
MOST_WINDOWS = 120_000
"""Windows of all symbols and intervals; of those the one that was asked for longest ago goes first."""


class RecentWindows:
    """Gives windows; may read the lake, so it belongs on a thread."""

    def __init__(self, view: LiveView, queries: Queries) -> None:
        self._view = view
        self._queries = queries
        self._lock = threading.Lock()
        self._series: dict[tuple[str, str], _Series] = {}
        self._settled = 0

    def last(self, symbol: str, interval: str, count: int) -> list[CandleRow]:
        """Return the last `count` windows that are held, in order of time, the open one with them."""
        if count > MOST_KEPT:
            return self._queries.candles(CandleQuery(symbol, interval, count))
        with self._lock:
            self._keep_up()
            series = self._series_of(symbol, interval, count)
            return series.with_memory(self._view.recent_candles(symbol, interval))[-count:]

    def _keep_up(self) -> None:
        settled, self._settled, lost = self._view.settled_since(self._settled)
        if lost:
            self._series.clear()
        for row in settled:
            series = self._series.get((row.symbol, row.interval))
            if series is not None:
                series.take(row)

    def _series_of(self, symbol: str, interval: str, count: int) -> "_Series":
        known = self._series.pop((symbol, interval), None)
        if known is None or known.count < count:
            self._make_room(count)
            known = self._read(symbol, interval, count)
        self._series[symbol, interval] = known
        return known

    def _make_room(self, count: int) -> None:
        """Let the oldest go until so many windows more can be kept."""
        kept = sum(series.count for series in self._series.values())
        while self._series and kept + count > MOST_WINDOWS:
            kept -= self._series.pop(next(iter(self._series))).count

    def _read(self, symbol: str, interval: str, count: int) -> "_Series":
        read = _Series(count)
        settled, _, _ = self._view.settled_since(0)  # the lake may not have the last of them yet
        ours = (row for row in settled if (row.symbol, row.interval) == (symbol, interval))
        for row in (*ours, *self._queries.candles(CandleQuery(symbol, interval, count))):
            if row.state != "open":
                read.take(row)
        return read


class _Series:
    """The highest revisions of the last windows that are over, at most `count`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._rows: dict[int, CandleRow] = {}

    def take(self, row: CandleRow) -> None:
        known = self._rows.get(row.opened_at)
        if known is not None and known.revision > row.revision:
            return
        self._rows[row.opened_at] = row
        if len(self._rows) > self.count:
            del self._rows[min(self._rows)]

    def with_memory(self, remembered: list[CandleRow]) -> list[CandleRow]:
        """Return these and what the view holds, in order of time."""
        rows = dict(self._rows)
        for row in remembered:
            known = rows.get(row.opened_at)
            if known is None or row.revision > known.revision or row.state == "open":
                rows[row.opened_at] = row
        return [rows[opened] for opened in sorted(rows)]
