"""Questions about signals: the newest from memory, what was before from the lake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tapehouse.api.asked import MOST_ROWS
from tapehouse.api.encoding import time_text, to_microseconds, to_time
from tapehouse.api.problems import ProblemError
from tapehouse.catalog import SIGNALS
from tapehouse.market.signals import STATES, Kind, Signal, State
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
    """Which signals: None takes all of that; of windows that opened at `since` or later, the last `limit`.

    With `known_since` those of which something became known then or later, the first `limit` by when that was.
    """

    limit: int
    symbol: str | None = None
    kind: Kind | None = None
    interval: str | None = None
    state: State | None = None
    since: datetime | None = None
    known_since: datetime | None = None

    @property
    def states(self) -> tuple[State, ...]:
        """The states asked for; who asks what became known is told of retractions as well."""
        if self.state is not None:
            return (self.state,)
        return STANDING if self.known_since is None else STATES


@dataclass(frozen=True)
class FoundSignals:
    """An answer. Where days were left out, `searched_from` is the first one looked through.

    `next_known_since` is when what was left out by the limit became known (microseconds), None where nothing was.
    """

    signals: list[Signal]
    searched_from: str | None = None
    next_known_since: int | None = None


class SignalQueries:
    """Reads that may take milliseconds: call them on a thread."""

    def __init__(self, view: SignalView, lake: Lake) -> None:
        self._view = view
        self._lake = lake

    def signals(self, query: SignalQuery) -> FoundSignals:
        """Return the newest revision of each signal that is asked for.

        They come by the opening of their window, newest last; with `known_since` by when they became known. Raise
        ProblemError where more than MOST_ROWS became known at one time.
        """
        return self._last(query) if query.known_since is None else self._became_known(query)

    def _last(self, query: SignalQuery) -> FoundSignals:
        found = {_key(signal): signal for signal in self._view.newest() if _is_about(signal, query)}
        remembered = dict(found)
        days, searched_from = self._days(query)
        for together in _newest_first(days):
            for signal in self._stored(query, together, "opened_at", query.limit):
                known = remembered.get(_key(signal))
                if known is None or signal.revision > known.revision:
                    found[_key(signal)] = signal
            chosen = [signal for signal in found.values() if signal.state in query.states]
            if sum(to_time(signal.opened_at).date().isoformat() >= together[0] for signal in chosen) >= query.limit:
                searched_from = None
                break
        chosen = [signal for signal in found.values() if signal.state in query.states]
        return FoundSignals(sorted(chosen, key=_order)[-query.limit :], searched_from)

    def _became_known(self, query: SignalQuery) -> FoundSignals:
        remembered = {_key(signal): signal for signal in self._view.newest()}
        days, searched_from = self._days(query)
        found = {_key(signal): signal for signal in remembered.values() if _is_about(signal, query)}
        for signal in self._stored(query, days, "known_at", MOST_ROWS + 1 + len(remembered)):
            known = remembered.get(_key(signal))
            if known is None or signal.revision > known.revision:
                found[_key(signal)] = signal
        chosen = [signal for signal in found.values() if signal.state in query.states]
        told, following = _up_to(sorted(chosen, key=lambda signal: (signal.known_at, *_order(signal))), query.limit)
        return FoundSignals(told, searched_from, following)

    def _days(self, query: SignalQuery) -> tuple[list[str], str | None]:
        """Return the days that may hold what is asked for, and the first of them where earlier ones are left out."""
        first = query.since.date().isoformat() if query.since is not None else ""
        stored = self._lake.dates(SIGNALS, symbol=query.symbol, known_since=query.known_since)
        days = [day for day in stored if day >= first]
        chosen = days[-MOST_DAYS_READ:]
        return chosen, chosen[0] if len(chosen) < len(days) else None

    def _stored(self, query: SignalQuery, days: Sequence[str], order: str, most: int) -> list[Signal]:
        """Return the last by the opening of their window, or the first by when they became known, at most so many."""
        rows = self._lake.scan(SIGNALS, dates=days).filter(*_conditions(query))
        newest = newest_signals(rows).filter(pl.col("state").is_in(query.states)).sort(order)
        return signals_of((newest.tail(most) if order == "opened_at" else newest.head(most)).collect())


def _newest_first(days: Sequence[str]) -> Iterator[Sequence[str]]:
    """Give the newest day, then two, then four, so that reads are few."""
    together = 1
    while days:
        yield days[-together:]
        days = days[:-together]
        together *= 2


def _up_to(signals: list[Signal], limit: int) -> tuple[list[Signal], int | None]:
    """Return the first ones and when the next ones became known; those of one time stay together.

    Where more than `limit` became known at the first time all of them are told.
    """
    if len(signals) <= limit:
        return signals, None
    following = signals[limit].known_at
    before = [signal for signal in signals[:limit] if signal.known_at < following]
    if before:
        return before, following
    together = [signal for signal in signals if signal.known_at == following]
    if len(together) > MOST_ROWS:
        when = time_text(following)
        text = f"More than {MOST_ROWS:,} signals became known at {when}: ask for a symbol, a kind or an interval."
        raise ProblemError(422, "unusable-parameter", text)
    return together, signals[len(together)].known_at if len(together) < len(signals) else None


def _conditions(query: SignalQuery) -> Iterator[pl.Expr]:
    wanted = {"symbol": query.symbol, "kind": query.kind, "interval": query.interval}
    yield from (pl.col(name) == value for name, value in wanted.items() if value is not None)
    if query.since is not None:
        yield pl.col("opened_at") >= query.since
    if query.known_since is not None:
        yield pl.col("known_at") >= query.known_since  # later revisions became known later: the newest is among them


def _is_about(signal: Signal, query: SignalQuery) -> bool:
    wanted = (query.symbol, signal.symbol), (query.kind, signal.kind), (query.interval, signal.interval)
    since = (query.since, signal.opened_at), (query.known_since, signal.known_at)
    return all(asked is None or asked == has for asked, has in wanted) and all(
        asked is None or has >= to_microseconds(asked) for asked, has in since
    )


def _key(signal: Signal) -> tuple[str, str, str, int]:
    return signal.kind, signal.symbol, signal.interval, signal.opened_at


def _order(signal: Signal) -> tuple[int, str, str, str]:
    return signal.opened_at, signal.symbol, signal.kind, signal.interval
