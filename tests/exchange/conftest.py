"""A market of fixed seed and time, and small readers of its streams and REST."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tapehouse.exchange.main import ExchangeOptions, RunningExchange, running_exchange

BEGINS_AT = int(datetime(2026, 3, 5, 10, 0, 30, tzinfo=UTC).timestamp()) * 1_000_000
WITHIN = 20.0


class Reader:
    """One stream connection of the reference client."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def next(self):
        return json.loads(await asyncio.wait_for(self.socket.recv(), WITHIN))

    async def take(self, count: int, wanted: Callable = lambda _: True) -> list:
        """Read until `count` messages are as wanted, and return these."""
        found = []
        while len(found) < count:
            message = await self.next()
            if wanted(message):
                found.append(message)
        return found

    async def until_closed(self) -> list[bytes]:
        """Read raw frames until the connection ends."""
        return [frame async for frame in self.socket]

    async def command(self, method: str, *params, number=1):
        await self.socket.send(json.dumps({"method": method, "params": list(params), "id": number}))
        return (await self.take(1, lambda message: "id" in message))[0]


@asynccontextmanager
async def reading(exchange: RunningExchange, target: str) -> AsyncIterator[Reader]:
    async with connect(exchange.ws_url + target, max_size=None, max_queue=None) as socket:
        yield Reader(socket)


@asynccontextmanager
async def asking(exchange: RunningExchange) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=exchange.rest_url, timeout=WITHIN) as client:
        yield client


async def eventually(claim: Callable[[], bool]) -> None:
    """Wait until the claim holds; fail when it does not within the deadline."""
    async with asyncio.timeout(WITHIN):
        while not claim():  # noqa: ASYNC110  # any claim can be waited for
            await asyncio.sleep(0.01)


@pytest.fixture(name="begins_at")
def begins_at_fixture() -> int:
    """Where the market of `options` stands before anybody listens: half a minute past ten."""
    return BEGINS_AT


@pytest.fixture(name="reading")
def reading_fixture():
    """Open a stream connection: `async with reading(exchange, target) as reader`."""
    return reading


@pytest.fixture(name="asking")
def asking_fixture():
    """Open a REST client: `async with asking(exchange) as client`."""
    return asking


@pytest.fixture(name="eventually")
def eventually_fixture():
    """Wait until a claim holds."""
    return eventually


@pytest.fixture(name="as_stream_trades")
def as_stream_trades_fixture():
    """Turn rows of a tape into the messages they must become."""
    return as_stream_trades


@pytest.fixture(name="text")
def text_fixture():
    """Write units of 10^-8 as the exchange does."""
    return text


@pytest.fixture
async def rest(exchange: RunningExchange) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `exchange`."""
    async with asking(exchange) as client:
        yield client


@pytest.fixture
def options() -> ExchangeOptions:
    """Three symbols from a fixed moment, played as fast as they are read."""
    return ExchangeOptions(seed=7, rate=60.0, begins_at=BEGINS_AT, history=1800.0, speed=None)


@pytest.fixture
async def exchange(options: ExchangeOptions) -> AsyncIterator[RunningExchange]:
    async with running_exchange(options) as running:
        yield running


def text(units: int) -> str:
    """Units of 10^-8 as the exchange writes them, by another way than the exchange's."""
    whole = str(units).rjust(9, "0")
    return f"{whole[:-8]}.{whole[-8:]}"


def as_stream_trades(rows: pl.DataFrame) -> list[dict]:
    """The rows of a tape as the trade messages they must become."""
    return [
        {
            "e": "trade",
            "E": row["traded_at"] // 1000,
            "s": row["symbol"],
            "t": row["first_trade_id"],
            "p": text(row["price"]),
            "q": text(row["quantity"]),
            "T": row["traded_at"] // 1000,
            "m": row["buyer_is_maker"],
            "M": True,
        }
        for row in rows.iter_rows(named=True)
    ]
