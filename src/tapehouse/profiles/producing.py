"""The commands that fill the tape on Kafka: one producer a process, and the topics it writes to."""

import asyncio
import contextlib
import hashlib
import sys
import time
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

import uvloop

from tapehouse.api.health import Moment
from tapehouse.api.main import serve
from tapehouse.api.producer import report
from tapehouse.api.status import create_app
from tapehouse.catalog import CONTEXT_TOPICS, SOURCE_STATUS
from tapehouse.pipeline import SWITCH_EVERY, Stage
from tapehouse.ports import Batch, Route, Routed
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.routing import binance_route
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.producers.binance.symbols import named
from tapehouse.producers.context import context_route
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Clock
from tapehouse.producers.telling import STATUS, tell_forever
from tapehouse.profiles.process import first_error, keep_memory_together, leave_within, say, when_told_to_stop
from tapehouse.profiles.sources import polled_sources
from tapehouse.settings import Settings
from tapehouse.streaming.holes import NotOffered
from tapehouse.streaming.repairs import RepairDesk
from tapehouse.streaming.view import SymbolHealth
from tapehouse.tape.status import Standing
from tapehouse.tape.topics import apply_topics
from tapehouse.tape.writer import KafkaTapeWriter

LEAVE_WITHIN = 3.0
"""Seconds from the last commit to the end of the process."""


def run_topics_apply(settings: Settings) -> None:
    """Make the broker's topics those of the catalog, and say what was done; raise TapeError when it refuses."""
    for line in apply_topics(settings):
        say(line)


def run_produce(settings: Settings) -> None:
    """Put what the sources of the settings tell on Kafka until told to stop; raise what ended it otherwise."""
    keep_memory_together()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_produce(settings))


async def _produce(settings: Settings) -> None:
    stopped = when_told_to_stop()
    producing = Producing(settings)
    running = asyncio.create_task(producing.run())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        say(f"Stopped; {_left(producing.tape)}")
        leave_within(LEAVE_WITHIN)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


class Producing:
    """The parts of a producer, put together, and what they do until they are stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tape = KafkaTapeWriter(settings, producer_id(settings), route_for(settings))
        self._binance = BinanceSource(settings) if "binance" in settings.sources else None
        self._not_offered = NotOffered()
        self._clock = Clock(ArrivalClock().now)
        self._polled = polled_sources(settings, settings.sources, self._clock, self._followed)

    async def run(self) -> None:
        """Receive, repair and serve until cancelled; then commit what was received."""
        sys.setswitchinterval(SWITCH_EVERY)
        app = create_app("Tapehouse producer", lambda: report(self._moment(), self.tape.status()), self._settings)
        at = self._settings.api_host, self._settings.api_port
        writing = Stage("write", self.tape.write_forever)
        try:
            async with asyncio.TaskGroup() as group:
                for work in (*self._following(), serve(app, *at, self._announce), writing.watch()):
                    group.create_task(work)
        finally:
            await asyncio.gather(*(source.close() for source in self._sources()))
            self.tape.close()
            await asyncio.to_thread(writing.stop)

    def _followed(self) -> list[str]:
        """Return the symbols whose coins matter: those named, and those a pattern has brought to this producer."""
        return list(dict.fromkeys([*named(self._settings.symbols), *self.tape.standings()]))

    def _sources(self) -> list[BinanceSource | PolledSource]:
        return [*([self._binance] if self._binance else []), *self._polled]

    def _following(self) -> Iterator[Coroutine[Any, Any, None]]:
        yield from (source.run(self.tape) for source in self._sources())
        if self._binance is not None:
            yield RepairDesk(self.tape.holes, self._binance, self.tape, self._not_offered).run()
        by_whom = producer_id(self._settings)
        yield tell_forever(lambda: [source.status() for source in self._sources()], self.tape, self._clock, by_whom)

    def _moment(self) -> Moment:
        now = time.time_ns() // 1000
        symbols = {symbol: _health(standing, self._not_offered) for symbol, standing in self.tape.standings().items()}
        return Moment(now, [source.status() for source in self._sources()], symbols, committed_at=now, horizon=0)

    def _announce(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        sources = ", ".join(self._settings.sources)
        say(f"Tapehouse puts {sources} on the tape at {self._settings.kafka_bootstrap}")
        say(f"Health at http://{shown}:{port}/health   (Ctrl-C stops)")


def route_for(settings: Settings) -> Route:
    """Return where the frames of every source belong."""
    of_binance = binance_route(settings.symbols)

    def route(batch: Batch) -> Iterable[Routed]:
        if batch.shape in CONTEXT_TOPICS:
            return context_route(batch)
        if batch.shape == STATUS:
            frames = zip(batch.frames, batch.received_at, strict=True)
            return [Routed(SOURCE_STATUS, frame, received_at) for frame, received_at in frames]
        return of_binance(batch)

    return route


def producer_id(settings: Settings) -> str:
    """Return the name of the producer of these sources and symbols: a second one takes the first one's place."""
    symbols = ",".join(sorted(settings.symbols))
    sources = "-".join(sorted(set(settings.sources)))
    return f"tapehouse-{sources}-{hashlib.sha256(symbols.encode()).hexdigest()[:12]}"


def _health(standing: Standing, not_offered: NotOffered) -> SymbolHealth:
    outlook = not_offered.outlook(standing.holes)
    return SymbolHealth(
        last_trade_id=standing.last_trade_id,
        last_traded_at=standing.last_traded_at,
        last_received_at=standing.last_received_at,
        missing_trades=sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in standing.holes),
        holes=len(standing.holes),
        windows_overdue=0,
        checked_candles=0,
        agreeing_candles=0,
        trades_not_offered=outlook.not_offered,
        trades_left_to_backfill=outlook.left_to_backfill,
        backfill_from=outlook.backfill_from,
        backfill_to=outlook.backfill_to,
    )


def _left(tape: KafkaTapeWriter) -> str:
    if tape.gave_up:
        return "the last messages did not get onto the tape in time; the next start fetches them by their ids."
    return "everything received is on the tape."
