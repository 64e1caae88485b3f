"""The composition root: the only module that names concrete classes; one function for each command."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import uvloop

from tapehouse.api.main import create_app, serve
from tapehouse.catalog import CANDLES
from tapehouse.errors import ConfigError, DiscrepancyError, UpstreamError
from tapehouse.exchange.main import ExchangeOptions, running_exchange
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.lock import writing_lock
from tapehouse.lake.maintenance import Maintenance
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.pipeline import Parts, run
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.reports import print_rebuilt, print_verification, telling_progress
from tapehouse.settings import Settings
from tapehouse.streaming.backfill import Backfill
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.rebuild import newest_known, rebuild, revisions
from tapehouse.streaming.recovery import Recovered, recover
from tapehouse.streaming.rows import silver_candles, to_microseconds, to_time
from tapehouse.streaming.verification import klines_between, tally, verify
from tapehouse.streaming.view import LiveView
from tapehouse.tape.local import LocalTape

DEMO = Path("data/demo")
INTERRUPTED = 130
"""The status of a command that Ctrl-C ended before it was done."""
LEAVE_WITHIN = 3.0
"""Seconds from the last commit to the end of the process, whatever a client's read still waits for."""
REBUILD = "rebuild"
"""The writer under whose name a rebuild commits."""
DEMO_HOURS = 0.25
"""Hours of the past that the demo begins with, so that there is something to see."""
M_ARENA_MAX = -8
"""What `mallopt(3)` of glibc calls the most arenas."""
HOUR = 60 * MINUTE
DEMO_RATE = 60.0
"""Trades a second of the demo, over all symbols."""


def embedded(settings: Settings, lake: DeltaLake) -> Parts:
    """Put the embedded profile together on what the lake holds: one process, wheels only."""
    recovered = recover(lake, settings.symbols)
    clock = ArrivalClock(recovered.known_at)
    view = LiveView()
    engine = EmbeddedEngine(
        lake,
        view,
        recovered,
        now=clock.now,
        keep_payload=settings.keep_payload,
        commit_interval=settings.commit_interval,
    )
    for symbol, (compared, agreeing) in tally(lake, clock.now() - DAY).items():
        engine.count_verified(symbol, compared, agreeing)
    source = BinanceSource(settings, floor=recovered.known_at)
    app = create_app(view, lake, lambda: [source.status()], settings)
    return Parts(
        source=source,
        tape=LocalTape(),
        engine=engine,
        lake=lake,
        maintenance=Maintenance(lake),
        serve=lambda: serve(app, settings.api_host, settings.api_port, _announce(settings)),
        now=clock.now,
        past=_past(settings, recovered, clock.now()),
    )


def _past(settings: Settings, recovered: Recovered, now: int) -> dict[str, tuple[int, int]]:
    """Return the symbols of which nothing is held, and the time from which and to which to fetch them."""
    if not settings.backfill_hours:
        return {}
    start = now - int(settings.backfill_hours * HOUR)
    return {symbol: (start, now) for symbol, ledger in recovered.ledgers.items() if not ledger.coverage.held}


def open_lake(settings: Settings) -> DeltaLake:
    """Return the lake of the settings, its tables made."""
    if settings.profile != "embedded":
        raise ConfigError(f"This version has the profile embedded, not {settings.profile}. Set TAPEHOUSE_PROFILE.")
    lake = DeltaLake(settings.lake, time_travel_days=settings.time_travel_days)
    lake.create()
    return lake


def run_up(settings: Settings, *, demo: bool = False) -> None:
    """Run the platform until it is told to stop; raise what ended it otherwise."""
    _keep_memory_together()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_up(settings, demo=demo))


def _keep_memory_together() -> None:
    """Let the threads share two arenas of the C library's memory: with one each, what one freed the others lack."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc keeps memory in its own way
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


async def _up(settings: Settings, *, demo: bool) -> None:
    stopped = _when_told_to_stop()
    async with _demo(settings) if demo else contextlib.nullcontext(settings) as chosen:
        with writing_lock(chosen.lake):
            parts = await asyncio.to_thread(lambda: embedded(chosen, open_lake(chosen)))
            running = asyncio.create_task(run(parts))
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            try:
                await running
            except asyncio.CancelledError:
                _say("Stopped; everything received is committed.")
                _leave_within(LEAVE_WITHIN)
            except BaseExceptionGroup as errors:
                raise _first(errors) from errors


def _leave_within(seconds: float) -> None:
    """End the process although some reader's thread may still be at work: nothing is left to be lost."""
    timer = threading.Timer(seconds, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _when_told_to_stop() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    stopped = loop.create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: _set(stopped))
    return stopped


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@contextlib.asynccontextmanager
async def _demo(settings: Settings) -> AsyncIterator[Settings]:
    """Give settings under which everything comes from the exchange in the box and goes to a lake of its own."""
    shutil.rmtree(DEMO, ignore_errors=True)
    options = ExchangeOptions(symbols=_named(settings), rate=DEMO_RATE)
    async with running_exchange(options) as exchange:
        _say(f"The exchange in the box plays made-up trades at {exchange.rest_url}")
        yield settings.model_copy(
            update={
                "lake": str(DEMO / "delta"),
                "state": DEMO / "state",
                "binance_ws_url": (exchange.ws_url,),
                "binance_rest_url": (exchange.rest_url,),
                "binance_archive_url": exchange.rest_url,
                "backfill_hours": DEMO_HOURS,
            }
        )


def _named(settings: Settings) -> tuple[str, ...]:
    return tuple(symbol for symbol in settings.symbols if not symbol.startswith("*")) or ("BTCUSDT",)


def _announce(settings: Settings) -> Callable[[str, int], None]:
    def tell(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        _say(f"Tapehouse follows {', '.join(settings.symbols)}; the lake is {settings.lake}")
        _say(f"Open http://{shown}:{port}   (Ctrl-C stops)")

    return tell


def run_backfill(settings: Settings, symbols: Sequence[str], start: datetime, end: datetime) -> None:
    """Bring the trades of [start, end) into the lake, with progress; it can be stopped and repeated.

    Raise UpstreamError, with the symbol, when the exchange does not answer or has no such symbol.
    """
    _check_order(start, end)
    try:
        with writing_lock(settings.lake):
            uvloop.run(_backfill(settings, [symbol.upper() for symbol in symbols], start, end))
    except KeyboardInterrupt:
        _say("Stopped before the end; what came is committed. The same command goes on from there.")
        sys.exit(INTERRUPTED)


async def _backfill(settings: Settings, symbols: Sequence[str], start: datetime, end: datetime) -> None:
    lake = open_lake(settings)
    recovered = recover(lake, symbols)
    clock = ArrivalClock(recovered.known_at)
    engine = EmbeddedEngine(lake, LiveView(), recovered, now=clock.now, keep_payload=settings.keep_payload)
    source = BinanceSource(settings, floor=recovered.known_at)
    until = min(to_microseconds(end), clock.now())
    with telling_progress(symbols, to_microseconds(start), until) as tell:
        filling = Backfill(lake, engine, source, archives=settings.binance_archive_url, now=clock.now, tell=tell)
        try:
            for symbol in symbols:
                await filling.fill(symbol, to_microseconds(start), until)
        except UpstreamError as error:
            raise UpstreamError(f"{symbol} is not filled to the end: {error}") from error
        finally:
            await asyncio.to_thread(engine.close)
            await source.close()
            await asyncio.to_thread(maintain_to_the_end, lake, clock.now())


def maintain_to_the_end(lake: DeltaLake, now: int) -> None:
    """Do all the upkeep that is due."""
    maintenance = Maintenance(lake, finished_after=timedelta(0))
    while maintenance.run_once(to_time(now)).pending:
        pass


def run_verify(settings: Settings, symbol: str, start: datetime, end: datetime) -> None:
    """Compare the candles of [start, end) with the exchange's own and print what came of it.

    Raise DiscrepancyError where one differs, ConfigError where there is none to compare.
    """
    _check_order(start, end)
    uvloop.run(_verify(settings, symbol.upper(), to_microseconds(start), to_microseconds(end)))


async def _verify(settings: Settings, symbol: str, start: int, end: int) -> None:
    lake = open_lake(settings)
    source = BinanceSource(settings)
    try:
        told = await klines_between(lake, source, symbol, start, end)
    finally:
        await source.close()
    result = verify(lake, symbol, start, end, told)
    if not result.windows:
        raise _nothing_held(symbol)
    print_verification(result)
    if result.differing:
        raise DiscrepancyError(f"{len(result.differing)} candles of {symbol} differ from the exchange's own.")


def run_rebuild(settings: Settings, symbol: str, start: datetime, end: datetime, check: bool) -> None:
    """Compute the candles of every UTC day of [start, end) anew from bronze; store what differs, or only tell it.

    Raise DiscrepancyError where `check` finds a difference, ConfigError where there is nothing to compute or check.
    """
    _check_order(start, end)
    lake = open_lake(settings)
    with contextlib.nullcontext() if check else writing_lock(settings.lake):
        batch = lake.last_batch(CANDLES, REBUILD) + 1
        known_at = ArrivalClock(newest_known(lake)).now()
        differing = compared = 0
        for day in rebuild(lake, symbol.upper(), to_microseconds(start), to_microseconds(end), known_at):
            rows = [] if check else revisions(day.differing)
            if rows:
                lake.append(CANDLES, silver_candles(rows), writer=REBUILD, batch=batch)
                batch += 1
            print_rebuilt(day, symbol.upper(), stored=not check)
            differing += len(day.differing)
            compared += day.candles + len(day.differing)
    if not compared:
        raise _nothing_held(symbol.upper())
    if check and differing:
        raise DiscrepancyError(f"{differing} candles of {symbol.upper()} differ from what bronze gives.")


def _check_order(start: datetime, end: datetime) -> None:
    if start >= end:
        raise ConfigError(f"--to {end:%Y-%m-%dT%H:%MZ} is not after --from {start:%Y-%m-%dT%H:%MZ}.")


def _nothing_held(symbol: str) -> ConfigError:
    return ConfigError(f"The lake holds no candles of {symbol} in this range; `tapehouse backfill` brings its trades.")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # for the person at the terminal


def _first(errors: BaseException) -> BaseException:
    """Return what went wrong first of what went wrong together."""
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
