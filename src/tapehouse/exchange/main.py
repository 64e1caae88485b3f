"""`tapehouse exchange`: choose a tape, serve it until stopped."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tapehouse.errors import ConfigError
from tapehouse.exchange.archives import Archives
from tapehouse.exchange.context.routes import COINGECKO, FEAR_GREED, FEEDS, NEWSAPI, context_routes
from tapehouse.exchange.context.stories import OUTLETS
from tapehouse.exchange.control import control_routes
from tapehouse.exchange.faults import Faults, parse_faults
from tapehouse.exchange.floor import Floor, Pace
from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
from tapehouse.exchange.limits import Weights
from tapehouse.exchange.rest import RestApi
from tapehouse.exchange.server import listen, serving
from tapehouse.exchange.sockets import SocketRules
from tapehouse.exchange.tapes import TradeTape
from tapehouse.market.windows import SECOND


@dataclass(frozen=True, kw_only=True)
class ExchangeOptions:
    """What to serve and how; every default makes a small seeded market at real time.

    Tape: `recordings` (files) or `lake` (its root, with ISO days `dates`) where given, else the generator: `seed`,
    `symbols` (how many, or their names), `rate` (trades a second over all), `history` (seconds of trades before now,
    or before `begins_at`), `quiet` (part of the minutes of small symbols without a trade), `bursts` (part of the
    minutes with one), `surges` (one minute of so many of a symbol; 0: none), `on_break` (listed, not trading).
    `shift_to_now` moves recorded times so that the tape begins now.

    Pace: `speed` times real time, None or 0 as fast as it is read. `holds` waits for `play()` or
    `POST /_exchange/play`; a tape with an end, or one that is not at real time, waits for its first listener anyhow.
    `begins_at` (microseconds) is where the generator's playhead starts instead of now.

    Rules: `weight_limit` a minute, `historical_trades` False as on data-api.binance.vision, `socket_rules`.
    `faults` are `name=value` as in `FaultSettings`.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    symbols: int | str | Sequence[str] = 3
    rate: float = 100.0
    history: float = 3600.0
    quiet: float = 0.1
    bursts: float = 0.3
    surges: int = 0
    on_break: Sequence[str] = ()
    begins_at: int | None = None
    recordings: Sequence[Path] = ()
    lake: str | None = None
    dates: Sequence[str] = ()
    shift_to_now: bool = False
    speed: float | None = 1.0
    holds: bool = False
    faults: Sequence[str] = ()
    weight_limit: int = 6000
    historical_trades: bool = True
    socket_rules: SocketRules = field(default_factory=SocketRules)


class RunningExchange:
    """An exchange that answers: its addresses and those of the upstreams beside it, its tape, its faults."""

    def __init__(self, floor: Floor, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.ws_url = f"ws://{shown}:{port}"
        self.rest_url = f"http://{shown}:{port}"
        self.coingecko_url = self.rest_url + COINGECKO
        self.fear_greed_url = self.rest_url + FEAR_GREED
        self.newsapi_url = self.rest_url + NEWSAPI
        self.feed_urls = tuple(f"{self.rest_url}{FEEDS}/{name}" for name in OUTLETS)
        self.port = port
        self.floor = floor
        self.tape: TradeTape = floor.tape
        self.faults = floor.faults
        self.context_faults = floor.context_faults

    @property
    def playhead(self) -> int:
        """The time up to which trades have been told (microseconds)."""
        return self.floor.playback.playhead

    def play(self) -> None:
        """Let a tape that waits begin."""
        self.floor.play()

    def cut(self) -> int:
        """Drop every stream connection and return how many there were."""
        return self.floor.cut()

    def announce_shutdown(self) -> None:
        """Tell every client to connect anew."""
        self.floor.announce_shutdown()

    async def over(self) -> None:
        """Wait until the whole tape has been told."""
        await self.floor.playback.is_over.wait()


@contextlib.asynccontextmanager
async def running_exchange(
    options: ExchangeOptions | None = None, *, tape: TradeTape | None = None
) -> AsyncIterator[RunningExchange]:
    """Serve an exchange in this process while the context lasts; `tape` takes the place of the one in the options."""
    options = options or ExchangeOptions()
    chosen = await asyncio.to_thread(choose_tape, options, _now()) if tape is None else tape
    faults = Faults(parse_faults(options.faults), options.seed)
    floor = Floor(chosen, choose_pace(options, chosen, _now()), faults)  # now anew: making the tape took a while
    rest = RestApi(
        floor.market,
        floor.faults,
        Weights(options.weight_limit),
        has_historical_trades=options.historical_trades,
    )
    listener = listen(options.host, options.port)
    exchange = RunningExchange(floor, options.host, listener.getsockname()[1])
    with Archives(floor.market) as archives:
        context = context_routes(floor.market, floor.context_faults, options.seed)
        routes = [*rest.routes(), *archives.routes(), *context, *control_routes(floor)]
        async with serving(floor, routes, options.socket_rules, listener), _playing(floor):
            yield exchange


@contextlib.asynccontextmanager
async def _playing(floor: Floor) -> AsyncIterator[None]:
    """Play beside the body; what goes wrong with the tape goes wrong here."""
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(floor.run())
        yield
        playing.cancel()


def _now() -> int:
    return time.time_ns() // 1000


def choose_tape(options: ExchangeOptions, now: int) -> TradeTape:
    """Return the tape the options name; `now` is microseconds since 1970 UTC."""
    if options.recordings and options.lake:
        raise ConfigError("one tape at a time: recordings or the lake")
    if options.recordings:
        from tapehouse.exchange.recordings import read_recordings  # noqa: PLC0415  # rarely needed

        return read_recordings(options.recordings, begins_at=now if options.shift_to_now else None)
    if options.lake:
        from tapehouse.exchange.lake_tape import read_lake  # noqa: PLC0415  # rarely needed
        from tapehouse.lake.delta import DeltaLake  # noqa: PLC0415  # rarely needed

        return read_lake(DeltaLake(options.lake), options.dates, begins_at=now if options.shift_to_now else None)
    return _generated(options, now)


def _generated(options: ExchangeOptions, now: int) -> GeneratedTape:
    begins_at = now if options.begins_at is None else options.begins_at
    return GeneratedTape(
        GeneratorOptions(
            seed=options.seed,
            symbols=options.symbols,
            rate=options.rate,
            starts_at=begins_at - int(options.history * SECOND),
            quiet=options.quiet,
            bursts=options.bursts,
            surges=options.surges,
            on_break=options.on_break,
        )
    )


def choose_pace(options: ExchangeOptions, tape: TradeTape, now: int) -> Pace:
    """Return how the tape is played: an endless one from now, one with an end from its beginning."""
    speed = options.speed or None
    if speed is not None and speed < 0:
        raise ConfigError(f"a speed of {speed}: give 0 (as fast as it is read) or more")
    if tape.ends_at is not None:
        pace = Pace(tape.starts_at, speed, waits=True)
    else:
        begins_at = now if options.begins_at is None else options.begins_at
        pace = Pace(begins_at, speed, waits=speed != 1.0 or options.begins_at is not None)
    return replace(pace, holds=options.holds)


async def serve(options: ExchangeOptions) -> None:
    """Serve until cancelled, or until SIGINT or SIGTERM; print the addresses."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with running_exchange(options) as exchange:
            sys.stdout.write(_greeting(options, exchange))
            sys.stdout.flush()
            await stopped.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _greeting(options: ExchangeOptions, exchange: RunningExchange) -> str:
    pace = "as fast as it is read" if not options.speed else f"{options.speed:g}x"
    return (
        f"Exchange in the box: {len(exchange.tape.pairs)} symbols, {exchange.tape.rate:g} trades/s, {pace}\n"
        f"  streams  {exchange.ws_url}\n"
        f"  REST     {exchange.rest_url}\n"
        f"  control  {exchange.rest_url}/_exchange\n"
    )
