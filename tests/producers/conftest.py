"""A little exchange for the producers' tests: one real port that answers WebSockets and REST as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tapehouse.ports import Batch
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
