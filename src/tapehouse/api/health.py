"""What may be said of the data now, in numbers and in sentences: how fresh, how complete, how far verified."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import msgspec

from tapehouse.api.encoding import time_text
from tapehouse.market.windows import DAY, WATERMARK_DELAY
from tapehouse.producers.poll_status import PolledStatus, in_trouble_first
from tapehouse.streaming.view import LiveView, SymbolHealth
from tapehouse.telemetry import mask

SILENT_AFTER = 6.0
"""Seconds without a message after which a connected feed is called silent; Binance speaks every 2 s."""
COMMIT_LATE_AFTER = 10.0
"""Seconds after which data that is received and not committed is called trouble."""
FIRST_COMMIT_WITHIN = 120.0
"""Seconds from our own start after which it is trouble that no commit was seen: Spark may still be starting."""
MOST_REASONS = 20


class Connection(Protocol):
    """One connection of a source; times in microseconds since 1970 UTC, 0 when it has not happened."""

    @property
    def last_message_at(self) -> int:
        """When the last message came."""

    @property
    def since(self) -> int:
        """When it came into the state it is in."""

    @property
    def connected(self) -> bool:
        """Whether messages can come now."""


class SourceStatus(Protocol):
    """What /health needs a source to say of itself; everything else it says is passed on."""

    @property
    def name(self) -> str:
        """The name of the source."""

    @property
    def connected(self) -> bool:
        """Whether messages can come now."""

    @property
    def connections(self) -> Sequence[Connection]:
        """Its connections."""

    @property
    def clock_offset(self) -> float | None:
        """The source's clock minus ours, in seconds."""

    @property
    def last_error(self) -> str:
        """What went wrong last, empty when nothing has."""


@dataclass(frozen=True)
class Moment:
    """Everything a report is made from, taken at one time (microseconds UTC)."""

    now: int
    sources: Sequence[SourceStatus]
    symbols: Mapping[str, SymbolHealth]
    committed_at: int
    horizon: int
    lake_error: str = ""
    since: int = 0


def take(view: LiveView, sources: Iterable[SourceStatus], now: int) -> Moment:
    """Look at everything now."""
    told = list(sources)
    offset = next((source.clock_offset for source in told if source.clock_offset is not None), None)
    late = {} if offset is None else view.overdue(now + int(offset * 1e6))
    symbols = {
        symbol: msgspec.structs.replace(health, windows_overdue=max(health.windows_overdue, late.get(symbol, 0)))
        for symbol, health in view.health().items()
    }
    return Moment(now, told, symbols, view.committed_at, view.horizon, view.lake_error, view.since)


def report(moment: Moment, symbols: Iterable[str]) -> dict[str, object]:
    """Tell the status as a whole, every source, and those symbols one by one; secrets in addresses masked."""
    failing = [*_feeds_down(moment), *_lake_away(moment), *_commits_late(moment)]
    degraded = list(islice(_imperfections(moment), MOST_REASONS))
    told = {symbol: _symbol(moment, moment.symbols[symbol]) for symbol in symbols if symbol in moment.symbols}
    return {
        "status": "failing" if failing else "degraded" if degraded else "ok",
        "reasons": mask([*failing, *degraded][:MOST_REASONS]),
        "now": time_text(moment.now),
        "event_time": time_text(moment.horizon) if moment.horizon else None,
        "watermark": time_text(moment.horizon - WATERMARK_DELAY) if moment.horizon else None,
        "commit": _commit(moment),
        "sources": mask({source.name: _source(moment, source) for source in moment.sources}),
        "symbols": told,
    }


def _seconds(moment: Moment, at: int) -> float | None:
    """Return how long ago something was, None when it never was."""
    return round(max(0, moment.now - at) / 1e6, 3) if at else None


def _last_message_at(source: SourceStatus) -> int:
    return max((connection.last_message_at for connection in source.connections), default=0)


def _state(moment: Moment, source: SourceStatus) -> str:
    if isinstance(source, PolledStatus):
        return source.state
    if not source.connected:
        return "cut" if _last_message_at(source) else "connecting"
    age = _seconds(moment, _last_message_at(source))
    return "silent" if age is not None and age > SILENT_AFTER else "connected"


def _source(moment: Moment, source: SourceStatus) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(source)
    return {
        **told,
        "state": _state(moment, source),
        "connected": source.connected,
        "freshness_seconds": _seconds(moment, _last_message_at(source)),
        **({} if isinstance(source, PolledStatus) else _proof(moment, source)),
        "clock_offset_seconds": source.clock_offset,
        "connections": [_connection(moment, connection) for connection in in_trouble_first(source.connections)],
    }


def _proof(moment: Moment, source: SourceStatus) -> dict[str, object]:
    """Tell how complete and how far verified the trades of a source are."""
    symbols = moment.symbols.values()
    newest = max(symbols, key=lambda symbol: symbol.last_received_at, default=None)
    return {
        "lag_seconds": None if newest is None else _lag(newest, source),
        "gaps": sum(symbol.holes for symbol in symbols),
        "missing_trades": sum(symbol.missing_trades for symbol in symbols),
        "trades_not_offered": sum(symbol.trades_not_offered for symbol in symbols),
        "trades_left_to_backfill": sum(symbol.trades_left_to_backfill for symbol in symbols),
        "checked_candles": sum(symbol.checked_candles for symbol in symbols),
        "agreeing_candles": sum(symbol.agreeing_candles for symbol in symbols),
        "uncompared_candles": sum(symbol.uncompared_candles for symbol in symbols),
        "windows_overdue": sum(symbol.windows_overdue for symbol in symbols),
    }


def _connection(moment: Moment, connection: Connection) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(connection)
    if isinstance(next_at := told.get("next_at"), int):
        told["next_at"] = time_text(next_at) if next_at else None
    return {
        **told,
        "since": time_text(connection.since) if connection.since else None,
        "last_message_at": time_text(connection.last_message_at) if connection.last_message_at else None,
        "freshness_seconds": _seconds(moment, connection.last_message_at),
    }


def _lag(newest: SymbolHealth, source: SourceStatus) -> float:
    """Return the seconds from a trade to its arrival, both on the source's clock."""
    return round((newest.last_received_at - newest.last_traded_at) / 1e6 + (source.clock_offset or 0), 3)


def _symbol(moment: Moment, health: SymbolHealth) -> dict[str, object]:
    return {
        **msgspec.to_builtins(health),
        "last_traded_at": time_text(health.last_traded_at) if health.last_traded_at else None,
        "last_received_at": time_text(health.last_received_at) if health.last_received_at else None,
        "backfill_from": time_text(health.backfill_from) if health.backfill_from else None,
        "backfill_to": time_text(health.backfill_to) if health.backfill_to else None,
        "freshness_seconds": _seconds(moment, health.last_received_at),
    }


def _commit(moment: Moment) -> dict[str, object]:
    return {
        "committed_at": time_text(moment.committed_at) if moment.committed_at else None,
        "age_seconds": _seconds(moment, moment.committed_at),
    }


def _feeds_down(moment: Moment) -> Iterable[str]:
    for source in moment.sources:
        if isinstance(source, PolledStatus):  # what it tells grows old, and that is an imperfection
            continue
        state = _state(moment, source)
        why = f" ({source.last_error})" if source.last_error else ""
        if state == "cut":
            yield f"The feed {source.name} is cut{why}: it is being reopened; what is missed is fetched by trade id."
        elif state == "silent":
            yield f"The feed {source.name} is connected and silent: nothing has come for {SILENT_AFTER:.0f} s or more."


def _lake_away(moment: Moment) -> Iterable[str]:
    if moment.lake_error:
        outlook = "what is live goes on, what is stored comes back with it" if moment.symbols else "all waits for it"
        yield f"The lake does not answer: {outlook}. {moment.lake_error}"


def _commits_late(moment: Moment) -> Iterable[str]:
    if moment.lake_error:  # whether anything is committed is not known
        return
    received = max((symbol.last_received_at for symbol in moment.symbols.values()), default=0)
    waiting = received > moment.committed_at and moment.now - received > COMMIT_LATE_AFTER * 1e6
    age = _seconds(moment, moment.committed_at)
    late = age > COMMIT_LATE_AFTER if age is not None else _never_committed(moment)
    if waiting or (received > moment.committed_at and late):
        yield "Trades are received and not committed: the lake takes no writes, or its writer is away. See the log."


def _never_committed(moment: Moment) -> bool:
    """Return whether another process should have committed by now, and has not since we began to look."""
    return bool(moment.since) and moment.now - moment.since > FIRST_COMMIT_WITHIN * 1e6


def _imperfections(moment: Moment) -> Iterable[str]:
    for source in moment.sources:
        why = f" ({source.last_error})" if source.last_error else ""
        if _state(moment, source) == "connecting":
            yield f"The feed {source.name} is connecting{why}."
        elif isinstance(source, PolledStatus) and not source.connected:
            grows = "grows" if source.state == "silent" else "is"
            yield f"The source {source.name} is {source.state.replace('_', ' ')}{why}: what is shown of it {grows} old."
    for symbol, health in moment.symbols.items():
        differing = health.checked_candles - health.agreeing_candles
        if differing:
            yield f"{symbol}: {differing} candles differ from the exchange's own; see silver/discrepancies."
        if health.missing_trades:
            yield f"{symbol}: {health.missing_trades} trades missing, {health.holes} holes; {_outlook(symbol, health)}."
        if health.windows_overdue:
            yield (
                f"{symbol}: {health.windows_overdue} windows are over and not proved: "
                "neither a next trade nor the exchange's kline has come."
            )


def _outlook(symbol: str, health: SymbolHealth) -> str:
    """Say what will become of missing trades: fetched, not to be had, or brought by a command alone."""
    fetched = health.missing_trades - health.trades_not_offered - health.trades_left_to_backfill
    if fetched == health.missing_trades:
        return "they are being fetched"
    parts = [f"{fetched} are being fetched"] if fetched > 0 else []
    if health.trades_not_offered:
        parts.append(f"{health.trades_not_offered} the exchange does not have")
    if health.trades_left_to_backfill:
        begin, end = time_text(health.backfill_from)[:10], time_text(health.backfill_to + DAY)[:10]
        command = f"`tapehouse backfill {symbol} --from {begin} --to {end}`"
        parts.append(f"{health.trades_left_to_backfill} lie in holes of over a week: {command} brings them")
    return ", ".join(parts)
