"""Binance as a source: live streams over as many connections as it takes, repair and klines over REST."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence

import structlog

from tapehouse import telemetry
from tapehouse.catalog import VENUE
from tapehouse.errors import RateLimitedError, UpstreamError
from tapehouse.ports import Batch, Hole, Tape
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.budget import Budget, budget_file
from tapehouse.producers.binance.clock import measure_offset
from tapehouse.producers.binance.dial import Backoff, Dialer
from tapehouse.producers.binance.endpoints import Endpoints
from tapehouse.producers.binance.history import history, kline_pages
from tapehouse.producers.binance.repair import Repairs
from tapehouse.producers.binance.rest import BinanceRest, ExchangeInfo
from tapehouse.producers.binance.status import SourceStatus
from tapehouse.producers.binance.stream import SYMBOLS_PER_CONNECTION, Pace, Shard
from tapehouse.producers.binance.symbols import doubts, fitting, named, patterns
from tapehouse.settings import Settings

SYMBOLS_EVERY = 3600.0
"""Seconds between two looks at the exchange's list: a new pair that fits a pattern is followed from then on."""
REST_BACKOFF = Backoff(first=2.0, longest=60.0)
KLINES_PATIENCE = 120.0
"""Seconds a request for klines waits for the budget: verification has time."""

log = structlog.get_logger(__name__)


class BinanceSource:
    """The source `binance` (see `ports.Source`); close it when it is done with.

    `floor` (microseconds) is the earliest arrival time it will tell: that of the last committed message.
    """

    name = VENUE

    def __init__(self, settings: Settings, *, floor: int = 0, pace: Pace | None = None) -> None:
        self._wanted = settings.symbols
        self._pace = pace or Pace()
        self._clock = ArrivalClock(floor)
        self._budget = Budget(budget_file(settings.state, settings.binance_rest_url))
        self._streams = Endpoints(settings.binance_ws_url)
        self._rest = BinanceRest(Endpoints(settings.binance_rest_url), self._budget)
        self._dialer = Dialer(self._streams, self._budget, self._clock)
        self._repairs = Repairs(self._rest, self._clock)
        self._shards: list[Shard] = []
        self._clock_offset: float | None = None
        self._notes: tuple[str, ...] = ()

    async def run(self, tape: Tape) -> None:
        """Deliver until cancelled; named symbols at once, those of a pattern when the exchange has listed them."""
        self._shards.clear()
        async with asyncio.TaskGroup() as group:
            self._follow(named(self._wanted), group, tape)
            group.create_task(self._keep_symbols(group, tape), name="binance symbols")
            group.create_task(self._keep_clock(), name="binance clock")

    async def repair(self, hole: Hole, tape: Tape) -> bool | None:
        """Deliver the trades of a hole; True when the exchange gave all of them, else see `repairs_wait`.

        False when it answered and does not have all, None when it could not be asked now.
        """
        return await self._repairs.repair(hole, tape)

    @property
    def repairs_wait(self) -> float:
        """Seconds until another repair makes sense (a ban, a spent budget, an exchange that lags); 0.0 when it does."""
        return self._repairs.wait

    async def klines(self, symbol: str, start: int, end: int) -> list[bytes]:
        """Return the exchange's 1m klines that open in [start, end) (microseconds), as the rows it sent.

        Raise UpstreamError when it does not answer.
        """

        def ask(first: int, last: int) -> Awaitable[list[bytes]]:
            return self._rest.klines(symbol, "1m", first, last, patience=KLINES_PATIENCE)

        return [row async for page in kline_pages(ask, symbol, start, end) for row in page]

    def history(self, symbol: str, start: int, end: int) -> AsyncIterator[tuple[Batch, int]]:
        """Yield what happened in [start, end) (microseconds) as batches, each with how far it comes.

        Raise UpstreamError when the exchange does not answer.
        """
        return history(self._rest, self._clock, symbol, start, end)

    async def close(self) -> None:
        """Let the REST connections go; the source cannot be used afterwards."""
        await self._rest.close()

    def status(self) -> SourceStatus:
        """Return the state of everything, now."""
        connections = tuple(shard.status() for shard in self._shards)
        usage = self._budget.usage(time.time())
        return SourceStatus(
            name=self.name,
            connections=connections,
            symbols=sum(connection.symbols for connection in connections),
            stalled=tuple(symbol for connection in connections for symbol in connection.stalled),
            stream_endpoint=self._streams.in_use,
            rest_endpoint=self._rest.endpoints.in_use,
            clock_offset=self._clock_offset,
            weight_used=usage.weight,
            weight_limit=usage.weight_limit,
            repairs_wait_for=self.repairs_wait,
            last_error=next((each.last_error for each in connections if not each.connected and each.last_error), ""),
            notes=self._notes,
        )

    def _follow(self, symbols: Sequence[str], group: asyncio.TaskGroup, tape: Tape) -> None:
        for start in range(0, len(symbols), SYMBOLS_PER_CONNECTION):
            name = f"{self.name}-{len(self._shards) + 1}"
            shard = Shard(name, symbols[start : start + SYMBOLS_PER_CONNECTION], self._dialer, self._clock, self._pace)
            self._shards.append(shard)
            group.create_task(shard.run(tape), name=name)

    async def _keep_symbols(self, group: asyncio.TaskGroup, tape: Tape) -> None:
        while True:
            await self._look_at_symbols(group, tape)
            await asyncio.sleep(SYMBOLS_EVERY)

    async def _look_at_symbols(self, group: asyncio.TaskGroup, tape: Tape) -> None:
        """Follow what has come to fit a pattern, and put on the tape what the exchange says of all it follows."""
        exchange = await self._ask_for_symbols()
        self._tell(doubts(self._wanted, exchange))
        followed = {symbol for shard in self._shards for symbol in shard.symbols}
        self._follow([each for each in fitting(self._wanted, exchange) if each not in followed], group, tape)
        entries = exchange.entries({symbol for shard in self._shards for symbol in shard.symbols})
        if entries:
            await tape.append(Batch(entries, [self._clock.now()] * len(entries), "symbols", self.name))

    async def _ask_for_symbols(self) -> ExchangeInfo:
        failures = 0
        while True:
            try:
                return await self._rest.exchange_info()
            except UpstreamError as error:
                failures += 1
                wait = _wait_after(error, failures)
                held_up = ", ".join(patterns(self._wanted)) or "nothing; the symbols named are followed unchecked"
                self._tell((f"the list of symbols is not to be had ({error}); this holds up {held_up}",))
                await asyncio.sleep(wait)

    async def _keep_clock(self) -> None:
        failures = 0
        while True:
            try:
                offset = await measure_offset(self._rest)
            except UpstreamError as error:
                failures += 1
                log.info("clock_offset_unknown", error=str(error))
                await asyncio.sleep(_wait_after(error, failures))
            else:
                failures = 0
                self._clock_offset = offset.seconds
                telemetry.clock_offset.labels(self.name).set(offset.seconds)
                await asyncio.sleep(offset.good_for)

    def _tell(self, notes: tuple[str, ...]) -> None:
        for note in notes:
            if note not in self._notes:
                log.warning("symbols", note=note)
        self._notes = notes


def _wait_after(error: UpstreamError, failures: int) -> float:
    least = error.retry_after if isinstance(error, RateLimitedError) else 0.0
    return least + REST_BACKOFF.wait(failures)
