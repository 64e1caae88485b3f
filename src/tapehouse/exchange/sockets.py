"""One WebSocket connection: handshake and control frames by `websockets`, the streams written as ready bytes.

Keeps the exchange's rules: a ping every 20 s and a pong within a minute, five messages a second, 1024 streams, 24 h.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from tapehouse.exchange.audience import Audience
from tapehouse.exchange.faults import Faults
from tapehouse.exchange.messages import combined_text, frame_of
from tapehouse.exchange.streams import Subscription, View

_POLICY_VIOLATION = 1008
_GOING_AWAY = 1001


@dataclass(frozen=True)
class SocketRules:
    """What the exchange allows of a connection; seconds, messages a second, bytes."""

    ping_every: float = 20.0
    pong_within: float = 60.0
    lifetime: float = 24 * 3600.0
    messages_a_second: int = 5
    most_unread: int = 64 * 1024 * 1024


class StreamSocket(asyncio.Protocol):
    """A client's connection; uvicorn hands it over when a request asks for an upgrade."""

    def __init__(self, audience: Audience, faults: Faults, rules: SocketRules, server_state: Any) -> None:
        self._audience = audience
        self._faults = faults
        self._rules = rules
        self._server_state = server_state
        self._protocol = ServerProtocol(max_size=1024 * 1024)
        self._subscription = Subscription("/ws")
        self._line = faults.line()
        self._received: deque[float] = deque(maxlen=rules.messages_a_second)
        self._timers: list[asyncio.TimerHandle] = []
        self._ponged_at = 0.0
        self._drained = asyncio.Event()
        self._drained.set()
        self._transport: asyncio.Transport

    @property
    def view(self) -> View:
        """What it is sent."""
        return self._subscription.view

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over."""
        self._transport = transport  # type: ignore[assignment]  # a TCP connection
        self._transport.set_write_buffer_limits(high=4 * 1024 * 1024, low=1024 * 1024)
        self._server_state.connections.add(self)

    def data_received(self, received: bytes) -> None:
        """Take in what the client sent."""
        self._protocol.receive_data(received)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._accept(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def eof_received(self) -> None:
        """Take note that the client sends no more."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._audience.leave(self)
        self._server_state.connections.discard(self)
        self._drained.set()

    def pause_writing(self) -> None:
        """Wait: the client reads slower than it is written to."""
        self._drained.clear()

    def resume_writing(self) -> None:
        """Go on: the client has caught up."""
        self._drained.set()

    def shutdown(self) -> None:
        """Say good-bye: the server stops."""
        self.close(_GOING_AWAY, "")
        self._transport.close()

    # What the audience calls.

    def send(self, frames: bytes) -> None:
        """Send whole frames; a client that does not read is cut."""
        if self._transport.is_closing() or self._protocol.state is not OPEN:
            return
        if self._transport.get_write_buffer_size() > self._rules.most_unread:
            self._faults.counts["slow_client_cut"] += 1
            self.cut()
            return
        self._transport.write(frames)

    def send_spoiled(self, messages: Sequence[str]) -> None:
        """Send messages with the faults in force."""
        delivery = self._line.deliver(messages)
        if delivery.now:
            self.send(b"".join(delivery.now))
        loop = asyncio.get_running_loop()
        for seconds, frame in delivery.later:
            loop.call_later(seconds, self.send, frame)
        if delivery.cut:
            self.cut()

    async def drained(self, within: float) -> None:
        """Wait until the client has read most of what it was sent; cut it when it takes too long."""
        try:
            async with asyncio.timeout(within):
                await self._drained.wait()
        except TimeoutError:
            self._faults.counts["slow_client_cut"] += 1
            self.cut()

    def announce_shutdown(self, event_at: int) -> None:
        """Send the event that tells clients to connect anew."""
        message = f'{{"e":"serverShutdown","E":{event_at}}}'
        wrapped = combined_text("!serverShutdown", message) if self._subscription.combined else message
        self.send(frame_of(wrapped.encode()))

    def cut(self) -> None:
        """Drop the TCP connection without a word."""
        self._transport.abort()

    def close(self, code: int, reason: str) -> None:
        """Close as the protocol has it."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            self._flush()

    def _accept(self, request: Request) -> None:
        if refusal := self._faults.refused("streams"):
            response = self._protocol.reject(HTTPStatus(refusal.status), "refused\n")
            if refusal.retry_after is not None:
                response.headers["Retry-After"] = str(refusal.retry_after)
            self._protocol.send_response(response)
            return
        self._subscription = Subscription(request.path)
        if not request.path.startswith(("/ws", "/stream")):
            self._protocol.send_response(self._protocol.reject(HTTPStatus.NOT_FOUND, ""))
            return
        self._protocol.send_response(self._protocol.accept(request))
        if self._protocol.state is OPEN:
            self._begin()

    def _begin(self) -> None:
        self._flush()
        if self._subscription.is_too_large:
            self.close(_POLICY_VIOLATION, "Too many streams")
            return
        self._audience.join(self)
        loop = asyncio.get_running_loop()
        self._ponged_at = time.monotonic()
        self._timers = [
            loop.call_later(self._rules.ping_every, self._ping),
            loop.call_later(self._rules.lifetime, self.close, _GOING_AWAY, "24 hours"),
        ]

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._ponged_at = time.monotonic()
        if frame.opcode in (Opcode.TEXT, Opcode.PING, Opcode.PONG) and self._is_too_fast():
            self._faults.counts["talkative_client_closed"] += 1
            self.close(_POLICY_VIOLATION, "Too many requests")
        elif frame.opcode is Opcode.TEXT:
            reply = self._subscription.answer(bytes(frame.data))
            self._protocol.send_text(reply.encode())
            self._audience.look(self)

    def _is_too_fast(self) -> bool:
        now = time.monotonic()
        too_fast = len(self._received) == self._rules.messages_a_second and now - self._received[0] < 1
        self._received.append(now)
        return too_fast

    def _ping(self) -> None:
        if time.monotonic() - self._ponged_at > self._rules.pong_within:
            self._faults.counts["pong_missed"] += 1
            self.close(_POLICY_VIOLATION, "Pong timeout")
            return
        if self._protocol.state is OPEN:
            self._protocol.send_ping(str(int(time.time() * 1000)).encode())
            self._flush()
            self._timers[0] = asyncio.get_running_loop().call_later(self._rules.ping_every, self._ping)

    def _flush(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._transport.write(piece)
            else:
                self._transport.close()
        if self._protocol.close_expected() and self._protocol.state is not OPEN:
            self._transport.close()
