"""The commands that fill the tape on Kafka: one producer a process, and the topics it writes to."""

import asyncio
import contextlib
import hashlib
import sys
import time
from collections.abc import Sequence

import uvloop

from tapehouse.api.health import Moment
from tapehouse.api.main import serve
from tapehouse.api.producer import create_app
from tapehouse.errors import ConfigError
from tapehouse.pipeline import SWITCH_EVERY, Stage
from tapehouse.producers.binance.routing import route_for
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.profiles.process import first_error, keep_memory_together, leave_within, say, when_told_to_stop
from tapehouse.settings import Settings
from tapehouse.streaming.repairs import RepairDesk
from tapehouse.streaming.view import SymbolHealth
from tapehouse.tape.status import Standing
from tapehouse.tape.topics import apply_topics
from tapehouse.tape.writer import KafkaTapeWriter

SOURCES = ("binance",)
"""The sources that produce to Kafka."""
LEAVE_WITHIN = 3.0
"""Seconds from the last commit to the end of the process."""


def run_topics_apply(settings: Settings) -> None:
    """Make the broker's topics those of the catalog, and say what was done; raise TapeError when it refuses."""
    for line in apply_topics(settings):
        say(line)


def run_produce(settings: Settings, sources: Sequence[str]) -> None:
    """Put what the sources tell on Kafka until told to stop; raise what ended it otherwise."""
    unknown = [name for name in sources if name not in SOURCES]
    if unknown:
        raise ConfigError(f"Nothing produces {', '.join(unknown)}; there is {', '.join(SOURCES)}.")
    keep_memory_together()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_produce(settings))


async def _produce(settings: Settings) -> None:
    stopped = when_told_to_stop()
    source = BinanceSource(settings)
    tape = KafkaTapeWriter(settings, producer_id(settings), route_for(settings.symbols))
    running = asyncio.create_task(_run(settings, source, tape))
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        say(f"Stopped; {_left(tape)}")
        leave_within(LEAVE_WITHIN)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


async def _run(settings: Settings, source: BinanceSource, tape: KafkaTapeWriter) -> None:
    """Receive, repair and serve until cancelled; then commit what was received."""
    sys.setswitchinterval(SWITCH_EVERY)
    writing = Stage("write", tape.write_forever)
    app = create_app(lambda: _moment(source, tape), tape.status, settings)
    try:
        async with asyncio.TaskGroup() as group:
            for work in (
                source.run(tape),
                RepairDesk(tape.holes, source, tape).run(),
                serve(app, settings.api_host, settings.api_port, lambda host, port: _announce(settings, host, port)),
                writing.watch(),
            ):
                group.create_task(work)
    finally:
        await source.close()
        tape.close()
        await asyncio.to_thread(writing.stop)


def producer_id(settings: Settings) -> str:
    """Return the name of the producer of these symbols: a second one of them takes the first one's place."""
    symbols = ",".join(sorted(settings.symbols))
    return f"tapehouse-binance-{hashlib.sha256(symbols.encode()).hexdigest()[:12]}"


def _moment(source: BinanceSource, tape: KafkaTapeWriter) -> Moment:
    now = time.time_ns() // 1000
    symbols = {symbol: _health(standing) for symbol, standing in tape.standings().items()}
    return Moment(now, [source.status()], symbols, committed_at=now, horizon=0)


def _health(standing: Standing) -> SymbolHealth:
    return SymbolHealth(
        last_trade_id=standing.last_trade_id,
        last_traded_at=standing.last_traded_at,
        last_received_at=standing.last_received_at,
        missing_trades=sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in standing.holes),
        holes=len(standing.holes),
        windows_overdue=0,
        checked_candles=0,
        agreeing_candles=0,
    )


def _announce(settings: Settings, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    say(f"Tapehouse puts {', '.join(settings.symbols)} on the tape at {settings.kafka_bootstrap}")
    say(f"Health at http://{shown}:{port}/health   (Ctrl-C stops)")


def _left(tape: KafkaTapeWriter) -> str:
    waiting = tape.status().waiting
    if waiting or tape.broker.error:
        return "no broker answered, so the last messages are not on the tape; the next start fetches them by their ids."
    return "everything received is on the tape."
