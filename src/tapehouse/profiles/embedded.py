"""The embedded profile: the whole platform in one process, from wheels alone."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop
from pydantic import SecretStr

from tapehouse.api.main import create_app, serve
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.maintenance import Maintenance
from tapehouse.market.windows import DAY, MINUTE, SECOND
from tapehouse.pipeline import Parts, run
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.producers.polling import Clock
from tapehouse.profiles.process import (
    announce,
    first_error,
    give_memory_back,
    keep_memory_together,
    leave_within,
    let_go_of_the_start,
    say,
    when_told_to_stop,
)
from tapehouse.profiles.signals import detection
from tapehouse.profiles.sources import coins_with_history, polled_sources
from tapehouse.profiles.storage import open_lake, writing
from tapehouse.settings import Settings
from tapehouse.streaming.comparisons import tally
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import Recovered, recover
from tapehouse.streaming.view import LiveView
from tapehouse.tape.local import LocalTape

DEMO = Path("data/demo")
LEAVE_WITHIN = 3.0
"""Seconds from the last commit to the end of the process, whatever a client's read still waits for."""
DEMO_HOURS = 4.0
"""Hours of the past that the demo begins with: half for the baseline of signals, half in which there are some."""
HOUR = 60 * MINUTE
DEMO_RATE = 60.0
"""Trades a second of the demo, over all symbols."""
DEMO_SURGES = 60
"""Minutes of a symbol of which one is a surge there, so that there are signals to see."""
_DEMO_INTERVALS = {"coingecko_interval": 60.0, "coingecko_price_interval": 15.0, "rss_interval": 30.0}
"""Seconds between two polls there: nobody's server is asked, and something is to be seen."""


def embedded(settings: Settings, lake: DeltaLake) -> Parts:
    """Put the embedded profile together on what the lake holds: one process, wheels only."""
    recovered = recover(lake, settings.symbols, detection(settings), settings.coingecko_pins())
    clock = ArrivalClock(recovered.known_at)
    view = LiveView()
    view.context.recall(lake)
    view.signals.recall(lake)
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
    sources = settings.chosen_sources()
    source = BinanceSource(settings, floor=recovered.known_at) if "binance" in sources else None
    history_held = coins_with_history(recovered.context, clock.now())
    polled = polled_sources(settings, sources, Clock(clock.now), lambda: list(recovered.ledgers), history_held)
    told = [each for each in (source, *polled) if each is not None]
    app = create_app(view, lake, lambda: [each.status() for each in told], settings)
    return Parts(
        source=source,
        polled=polled,
        tape=LocalTape(),
        engine=engine,
        lake=lake,
        maintenance=Maintenance(lake),
        serve=lambda: serve(app, settings.api_host, settings.api_port, announce(settings)),
        now=clock.now,
        give_memory_back=give_memory_back,
        past=_past(settings, recovered, clock.now()),
    )


def _past(settings: Settings, recovered: Recovered, now: int) -> dict[str, tuple[int, int]]:
    """Return the symbols of which nothing is held, and the time from which and to which to fetch them."""
    if not settings.backfill_hours:
        return {}
    start = now - int(settings.backfill_hours * HOUR)
    return {symbol: (start, now) for symbol, ledger in recovered.ledgers.items() if not ledger.coverage.held}


def run_up(settings: Settings, *, demo: bool = False) -> None:
    """Run the platform until it is told to stop; raise what ended it otherwise."""
    keep_memory_together()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(_up(settings, demo=demo))
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors


async def _up(settings: Settings, *, demo: bool) -> None:
    stopped = when_told_to_stop()
    async with _demo(settings) if demo else contextlib.nullcontext(settings) as chosen:
        with writing(chosen):
            parts = await asyncio.to_thread(lambda: embedded(chosen, open_lake(chosen)))
            let_go_of_the_start()
            running = asyncio.create_task(run(parts))
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            running.cancel()
            try:
                await running
            except asyncio.CancelledError:
                say("Stopped; everything received is committed.")
                leave_within(LEAVE_WITHIN)


@contextlib.asynccontextmanager
async def _demo(settings: Settings) -> AsyncIterator[Settings]:
    """Give settings under which everything comes from the exchange in the box and goes to a lake of its own."""
    from tapehouse.exchange.main import ExchangeOptions, running_exchange  # noqa: PLC0415  # for the demo alone

    shutil.rmtree(DEMO, ignore_errors=True)
    options = ExchangeOptions(
        symbols=_named(settings), rate=DEMO_RATE, history=DEMO_HOURS * HOUR / SECOND, surges=DEMO_SURGES
    )
    async with running_exchange(options) as exchange:
        say(f"The exchange in the box plays made-up trades at {exchange.rest_url}")
        yield settings.model_copy(
            update={
                "lake": str(DEMO / "delta"),
                "state": DEMO / "state",
                "binance_ws_url": (exchange.ws_url,),
                "binance_rest_url": (exchange.rest_url,),
                "binance_archive_url": exchange.rest_url,
                "coingecko_url": exchange.coingecko_url,
                "fear_greed_url": exchange.fear_greed_url,
                "newsapi_url": exchange.newsapi_url,
                "newsapi_key": SecretStr("demo"),
                "rss_feeds": exchange.feed_urls,
                **_DEMO_INTERVALS,
                "backfill_hours": DEMO_HOURS,
            }
        )


def _named(settings: Settings) -> tuple[str, ...]:
    return tuple(symbol for symbol in settings.symbols if not symbol.startswith("*")) or ("BTCUSDT",)
