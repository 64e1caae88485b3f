"""One WebSocket connection whose data frames reach a taker in batches, as the bytes they came in, none dropped.

The callback of the socket only appends; a coroutine of the same thread swaps the list and hands it on. While the taker
makes us wait the socket is not read: the wait reaches the sender through TCP, and our memory stays bounded.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import repeat
from typing import Literal

import structlog
from picows import WSCloseCode, WSError, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from tapehouse.errors import UpstreamError
from tapehouse.ports import Batch
from tapehouse.producers.arrival import ArrivalClock

LARGEST_MESSAGE = 1024 * 1024
"""Bytes of one message, fragments put together; a larger one ends the connection (close code 1009)."""
READ_BUFFER = 256 * 1024
"""Bytes taken from the socket at once to begin with: fewer and larger reads under load."""
GATHER = 0.010
"""Least seconds between two batches while many frames come; the first after a silence goes at once."""
GATHER_QUIETLY = 0.060
"""The same while few come: waking up is then most of the work."""
FEW = 200
"""Frames a second up to which they count as few."""
LAST_BATCH_WITHIN = 0.5
"""Seconds the taker has for the last batch when we are told to stop."""
PONG_SPACING = 0.25
"""Least seconds between two pongs: Binance allows five messages a second towards it."""

Take = Callable[[Batch], Awaitable[None]]
Ending = Literal["closed", "idle"]

_TEXT = WSMsgType.TEXT

log = structlog.get_logger(__name__)


class HandshakeError(UpstreamError):
    """A WebSocket could not be opened.

    `status` is the HTTP status of the refusal, 0 when nothing answered; `retry_after` what it told, in seconds.
    """

    def __init__(self, text: str, *, status: int = 0, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


class Connection(WSListener):
    """An open WebSocket; `deliver` hands its frames on until it ends.

    `close_code` and `close_reason` are what the other side said (1006 and empty when it just went away). While the
    taker makes us wait, `is_reading` is False; `resumed_at` is when that last ended (the loop's seconds).
    """

    def __init__(self, clock: ArrivalClock) -> None:
        self.frames_received = 0
        self.pongs_sent = 0
        self.last_frame_at = 0
        self.close_code = int(WSCloseCode.ABNORMAL_CLOSURE.value)
        self.close_reason = ""
        self.started = asyncio.Event()
        self._clock = clock
        self._handed_at = 0.0
        self._next_at = 0.0
        self._frames: list[bytes] = []
        self._append = self._frames.append
        self._received_at: list[int] = []
        self._binary: list[int] = []
        self._fragments: list[bytes] | None = None
        self._fragments_are_binary = False
        self._arrived = asyncio.Event()
        self._ended = False
        self._handing_over = False
        self.is_reading = True
        self.resumed_at = -math.inf
        self._abandoned = False
        self._transport: WSTransport | None = None
        self._unanswered_pings: deque[bytes] = deque(maxlen=1)
        self._pong_due: asyncio.TimerHandle | None = None

    async def deliver(self, take: Take, *, idle_after: float) -> Ending:
        """Hand every frame on in order until the connection ends, or no frame came for `idle_after` seconds.

        When cancelled, what was received is handed on first, if the taker has room for it.
        """
        try:
            return await self._deliver(take, idle_after)
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_BATCH_WITHIN):
                    await self._hand_over(take)
            raise

    async def _deliver(self, take: Take, idle_after: float) -> Ending:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(idle_after):
                    await self._arrived.wait()
            except TimeoutError:
                return "idle"
            if not self._ended and (wait := self._next_at - loop.time()) > 0:
                await asyncio.sleep(wait)
            came, since = len(self._frames), self._handed_at
            await self._hand_over(take)
            self._handed_at = loop.time()
            few = came < FEW * (self._handed_at - since)
            self._next_at = self._handed_at + (GATHER_QUIETLY if few else GATHER)
            if self._ended and not self._frames:
                return "closed"

    def close(self) -> None:
        """Say goodbye and stop receiving; what was received is still delivered."""
        if self._transport is not None:
            self._leave(self._transport, WSCloseCode.OK)

    def abort(self) -> None:
        """Drop the connection without a word, also one whose handshake is still under way."""
        self._abandoned = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Keep the transport, unless nobody waits for this connection any more."""
        self._transport = transport
        if self._abandoned:
            transport.disconnect(graceful=False)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Append a data frame; this runs for every message, so it does nothing else."""
        if frame.msg_type is _TEXT and frame.fin:
            self._append(frame.get_payload_as_bytes())
        else:
            self._on_rare_frame(transport, frame)
        if frame.last_in_buffer:
            self._stamp()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Let `deliver` hand over the rest and return."""
        del transport
        self._stamp()
        self._ended = True
        self._arrived.set()
        if self._pong_due is not None:
            self._pong_due.cancel()

    def _stamp(self) -> None:
        fresh = len(self._frames) - len(self._received_at)
        if not fresh:
            return
        self.last_frame_at = now = self._clock.now()
        self._received_at.extend(repeat(now, fresh))
        self.frames_received += fresh
        self.started.set()
        self._arrived.set()
        if self._handing_over and self.is_reading:
            self._pause_reading()

    async def _hand_over(self, take: Take) -> None:
        self._stamp()
        frames, self._frames = self._frames, []
        self._append = self._frames.append
        received_at, self._received_at = self._received_at, []
        binary, self._binary = tuple(self._binary), []
        if not self._ended:
            self._arrived.clear()
        if frames:
            self._handing_over = True
            try:
                await take(Batch(frames=frames, received_at=received_at, shape="stream", binary=binary))
            except asyncio.CancelledError:
                self._put_back(frames, received_at, binary)
                raise
            self._handing_over = False
            self._resume_reading()

    def _put_back(self, frames: list[bytes], received_at: list[int], binary: tuple[int, ...]) -> None:
        """Take back what was not taken: handing on what came after it alone would make a hole."""
        self._stamp()
        self._binary = [*binary, *(len(frames) + place for place in self._binary)]
        self._frames[:0] = frames
        self._received_at[:0] = received_at

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.pause_reading()
            self.is_reading = False

    def _resume_reading(self) -> None:
        if self.is_reading or self._transport is None:
            return
        self.is_reading = True
        self.resumed_at = asyncio.get_running_loop().time()
        if not self._transport.underlying_transport.is_closing():
            self._transport.underlying_transport.resume_reading()

    def _on_rare_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        match frame.msg_type:
            case WSMsgType.PING:
                self._answer(transport, payload)
            case WSMsgType.PONG:
                pass
            case WSMsgType.CLOSE:
                self.close_code = _number(frame.get_close_code())
                self.close_reason = (frame.get_close_message() or b"").decode("utf-8", "replace")
                self._leave(transport, WSCloseCode.OK)
            case WSMsgType.CONTINUATION:
                self._put_together(transport, frame, self._fragments, payload)
            case kind:
                self._fragments_are_binary = kind is WSMsgType.BINARY
                self._put_together(transport, frame, [], payload)

    def _put_together(
        self, transport: WSTransport, frame: WSFrame, fragments: list[bytes] | None, payload: bytes
    ) -> None:
        self._fragments = None
        if fragments is None:
            self._leave(transport, WSCloseCode.PROTOCOL_ERROR)
            return
        fragments.append(payload)
        if sum(map(len, fragments)) > LARGEST_MESSAGE:
            log.warning("message_too_large", limit=LARGEST_MESSAGE)
            self._leave(transport, WSCloseCode.MESSAGE_TOO_BIG)
        elif not frame.fin:
            self._fragments = fragments
        else:
            if self._fragments_are_binary:
                self._binary.append(len(self._frames))
            self._append(b"".join(fragments))

    def _answer(self, transport: WSTransport, payload: bytes) -> None:
        """Answer a ping with its payload; of pings that come faster than we may write only the last is answered."""
        if self._pong_due is not None:
            self._unanswered_pings.append(payload)
            return
        transport.send_pong(payload)
        self.pongs_sent += 1
        self._pong_due = asyncio.get_running_loop().call_later(PONG_SPACING, self._answer_the_last, transport)

    def _answer_the_last(self, transport: WSTransport) -> None:
        self._pong_due = None
        if self._unanswered_pings and not transport.is_disconnected:
            self._answer(transport, self._unanswered_pings.pop())

    def _leave(self, transport: WSTransport, code: WSCloseCode) -> None:
        if not transport.is_close_frame_sent:
            transport.send_close(code)
        transport.disconnect()


async def connect(url: str, clock: ArrivalClock, *, timeout: float = 10.0) -> Connection:  # noqa: ASYNC109  # one deadline for TCP, TLS and the handshake
    """Open a WebSocket within `timeout` seconds, or raise HandshakeError."""
    connection = Connection(clock)
    try:
        async with asyncio.timeout(timeout):
            await _shake_hands(connection, url, timeout)
    except WSHandshakeError as error:
        raise _refusal(error) from error
    except TimeoutError as error:
        raise HandshakeError(f"no answer within {timeout:g} s") from error
    except (OSError, WSError) as error:
        raise HandshakeError(str(error) or type(error).__name__) from error
    return connection


async def _shake_hands(connection: Connection, url: str, timeout: float) -> None:  # noqa: ASYNC109  # the library's own deadline
    try:
        await ws_connect(
            lambda: connection,
            url,
            websocket_handshake_timeout=timeout,
            enable_auto_pong=False,
            max_frame_size=LARGEST_MESSAGE,
            read_buffer_init_size=READ_BUFFER,
            logger_name="websocket",
        )
    except BaseException:  # whoever asked is cancelled: the socket must not stay open behind them either
        connection.abort()
        raise


def _refusal(error: WSHandshakeError) -> HandshakeError:
    if error.response is None:
        return HandshakeError(str(error))
    told = error.response.headers.get("Retry-After", "")
    return HandshakeError(
        f"refused with HTTP {int(error.response.status)}",
        status=int(error.response.status),
        retry_after=float(told) if told.isdigit() else 0.0,
    )


def _number(code: WSCloseCode | int) -> int:
    return code if isinstance(code, int) else int(code.value)
