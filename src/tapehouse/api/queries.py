"""Questions answered from memory and lake together: memory first, so that nothing falls between the two."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

from tapehouse.api.encoding import to_microseconds, to_time
from tapehouse.api.rows import trades_of
from tapehouse.catalog import CANDLES
from tapehouse.lake import history
from tapehouse.market.events import Trade
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import INTERVALS
from tapehouse.ports import Lake
from tapehouse.streaming.rows import candle_rows
from tapehouse.streaming.view import LiveView

MOST_RANGES = 5000
"""Most ranges of ids in one answer."""


@dataclass(frozen=True)
class CandleQuery:
    """Which windows of a symbol: `[start, end)`, at most `limit`, as known at `as_of`.

    With `start` they are the first ones from there, without it the last ones.
    """

    symbol: str
    interval: str
    limit: int
    start: datetime | None = None
    end: datetime | None = None
    as_of: datetime | None = None

    @property
    def length(self) -> timedelta:
        """The length of a window."""
        return timedelta(microseconds=INTERVALS[self.interval])

    @property
    def bounded_end(self) -> datetime | None:
        """The end, or where `limit` windows from `start` end if that is earlier."""
        if self.start is None:
            return self.end
        full = _opening(self.start, self.length) + self.limit * self.length
        return full if self.end is None else min(self.end, full)


class Queries:
    """Reads that may take milliseconds: call them on a thread."""

    def __init__(self, view: LiveView, lake: Lake) -> None:
        self._view = view
        self._lake = lake

    def quote_volumes(self, since: datetime) -> dict[str, Decimal]:
        """Return what each symbol traded in its stored hours from then on, in what it is quoted in."""
        days = [day for day in self._lake.dates(CANDLES) if day >= since.date().isoformat()]
        hours = self._lake.scan(CANDLES, dates=days).filter(pl.col("interval") == "1h", pl.col("opened_at") >= since)
        sums = history.highest_revisions(hours).group_by("symbol").agg(pl.col("quote_volume").sum())
        return dict(sums.collect().iter_rows())

    def trades(self, symbol: str, limit: int, since: datetime | None = None) -> list[Trade]:
        """Return the last `limit` trades in order of their ids, none older than `since`."""
        remembered = self._view.recent_trades(symbol, limit)
        stored = trades_of(history.last_trades(self._lake, symbol, limit))
        by_id = {trade.first_trade_id: trade for trade in [*stored, *remembered]}
        earliest = to_microseconds(since) if since else 0
        found = [by_id[first] for first in sorted(by_id) if by_id[first].traded_at >= earliest]
        return found[-limit:]

    def candles(self, query: CandleQuery) -> list[CandleRow]:
        """Return the highest revision of each window, in order of time, the open one with them."""
        remembered = self._view.recent_candles(query.symbol, query.interval)
        stored = candle_rows(self._stored(query))
        by_opening: dict[int, CandleRow] = {}
        for row in [*stored, *(row for row in remembered if _matches(row, query))]:
            known = by_opening.get(row.opened_at)
            if known is None or row.revision > known.revision or row.state == "open":
                by_opening[row.opened_at] = row
        found = [by_opening[opened] for opened in sorted(by_opening)]
        return found[: query.limit] if query.start else found[-query.limit :]

    def coverage(self, symbol: str) -> dict[str, object]:
        """Return the fields of the answer to /coverage: the newest ranges, and the counts of all of them."""
        health = self._view.health().get(symbol)
        held, missing = history.coverage(self._lake, symbol)
        ranges = sorted([*((*part, "held") for part in held), *((*part, "missing") for part in missing)])
        return {
            "symbol": symbol,
            "first_trade_id": ranges[0][0] if ranges else None,
            "last_trade_id": ranges[-1][1] if ranges else None,
            "missing_trades": len(missing),
            "checked_candles": health.checked_candles if health else 0,
            "agreeing_candles": health.agreeing_candles if health else 0,
            "uncompared_candles": health.uncompared_candles if health else 0,
            "truncated": len(ranges) > MOST_RANGES,
            "ranges": [
                {"first_trade_id": first, "last_trade_id": last, "status": status}
                for first, last, status in ranges[-MOST_RANGES:]
            ],
        }

    def next_start(self, query: CandleQuery) -> datetime | None:
        """Return where to go on when `limit` ended the answer before its end or the present."""
        end = query.bounded_end
        if query.start is None or end is None or end == query.end:
            return None
        newest = self._newest(query.symbol)
        return end if newest is not None and newest >= end else None

    def _stored(self, query: CandleQuery) -> pl.DataFrame:
        if query.start is not None:
            return self._scan(query, query.start)
        newest = query.end or self._newest(query.symbol)
        found = self._scan(query, newest - 2 * query.limit * query.length if newest else None)
        return found if found.height >= query.limit or newest is None else self._scan(query, None)

    def _newest(self, symbol: str) -> datetime | None:
        last = self._view.last_trade(symbol)
        return to_time(last.traded_at) if last is not None else None

    def _scan(self, query: CandleQuery, start: datetime | None) -> pl.DataFrame:
        return history.latest_candles(
            self._lake,
            query.symbol,
            query.interval,
            start,
            query.bounded_end,
            limit=None if query.start else query.limit,
            as_of=query.as_of,
        )


def _matches(row: CandleRow, query: CandleQuery) -> bool:
    opened = to_time(row.opened_at)
    if query.start is not None and opened < query.start:
        return False
    if query.bounded_end is not None and opened >= query.bounded_end:
        return False
    return query.as_of is None or (row.known_at > 0 and to_time(row.known_at) <= query.as_of)


def _opening(time: datetime, length: timedelta) -> datetime:
    """Return the first opening at or after a time."""
    unit = length // timedelta(microseconds=1)
    return to_time(-(-to_microseconds(time) // unit) * unit)
