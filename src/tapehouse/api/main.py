"""The API as one app, and the server that runs it inside the platform's own loop."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import Depends, FastAPI
from starlette.routing import WebSocketRoute

import tapehouse
from tapehouse.api import analytics_routes, context_routes, health, page, problems, routes, signal_routes
from tapehouse.api.context_queries import ContextQueries
from tapehouse.api.head import AnswersHead
from tapehouse.api.live import LiveSocket
from tapehouse.api.queries import Queries
from tapehouse.api.reads import Reads
from tapehouse.api.security import Guard
from tapehouse.api.signal_queries import SignalQueries
from tapehouse.errors import ConfigError
from tapehouse.ports import Lake
from tapehouse.settings import Settings
from tapehouse.streaming.view import LiveView
from tapehouse.warehouse.project import docs_page

MOST_CONNECTIONS = 4096
LARGEST_CLIENT_MESSAGE = 16 * 1024
SECONDS_TO_CLOSE = 2

Sources = Callable[[], Iterable[health.SourceStatus]]
"""Gives what every source says of itself now."""

DESCRIPTION = """\
Trades and candles that can be proved complete and exact.

Times are ISO 8601 in UTC. Lists are newest last. Decimals are JSON numbers with every digit the exchange gave and no
trailing zeros: read them with a decimal parser. Errors are problem details (RFC 9457): `title` says what, `detail`
what to do.

Live data comes over a WebSocket at `/live`. It greets with
`{"type": "hello", "protocol": 1, "sequence", "symbols", "bases", "intervals"}`. Send
`{"subscribe": {"symbols": ["BTCUSDT"], "interval": "1m", "channels": ["candles", "trades", "prices", "health"]}}`;
a new subscription replaces the one before. The answer is a `snapshot`; then come `candles`, `trades`, `prices` and
`health`, each with the sequence number of the state it shows. The channels `market`, `sentiment` and `news` tell the
market's context: first what is known, then what changes. The channel `signals` tells those of the symbols and of the
market as a whole; with revision 0 what an open window would say if it ended now. Decimals are strings there. A client
that reads too slowly gets a `catch_up` in place of what it missed, with `skipped_messages`; one that does not read for
20 s is closed with 4008.
"""


def create_app(view: LiveView, lake: Lake, source_status: Sources, settings: Settings) -> FastAPI:
    """Build the app over what is true now (`view`) and what is stored (`lake`)."""
    reads = Reads()
    queries = Queries(view, lake)
    pins = settings.coingecko_pins()

    def report(symbols: Iterable[str]) -> dict[str, object]:
        return health.report(health.take(view, source_status(), time.time_ns() // 1000), symbols)

    live = LiveSocket(view, queries, reads, report, pins)
    app = FastAPI(
        title="Tapehouse API",
        version=tapehouse.__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_running(live, reads),
    )
    app.include_router(routes.build_state(view, report))
    for answering in (
        routes.build(view, queries, reads),
        analytics_routes.build(view, queries, reads),
        context_routes.build(view, ContextQueries(view.context, lake, pins), reads),
        signal_routes.build(view, SignalQueries(view.signals, lake), reads),
    ):
        app.include_router(answering, dependencies=[Depends(routes.require_begun(view))])
    app.router.routes.append(WebSocketRoute("/live", live.serve))
    page.register(app, docs_page(settings))
    problems.register(app)
    app.add_middleware(AnswersHead)
    app.add_middleware(Guard, allowed_hosts=(settings.api_host, *settings.api_allowed_hosts))
    return app


def _running(live: LiveSocket, reads: Reads) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        telling = asyncio.create_task(live.run())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.wait({telling})
            reads.close()

    return lifespan


async def serve(app: FastAPI, host: str, port: int, on_ready: Callable[[str, int], None]) -> None:
    """Serve until cancelled; `on_ready` gets the host and the port in use once connections are taken.

    Raise ConfigError when the address cannot be listened on. Signals are left to the caller.
    """
    listening = _listen(host, port)
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
        ws_max_size=LARGEST_CLIENT_MESSAGE,
        ws_per_message_deflate=False,  # a message is encoded once for all clients
    )
    server = _Server(config, lambda: on_ready(host, listening.getsockname()[1]))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.wait({serving})
        listening.close()


class _Server(uvicorn.Server):
    """A server that leaves signals alone and tells when it is ready."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        what_to_do = "Set TAPEHOUSE_API_HOST, or TAPEHOUSE_API_PORT or --port."
        text = f"Cannot listen on {host}:{port}: {error.strerror}. {what_to_do}"
        raise ConfigError(text) from None
