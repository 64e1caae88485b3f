"""Questions about signals: the newest from memory, what was before from the lake."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tapehouse.api.encoding import to_microseconds, to_time
from tapehouse.catalog import SIGNALS
from tapehouse.market.signals import Kind, Signal, State
from tapehouse.ports import Lake
from tapehouse.streaming.rows import signals_of
from tapehouse.streaming.signal_reads import newest_signals
from tapehouse.streaming.signal_view import SignalView

STANDING: tuple[State, ...] = ("provisional", "confirmed")
"""What is told where no state is asked for: signals that have ground."""
MOST_DAYS_READ = 400
"""Days with signals that are looked through at most."""


@dataclass(frozen=True)
class SignalQuery:
    """Which signals: None takes all of that; of windows that opened at `since` or later, the last `limit`."""

    limit: int
    symbol: str | None = None
    kind: Kind | None = None
    interval: str | None = None
    states: tuple[State, ...] = STANDING
    since: datetime | None = None


class SignalQueries:
    """Reads that may take milliseconds: call them on a thread."""

    def __init__(self, view: SignalView, lake: Lake) -> None:
        self._view = view
        self._lake = lake

    def signals(self, query: SignalQuery) -> list[Signal]:
        """Return the newest revision of each signal that is asked for, by the opening of its window, newest last."""
        found = {_key(signal): signal for signal in self._view.newest() if _is_about(signal, query)}
        remembered = dict(found)
        for days in self._days(query):
            for signal in self._stored(query, days):
                known = remembered.get(_key(signal))
                if known is None or signal.revision > known.revision:
                    found[_key(signal)] = signal
            chosen = [signal for signal in found.values() if signal.state in query.states]
            if sum(to_time(signal.opened_at).date().isoformat() >= days[0] for signal in chosen) >= query.limit:
                break
        chosen = [signal for signal in found.values() if signal.state in query.states]
        return sorted(chosen, key=_order)[-query.limit :]

    def _days(self, query: SignalQuery) -> Iterator[list[str]]:
        """Give the days that may hold what is asked for: the newest, then two, then four, so that reads are few."""
        first = query.since.date().isoformat() if query.since is not None else ""
        days = [day for day in self._lake.dates(SIGNALS, symbol=query.symbol)[-MOST_DAYS_READ:] if day >= first]
        together = 1
        while days:
            yield days[-together:]
            del days[-together:]
            together *= 2

    def _stored(self, query: SignalQuery, days: list[str]) -> list[Signal]:
        rows = self._lake.scan(SIGNALS, dates=days).filter(*_conditions(query))
        newest = newest_signals(rows).filter(pl.col("state").is_in(query.states))
        return signals_of(newest.sort("opened_at").tail(query.limit).collect())


def _conditions(query: SignalQuery) -> Iterator[pl.Expr]:
    wanted = {"symbol": query.symbol, "kind": query.kind, "interval": query.interval}
    yield from (pl.col(name) == value for name, value in wanted.items() if value is not None)
    if query.since is not None:
        yield pl.col("opened_at") >= query.since


def _is_about(signal: Signal, query: SignalQuery) -> bool:
    wanted = (query.symbol, signal.symbol), (query.kind, signal.kind), (query.interval, signal.interval)
    since = query.since is None or signal.opened_at >= to_microseconds(query.since)
    return since and all(asked is None or asked == has for asked, has in wanted)


def _key(signal: Signal) -> tuple[str, str, str, int]:
    return signal.kind, signal.symbol, signal.interval, signal.opened_at


def _order(signal: Signal) -> tuple[int, str, str, str]:
    return signal.opened_at, signal.symbol, signal.kind, signal.interval
