"""The live socket `/live`: a greeting, a subscription, its snapshot, and from then on what changes."""

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from tapehouse import telemetry
from tapehouse.api import messages
from tapehouse.api.asked import known
from tapehouse.api.audience import Audience
from tapehouse.api.broadcast import Broadcast, Report
from tapehouse.api.clients import Client
from tapehouse.api.messages import Subscribe
from tapehouse.api.problems import ProblemError
from tapehouse.api.queries import Queries
from tapehouse.api.reads import Reads
from tapehouse.api.standing import Standing
from tapehouse.errors import TapehouseError
from tapehouse.streaming.view import LiveView

MOST_CLIENTS = 1000
MOST_MISTAKES = 20
_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013


class LiveSocket:
    """Serves clients of `/live`; `run` has to run meanwhile."""

    def __init__(self, view: LiveView, queries: Queries, reads: Reads, report: Report, pins: Mapping[str, str]) -> None:
        self._view = view
        self._reads = reads
        self._standing = Standing(view, queries, pins)
        self._audience = Audience()
        self._broadcast = Broadcast(view, self._standing, report, self._audience, pins)

    async def run(self) -> None:
        """Tell the clients what happens until cancelled."""
        await self._broadcast.run()

    async def serve(self, socket: WebSocket) -> None:
        """Serve one client for as long as it is there."""
        await socket.accept()
        if len(self._audience) >= MOST_CLIENTS:
            await socket.close(_TRY_AGAIN_LATER, f"{MOST_CLIENTS} clients are connected already")
            return
        client = Client(socket, self._catch_up)
        self._audience.place(client)
        telemetry.live_clients.set(len(self._audience))
        try:
            await self._converse(socket, client)
        finally:
            self._audience.remove(client)
            telemetry.live_clients.set(len(self._audience))

    async def _converse(self, socket: WebSocket, client: Client) -> None:
        client.send(messages.hello(self._view.symbols(), self._view.sequence))
        ways = {asyncio.create_task(client.write()), asyncio.create_task(self._listen(socket, client))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)
        for way in ways:  # both may have met the end of the connection
            with contextlib.suppress(WebSocketDisconnect, asyncio.CancelledError):
                way.result()

    async def _listen(self, socket: WebSocket, client: Client) -> None:
        for _ in range(MOST_MISTAKES):
            mistake = await self._obey(socket, client)
            client.send(messages.error("unusable message", str(mistake)))
        await socket.close(_POLICY_VIOLATION, f"{MOST_MISTAKES} unusable messages")

    async def _obey(self, socket: WebSocket, client: Client) -> Exception:
        """Do what the client says until it says something unusable; return what was wrong with it."""
        while True:
            received = await socket.receive()
            try:
                wanted = self._read(received)
            except (msgspec.DecodeError, ProblemError) as mistake:
                return mistake
            await self._subscribe(client, wanted)
            await client.written()

    def _read(self, received: Message) -> Subscribe:
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        text = received.get("text")
        if text is None:
            raise msgspec.DecodeError("This socket takes JSON as text, not binary messages.")
        wanted = messages.read_command(text)
        symbols = self._view.symbols()
        return msgspec.structs.replace(wanted, symbols=tuple(known(symbol, symbols) for symbol in wanted.symbols))

    async def _subscribe(self, client: Client, wanted: Subscribe) -> None:
        client.hold(wanted)
        self._audience.place(client)
        try:
            snapshot = await self._reads.run(self._standing.snapshot, wanted)
        except (ProblemError, TapehouseError) as trouble:
            client.send(messages.error("no history", f"{trouble} The snapshot has what memory holds."))
            snapshot = self._standing.lately("snapshot", wanted)
        client.release(snapshot)
        self._tell_state(client)

    def _catch_up(self, client: Client, skipped: int) -> None:
        client.send(self._standing.lately("catch_up", client.wanted, skipped))
        self._tell_state(client)

    def _tell_state(self, client: Client) -> None:
        """Send what is told whole and at its own pace, once out of turn."""
        if "prices" in client.wanted.channels:
            client.send(self._standing.prices(self._view.symbols()))
        if "health" in client.wanted.channels:
            client.send(self._broadcast.health(client.wanted.symbols))
        for message in self._standing.context(client.wanted):
            client.send(message)
