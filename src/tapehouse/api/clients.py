"""One listener and its bounded outbox: who reads too slowly is told, and in the end let go (law 8)."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection

from starlette.websockets import WebSocket, WebSocketDisconnect

from tapehouse import telemetry
from tapehouse.api.messages import Subscribe

MOST_WAITING = 256
MOST_CHARACTERS = 2_000_000
"""What an outbox holds at most, in messages and in characters."""
LONGEST_SEND = 20.0
"""Seconds a client may take to read before it is cut."""
LONGEST_GOODBYE = 5.0
"""Seconds a client that is cut has to begin to read, and so to learn why."""
TOO_SLOW = 4008

CatchUp = Callable[["Client", int], None]
"""Sends a client where things stand; gets how many messages were skipped."""


class Client:
    """A listener of the live socket.

    Once its outbox is full, nothing is put there until it is empty; then `catch_up` says where things stand.
    """

    def __init__(self, socket: WebSocket, catch_up: CatchUp) -> None:
        self.wanted = Subscribe(symbols=(), channels=())
        self._socket = socket
        self._catch_up = catch_up
        self._outbox: deque[str] = deque()
        self._characters = 0
        self._skipped = 0
        self._behind = False
        self._held = False
        self._missed = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def hold(self, wanted: Subscribe) -> None:
        """Change what is wanted; until `release`, what happens is only remembered as having happened."""
        self.wanted = wanted
        self._held = True
        self._behind = False
        self._missed = False
        self._skipped = 0
        self._outbox.clear()
        self._characters = 0

    def release(self, snapshot: str) -> None:
        """Send the snapshot, and after it what happened since it was asked for."""
        self._held = False
        self.send(snapshot)
        self._behind = self._missed

    def offer(self, message: str) -> None:
        """Put a message about the market into the outbox, or note that it was skipped."""
        if self._held:
            self._missed = True
        elif self._behind:
            self._skipped += 1
        elif len(self._outbox) >= MOST_WAITING or self._characters + len(message) > MOST_CHARACTERS:
            self.fall_behind(1)
        else:
            self.send(message)

    def fall_behind(self, skipped: int) -> None:
        """Drop what waits; the client is told how much was skipped, besides `skipped`, and where things stand."""
        if self._held:
            self._missed = True
            return
        self._skipped += len(self._outbox) + skipped
        self._outbox.clear()
        self._characters = 0
        self._behind = True
        self._wake.set()

    def send(self, message: str) -> None:
        """Put an answer to the client itself into the outbox: never skipped, as each answers one message of its own."""
        self._outbox.append(message)
        self._characters += len(message)
        self._idle.clear()
        self._wake.set()

    async def written(self) -> None:
        """Wait until everything was sent that was put into the outbox."""
        await self._idle.wait()

    async def write(self) -> None:
        """Send what is in the outbox for as long as the client is there."""
        while True:
            await self._wake.wait()
            message = self._next()
            if message is None:
                self._wake.clear()
                self._idle.set()
                continue
            try:
                await asyncio.wait_for(self._socket.send_text(message), LONGEST_SEND)
            except TimeoutError:
                await self._cut()
                raise WebSocketDisconnect(TOO_SLOW) from None

    async def _cut(self) -> None:
        """Say why and leave; who does not even read that is left without a word."""
        with contextlib.suppress(TimeoutError):
            closing = self._socket.close(TOO_SLOW, f"nothing read for {LONGEST_SEND:.0f} s")
            await asyncio.wait_for(closing, LONGEST_GOODBYE)

    def _next(self) -> str | None:
        if self._outbox:
            message = self._outbox.popleft()
            self._characters -= len(message)
            return message
        if not self._behind:
            return None
        skipped, self._skipped, self._behind = self._skipped, 0, False
        telemetry.client_messages_dropped.inc(skipped)
        self._catch_up(self, skipped)
        return self._next()


def offer(clients: Collection[Client], message: str) -> None:
    """Offer one message to clients."""
    for client in clients:
        client.offer(message)
