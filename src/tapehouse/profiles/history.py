"""The commands that work on what is stored: back-fill, verify, rebuild."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

import uvloop

from tapehouse.catalog import CANDLES
from tapehouse.errors import ConfigError, DiscrepancyError, IncompleteError, UpstreamError
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.maintenance import Maintenance
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.producers.coingecko.past import CoinsPast
from tapehouse.producers.polling import Clock
from tapehouse.profiles.process import say
from tapehouse.profiles.signals import detection
from tapehouse.profiles.storage import open_lake, open_lake_to_read, reading, writing
from tapehouse.reports import MOST_LINES, print_rebuilt, print_verification, telling_progress
from tapehouse.settings import Settings
from tapehouse.streaming.backfill import Backfill
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.rebuild import newest_known, rebuild, revisions
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import silver_candles, to_microseconds, to_time
from tapehouse.streaming.verification import klines_between, look_into, verify
from tapehouse.streaming.view import LiveView
from tapehouse.tape.local import LocalTape

INTERRUPTED = 130
"""The status of a command that Ctrl-C ended before it was done."""
REBUILD = "rebuild"
"""The writer under whose name a rebuild commits."""


def run_backfill(
    settings: Settings, symbols: Sequence[str], start: datetime, end: datetime, source: str = "binance"
) -> None:
    """Bring the trades of [start, end) into the lake, with progress; it can be stopped and repeated.

    With the source `coingecko` it is a value a day of the symbols' coins. Raise UpstreamError, with the symbol, when
    the upstream does not answer or has no such symbol.
    """
    _check_order(start, end)
    bring = _backfill_coins if source == "coingecko" else _backfill
    try:
        with writing(settings):
            uvloop.run(bring(settings, [symbol.upper() for symbol in symbols], start, end))
    except KeyboardInterrupt:
        say("Stopped before the end; what came is committed. The same command goes on from there.")
        sys.exit(INTERRUPTED)


async def _backfill(settings: Settings, symbols: Sequence[str], start: datetime, end: datetime) -> None:
    lake = open_lake(settings)
    recovered = recover(lake, symbols, detection(settings), settings.coingecko_pins())
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


async def _backfill_coins(settings: Settings, symbols: Sequence[str], start: datetime, end: datetime) -> None:
    lake = open_lake(settings)
    recovered = recover(lake, ())
    clock, tape = ArrivalClock(recovered.known_at), LocalTape()
    engine = EmbeddedEngine(lake, LiveView(), recovered, now=clock.now, keep_payload=settings.keep_payload)
    span = to_microseconds(start), min(to_microseconds(end), clock.now())
    days = range(-(-span[0] // DAY) * DAY, span[1], DAY)

    def lacks(coin: str) -> bool:
        return recovered.context.days_held(coin, *span) < len(days)

    past = CoinsPast(settings, symbols, span, Clock(clock.now), lacks=lacks, tell=lambda coin: say(f"{coin}: told"))
    source = past.polled()
    asking = asyncio.create_task(source.run(tape))
    try:
        while not past.is_told and source.status().state != "circuit_open":
            engine.fold(await asyncio.to_thread(tape.read, 0.1))
            engine.commit()
        engine.fold(tape.read(0))
    finally:
        asking.cancel()
        await asyncio.wait({asking})
        await source.close()
        await asyncio.to_thread(engine.close)
        await asyncio.to_thread(maintain_to_the_end, lake, clock.now())
    if not past.is_told or past.refused:
        why = "; ".join(f"{coin}: {error}" for coin, error in past.refused.items()) or source.status().last_error
        raise UpstreamError(f"Not all of it came: {why}. The same command goes on from there.")
    for note in source.status().notes:
        say(note)


def maintain_to_the_end(lake: DeltaLake, now: int) -> None:
    """Do all the upkeep that is due."""
    maintenance = Maintenance(lake, finished_after=timedelta(0))
    while maintenance.run_once(to_time(now)).pending:
        pass


def run_verify(settings: Settings, symbol: str, start: datetime, end: datetime) -> None:
    """Compare the candles of [start, end) with the exchange's own and print what came of it; write nothing.

    Windows that have not been over for a minute are left out. Raise DiscrepancyError where a candle differs,
    IncompleteError where none does and not all windows could be compared, ConfigError where there are none.
    """
    _check_order(start, end)
    with reading(settings):
        uvloop.run(_verify(settings, symbol.upper(), to_microseconds(start), to_microseconds(end)))


async def _verify(settings: Settings, symbol: str, start: int, end: int) -> None:
    lake = open_lake_to_read(settings)
    source = BinanceSource(settings)
    now = ArrivalClock().now()
    end = min(end, now - MINUTE - now % MINUTE)
    try:
        told = await klines_between(lake, source, symbol, start, end)
        result = verify(lake, symbol, start, end, told)
        findings = [await look_into(check, lake, source, now) for check in result.differing[:MOST_LINES]]
    finally:
        await source.close()
    if result.not_held == result.windows:
        raise nothing_held(symbol)
    print_verification(result, {found.check.opened_at: found.status for found in findings})
    if result.differing:
        raise DiscrepancyError(f"{len(result.differing)} candles of {symbol} differ from the exchange's own.")
    if result.compared < result.windows:
        raise IncompleteError(
            f"Of {result.windows} windows of {symbol} {result.compared} were compared, and agree. Of the others "
            f"{result.not_held} are not held, {result.unproved} are not proved whole, and of {result.without_kline} "
            "the exchange tells no kline."
        )
    say(f"All {result.windows} windows of {symbol} agree with the exchange's own candles.")


def run_rebuild(settings: Settings, symbol: str, start: datetime, end: datetime, check: bool) -> None:
    """Compute the candles of every UTC day of [start, end) anew from bronze; store what differs, or only tell it.

    Raise DiscrepancyError where `check` finds a difference, ConfigError where there is nothing to compute or check.
    """
    _check_order(start, end)
    with reading(settings) if check else writing(settings):
        lake = open_lake_to_read(settings) if check else open_lake(settings)
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
        raise nothing_held(symbol.upper())
    if check and differing:
        raise DiscrepancyError(f"{differing} candles of {symbol.upper()} differ from what bronze gives.")


def _check_order(start: datetime, end: datetime) -> None:
    if start >= end:
        raise ConfigError(f"--to {end:%Y-%m-%dT%H:%MZ} is not after --from {start:%Y-%m-%dT%H:%MZ}.")


def nothing_held(symbol: str) -> ConfigError:
    """Return the error of a command that found no candles to work on."""
    return ConfigError(f"The lake holds no candles of {symbol} in this range; `tapehouse backfill` brings its trades.")
