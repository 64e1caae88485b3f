"""For the producers' tests: a little exchange on a real port; a clock of the test's own with a network beside it."""

import asyncio
import heapq
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tapehouse.ports import Batch
from tapehouse.producers import polled_source
from tapehouse.producers.fetching import new_client
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Clock
from tapehouse.tape.local import LocalTape

Play = Callable[[ServerConnection], Awaitable[None]]
Answer = tuple[int, dict[str, str], object]


class LittleExchange:
    """`plays` holds what each WebSocket in turn does, `refusals` what its handshake is answered with (None accepts it);
    `answers` what a REST path gives for its query.
    """

    def __init__(self) -> None:
        self.plays: list[Play] = []
        self.answers: dict[str, Callable[[dict[str, str]], Answer]] = {}
        self.refusals: list[Answer | None] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.stream_paths: list[str] = []
        self.server: Server | None = None

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return next(iter(self.server.sockets)).getsockname()[1]

    def answer(self, path: str, rows: object, **headers: str) -> None:
        self.answers[path] = lambda _query: (200, headers, rows)

    def respond(self, _connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if url.path.startswith("/api/v3/"):
            path, query = url.path.removeprefix("/api/v3/"), dict(parse_qsl(url.query))
            self.asked.append((path, query))
            known = self.answers.get(path)
            return _response(known(query) if known else (404, {}, {"code": -1, "msg": "no such path"}))
        self.stream_paths.append(request.path)
        refusal = self.refusals.pop(0) if self.refusals else None
        return _response(refusal) if refusal else None

    async def converse(self, connection: ServerConnection) -> None:
        play = self.plays.pop(0) if self.plays else _stay
        with suppress(ConnectionClosed):
            await play(connection)


def _response(answer: Answer) -> Response:
    status, headers, body = answer
    payload = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    fields = Headers({"Content-Length": str(len(payload)), "Connection": "close", **headers})
    return Response(status, HTTPStatus(status).phrase, fields, payload)


async def _stay(connection: ServerConnection) -> None:
    await connection.wait_closed()


@pytest.fixture
async def open_exchange() -> AsyncIterator[Callable[[], Awaitable[LittleExchange]]]:
    """Open as many little exchanges as a test asks for."""
    opened: list[Server] = []

    async def open_one() -> LittleExchange:
        exchange = LittleExchange()
        exchange.server = await serve(
            exchange.converse, "127.0.0.1", 0, process_request=exchange.respond, ping_interval=None, compression=None
        )
        opened.append(exchange.server)
        return exchange

    yield open_one
    for server in opened:
        server.close()
        for connection in list(server.connections):
            connection.transport.abort()
        await server.wait_closed()


@pytest.fixture
async def exchange(open_exchange: Callable[[], Awaitable[LittleExchange]]) -> LittleExchange:
    return await open_exchange()


Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


async def wait_until(true: Callable[[], bool], within: float = 20.0) -> None:
    """Poll with a deadline; the state looked at belongs to sockets and threads, so nothing can wake us."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  # polled on purpose, see above
            await asyncio.sleep(0.005)


@pytest.fixture
def eventually() -> Eventually:
    return wait_until


class Reading:
    """A tape and what was read from it, for tests that wait until something has arrived."""

    def __init__(self) -> None:
        self.tape = LocalTape()
        self.batches: list[Batch] = []

    @property
    def frames(self) -> list[bytes]:
        self.batches += self.tape.read(0)
        return [frame for batch in self.batches for frame in batch.frames]

    async def until(self, arrived: Callable[[list[bytes]], bool], within: float = 20.0) -> list[bytes]:
        await wait_until(lambda: arrived(self.frames), within)
        return self.frames


@pytest.fixture
def reading() -> Reading:
    return Reading()


def trade(ident: int, symbol: str = "BTCUSDT") -> str:
    return json.dumps(
        {
            "stream": f"{symbol.lower()}@trade",
            "data": {
                "e": "trade",
                "E": 1723161254000 + ident,
                "s": symbol,
                "t": ident,
                "p": "61700.00000000",
                "q": "0.00100000",
                "T": 1723161254000 + ident,
                "m": True,
                "M": True,
            },
        },
        separators=(",", ":"),
    )


@pytest.fixture(name="trade")
def trade_message() -> Callable[..., str]:
    return trade


MIDNIGHT = 1_700_006_400
"""Seconds; when a test's own clock begins."""


class Time:
    """A clock that stands still until everybody sleeps, and then goes on to when the first of them wakes."""

    def __init__(self) -> None:
        self.now = float(MIDNIGHT)
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._number = itertools.count()

    @property
    def clock(self) -> Clock:
        return Clock(lambda: int(self.now * 1e6), self.sleep)

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._number), woken))
        await woken.wait()

    async def run(self, source: PolledSource, tape: LocalTape, seconds: float, loops: int = 1) -> list:
        """Let a source run for so long; return the batches that came."""
        running = asyncio.create_task(source.run(tape))
        until, batches = self.now + seconds, []
        while await self._all_asleep(running, loops) and self._sleepers[0][0] <= until:
            self.now, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            batches += tape.read(0)
        self.now = until
        running.cancel()
        await asyncio.wait({running})
        self._sleepers.clear()
        await source.close()
        return batches + tape.read(0)

    async def _all_asleep(self, running: asyncio.Task, loops: int) -> bool:
        def settled() -> bool:
            return running.done() or len(self._sleepers) == loops

        for _ in range(100):  # enough where nothing but the loop works; what is split in a thread takes longer
            if settled():
                return not running.done()
            await asyncio.sleep(0)
        await wait_until(settled)
        return not running.done()


class World:
    """What the network answers, and when it was asked; `answer` may be changed while it runs."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.asked: list[tuple[float, httpx.Request]] = []
        self.answer = lambda _request: (200, {}, b"{}")

    @property
    def times(self) -> list[float]:
        return [at - MIDNIGHT for at, _ in self.asked]

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((self.time.now, request))
        answered = self.answer(request)
        if isinstance(answered, Exception):
            raise answered
        status, headers, body = answered
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(body))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def world(time: Time) -> World:
    return World(time)


@pytest.fixture
def networked(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The network that every source that is made from here on is on."""
    monkeypatch.setattr(polled_source, "new_client", lambda _transport: new_client(world.transport()))
    return world
