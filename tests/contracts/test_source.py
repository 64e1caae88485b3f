"""What every source promises, against the exchange in the box: all that was sent arrives, whatever the network does.

A source of another upstream joins by a maker of its own in `SOURCES`.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest

from tapehouse.exchange.faults import Refusal
from tapehouse.exchange.main import ExchangeOptions, RunningExchange, running_exchange
from tapehouse.exchange.sockets import SocketRules
from tapehouse.ports import Batch, Hole, Source
from tapehouse.producers.binance.dial import Backoff
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.producers.binance.stream import Pace
from tapehouse.settings import load_settings
from tapehouse.tape.local import LocalTape

QUICK = Pace(backoff=Backoff(first=0.01, longest=0.1), overlap=0.05, first_frame_within=2.0, roll_over_jitter=0.0)
FAST = ExchangeOptions(symbols=3, rate=3000.0, history=60.0)


def binance(exchange: RunningExchange, state, pace: Pace) -> BinanceSource:
    settings = load_settings(
        symbols="*USDT", state=state, binance_ws_url=exchange.ws_url, binance_rest_url=exchange.rest_url
    )
    return BinanceSource(settings, pace=pace)


SOURCES = {"binance": binance}


@pytest.fixture(params=SOURCES.values(), ids=SOURCES.keys())
def make_source(request, tmp_path) -> Callable[..., Source]:
    return lambda exchange, pace=QUICK: request.param(exchange, tmp_path, pace)


class Follower:
    """Reads the tape as streaming would: ids held by symbol, holes between them."""

    def __init__(self) -> None:
        self.tape = LocalTape()
        self.batches: list[Batch] = []
        self.traded_at: dict[str, dict[int, int]] = defaultdict(dict)

    def read(self) -> None:
        for batch in self.tape.read(0):
            self.batches.append(batch)
            for frame in batch.frames:
                for symbol, ident, traded_at in _trades(batch, json.loads(frame)):
                    self.traded_at[symbol].setdefault(ident, traded_at)

    def holes(self) -> Iterator[Hole]:
        for symbol, held in self.traded_at.items():
            for left, right in pairwise(sorted(held)):
                if right > left + 1:
                    yield Hole(symbol, left + 1, right - 1, after=held[left] * 1000, before=held[right] * 1000)

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not (self.read() or seen()):  # noqa: ASYNC110  # a tape is polled
                await asyncio.sleep(0.01)

    async def until_more(self, trades: int) -> None:
        already = self.count
        await self.until(lambda: self.count >= already + trades)

    @property
    def count(self) -> int:
        return sum(map(len, self.traded_at.values()))


def _trades(batch: Batch, message) -> Iterator[tuple[str, int, int]]:
    match batch.shape, message:
        case "stream", {"data": {"e": "trade", "s": symbol, "t": ident, "T": traded_at}}:
            yield symbol, ident, traded_at
        case "trades", {"id": ident, "time": traded_at}:
            yield batch.symbol, ident, traded_at
        case "aggTrades", {"f": first, "l": last, "T": traded_at}:
            yield from ((batch.symbol, ident, traded_at) for ident in range(first, last + 1))


@asynccontextmanager
async def running(source: Source, follower: Follower) -> AsyncIterator[asyncio.Task]:
    task = asyncio.create_task(source.run(follower.tape))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
        await source.close()


async def test_every_message_arrives_in_order_with_the_time_it_came(make_source):
    began = time.time_ns() // 1000
    follower = Follower()
    async with running_exchange(FAST) as exchange, running(make_source(exchange), follower):
        await follower.until_more(3000)
    for held in follower.traded_at.values():
        assert list(held) == list(range(min(held), min(held) + len(held)))
    times = [at for batch in follower.batches for at in batch.received_at]
    assert times == sorted(times)
    assert began <= times[0] <= times[-1] <= time.time_ns() // 1000
    assert all(len(batch.frames) == len(batch.received_at) for batch in follower.batches)


@pytest.mark.parametrize("historical_trades", [True, False], ids=["exact rows", "aggregates"])
async def test_it_comes_back_after_cuts_and_repair_closes_what_they_left_open(make_source, historical_trades):
    follower = Follower()
    options = ExchangeOptions(symbols=3, rate=3000.0, history=60.0, historical_trades=historical_trades)
    async with running_exchange(options) as exchange:
        source = make_source(exchange)
        async with running(source, follower):
            for _ in range(4):
                await follower.until_more(500)
                exchange.cut()
            await follower.until_more(500)
            await close_holes(source, follower)
            assert list(follower.holes()) == []


async def test_messages_lost_on_the_way_are_delivered_by_repair(make_source):
    follower = Follower()
    async with running_exchange(FAST) as exchange:
        exchange.faults.set(drop=0.01, duplicate=0.05, reorder=0.02)
        source = make_source(exchange)
        async with running(source, follower):
            await follower.until_more(2000)
            exchange.faults.clear()
            await follower.until_more(500)
            assert list(follower.holes())
            await close_holes(source, follower)
            assert list(follower.holes()) == []


async def close_holes(source: Source, follower: Follower) -> None:
    async with asyncio.timeout(30):
        while holes := sorted(follower.holes(), reverse=True):
            for hole in holes:  # newest first
                await source.repair(hole, follower.tape)
            follower.read()


async def test_an_announced_shutdown_loses_nothing(make_source):
    follower = Follower()
    async with running_exchange(FAST) as exchange, running(make_source(exchange), follower):
        await follower.until_more(500)
        exchange.announce_shutdown()
        await follower.until_more(3000)
    assert list(follower.holes()) == []


async def test_rolling_over_loses_nothing(make_source):
    pace = Pace(roll_over_after=0.2, roll_over_jitter=0.0, overlap=0.05, backoff=QUICK.backoff)
    follower = Follower()
    async with running_exchange(FAST) as exchange:
        source = make_source(exchange, pace)
        async with running(source, follower):
            await follower.until_more(500)
            await follower.until(lambda: source.status().connections[0].attempts > 3)
            await follower.until_more(500)
    assert list(follower.holes()) == []


async def test_pings_are_answered_in_time(make_source):
    rules = SocketRules(ping_every=0.5, pong_within=3.0)
    options = ExchangeOptions(symbols=2, rate=300.0, history=60.0, socket_rules=rules)
    follower = Follower()
    async with running_exchange(options) as exchange:
        source = make_source(exchange)
        async with running(source, follower):
            await follower.until_more(1500)  # five seconds: a pong that stays away is missed by then
            assert source.status().connections[0].attempts == 1


async def test_repair_of_a_hole_never_raises_when_the_upstream_refuses(make_source):
    follower = Follower()
    async with running_exchange(FAST) as exchange:
        source = make_source(exchange)
        exchange.faults.refuse(Refusal(status=418, retry_after=60))
        hole = Hole("BTCUSDT", 1, 50, after=1_700_000_000_000_000, before=1_700_000_001_000_000)
        assert not await source.repair(hole, follower.tape)
        await source.close()
    assert follower.tape.read(0) == []


async def test_it_ends_when_cancelled_and_leaves_no_task(make_source):
    follower = Follower()
    async with running_exchange(FAST) as exchange:
        await asyncio.sleep(0)
        before = asyncio.all_tasks()
        async with running(make_source(exchange), follower):
            await follower.until_more(100)
        ours = [task for task in asyncio.all_tasks() - before if "producers" in str(task.get_coro())]
        assert ours == []
