"""One port for both: uvicorn speaks HTTP and hands a connection over when it asks to become a WebSocket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tapehouse.errors import ConfigError
from tapehouse.exchange.floor import Floor
from tapehouse.exchange.sockets import SocketRules, StreamSocket

_STOPS_WITHIN = 3


class _Server(uvicorn.Server):
    """Signals belong to the program, not to one server in it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raise ConfigError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    listener.listen(512)
    return listener


@contextlib.asynccontextmanager
async def serving(
    floor: Floor, routes: Sequence[BaseRoute], rules: SocketRules, listener: socket.socket
) -> AsyncIterator[None]:
    """Serve the floor's streams and the routes on the listener until left."""

    def stream_socket(*, config: object, server_state: Any, app_state: object) -> StreamSocket:  # noqa: ARG001  # uvicorn's call
        return StreamSocket(floor.audience, floor.faults, rules, server_state)

    config = uvicorn.Config(
        Starlette(routes=list(routes), exception_handlers={404: _not_found}),
        http="h11",
        ws=stream_socket,  # type: ignore[arg-type]  # anything that makes a protocol
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOPS_WITHIN,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
        listener.close()


async def _not_found(_request: Request, _error: Exception) -> Response:
    return Response("<html><body><h2>404 Not found</h2></body></html>", 404, media_type="text/html")
