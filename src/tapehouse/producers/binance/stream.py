"""The live streams of some symbols over one connection that is always replaced before it is missed.

Whatever ends a connection (a cut, silence, its 24 hours, the server's farewell), the answer is the same: open a
successor, and let the old one go when the successor delivers. Both deliver meanwhile; trade ids make that harmless.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import structlog

from tapehouse import telemetry
from tapehouse.ports import Batch, Tape
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.dial import Backoff, Dialer
from tapehouse.producers.binance.endpoints import monotonic
from tapehouse.producers.binance.status import ConnectionStatus
from tapehouse.producers.websocket import Connection, HandshakeError

SYMBOLS_PER_CONNECTION = 100
"""200 streams: far below Binance's 1024, and an address of some 4 kB, below the 8 kB web servers accept."""
SHORTEST_TRADE, LONGEST_TRADE = 128, 230
"""Bytes of a trade's frame; others (klines, farewells, surprises) are rare enough to be looked into here."""

State = Literal["connecting", "open", "backing_off"]
Cause = Literal["closed", "idle", "stalled", "roll_over", "server_shutdown"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Pace:
    """How patient a shard is; all in seconds."""

    idle_after: float = 60.0
    """No frame on the whole connection: klines alone come every two seconds."""
    stalled_after: float = 150.0
    """No kline of one symbol: the minute that closes always brings one."""
    roll_over_after: float = 23.5 * 3600
    roll_over_jitter: float = 900.0
    """A connection rolls over up to this much earlier, so that not all do at once; Binance cuts at 24 h."""
    first_frame_within: float = 10.0
    overlap: float = 1.0
    """How long both connections deliver after the first frame of the new one."""
    farewell_within: float = 5.0
    stable_after: float = 60.0
    """A connection that lived so long resets the back-off."""
    backoff: Backoff = field(default_factory=Backoff)


class _Event(msgspec.Struct):
    e: str = ""


class _Envelope(msgspec.Struct):
    stream: str = ""
    e: str = ""
    data: _Event | None = None

    @property
    def says_farewell(self) -> bool:
        return self.stream == "!serverShutdown" or "serverShutdown" in (self.e, self.data.e if self.data else "")


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def stream_path(symbols: Sequence[str]) -> str:
    """Return the path of the combined stream with the trades and 1m klines of these symbols."""
    names = (f"{symbol.lower()}@{kind}" for symbol in symbols for kind in ("trade", "kline_1m"))
    return "/stream?streams=" + "/".join(names)


class _Session:
    """One connection from its handshake to its end; `over` is set when a successor is wanted, `cause` says why."""

    def __init__(self, connection: Connection, endpoint: str) -> None:
        self.connection = connection
        self.endpoint = endpoint
        self.opened_at = monotonic()
        self.over = asyncio.Event()
        self.ended = asyncio.Event()
        self.cause: Cause = "closed"

    def want_successor(self, cause: Cause) -> None:
        if not self.over.is_set():
            self.cause = cause
            self.over.set()


class Shard:
    """Keeps the streams of `symbols` coming; `run` returns only by cancellation or when the tape fails."""

    def __init__(
        self, name: str, symbols: Sequence[str], dialer: Dialer, clock: ArrivalClock, pace: Pace | None = None
    ) -> None:
        self.name = name
        self.symbols = tuple(symbols)
        self._dialer = dialer
        self._clock = clock
        self._pace = pace or Pace()
        self._state: State = "connecting"
        self._since = 0
        self._delivering = 0
        self._attempts = 0
        self._failures = 0
        self._last_error = ""
        self._session: _Session | None = None
        self._last_message_at = 0
        self._kline_seen_at: dict[str, float] = {}
        self._renewed_for: set[str] = set()
        self._received = telemetry.messages_received.labels("binance")

    async def run(self, tape: Tape) -> None:
        """Deliver to the tape until cancelled."""
        self._since = self._clock.now()
        telemetry.connections.labels("binance", self._state).inc()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_when_stalled(), name=f"binance watch {self.name}")
                await self._keep_delivering(group, tape)
        finally:
            telemetry.connections.labels("binance", self._state).dec()

    def status(self) -> ConnectionStatus:
        """Return the state of the connection in use."""
        return ConnectionStatus(
            name=self.name,
            symbols=len(self.symbols),
            state=self._state,
            endpoint=self._session.endpoint if self._session else "",
            since=self._since,
            last_message_at=self._last_message_at,
            attempts=self._attempts,
            last_error=self._last_error,
            stalled=self.stalled(),
        )

    def stalled(self) -> tuple[str, ...]:
        """Return the symbols of the open connection whose klines stay away although everything sent was read."""
        if self._state != "open" or self._session is None:
            return ()
        connection, earliest = self._session.connection, monotonic() - self._pace.stalled_after
        if not connection.is_reading or connection.resumed_at > earliest:
            return ()
        return tuple(symbol for symbol, seen_at in self._kline_seen_at.items() if seen_at < earliest)

    async def _keep_delivering(self, group: asyncio.TaskGroup, tape: Tape) -> None:
        current = await self._open(group, tape)
        while True:
            await current.over.wait()
            self._note_end(current)
            current = await self._replace(current, group, tape)

    async def _replace(self, current: _Session, group: asyncio.TaskGroup, tape: Tape) -> _Session:
        while True:
            successor = await self._open(group, tape)
            if await self._takes_over(successor, current):
                await self._let_go(current)
                return successor
            self._failures += 1

    async def _open(self, group: asyncio.TaskGroup, tape: Tape) -> _Session:
        while True:
            await self._back_off()
            self._attempts += 1
            try:
                connection, endpoint = await self._dialer.dial(stream_path(self.symbols))
            except HandshakeError as error:
                self._failures += 1
                self._last_error = str(error)
            else:
                return self._start(group, tape, _Session(connection, endpoint))

    async def _back_off(self) -> None:
        if wait := self._pace.backoff.wait(self._failures):
            if not self._delivering:
                self._enter("backing_off")
            await asyncio.sleep(wait)
            if not self._delivering:
                self._enter("connecting")

    def _start(self, group: asyncio.TaskGroup, tape: Tape, session: _Session) -> _Session:
        self._session = session
        self._delivering += 1
        self._kline_seen_at = dict.fromkeys(self.symbols, monotonic())
        self._enter("open")
        group.create_task(self._deliver(session, tape), name=f"binance stream {self.name}")
        log.info("connection_open", connection=self.name, endpoint=session.endpoint, symbols=len(self.symbols))
        return session

    async def _deliver(self, session: _Session, tape: Tape) -> None:
        async def take(batch: Batch) -> None:
            self._received.inc(len(batch.frames))
            self._last_message_at = batch.received_at[-1]
            self._look_into_rare_frames(batch.frames, session)
            await tape.append(batch)

        age = self._pace.roll_over_after - random.uniform(0.0, self._pace.roll_over_jitter)  # noqa: S311  # spreads load, guards nothing
        roll_over = asyncio.get_running_loop().call_later(max(age, 0.0), session.want_successor, "roll_over")
        try:
            session.want_successor(await session.connection.deliver(take, idle_after=self._pace.idle_after))
        finally:
            roll_over.cancel()
            session.ended.set()
            session.connection.abort()
            self._delivering -= 1
            if not self._delivering:
                self._enter("connecting")

    async def _renew_when_stalled(self) -> None:
        """Take a new connection for streams that fell silent alone; once for each: a halted pair is silent too."""
        while True:
            await asyncio.sleep(self._pace.stalled_after / 2)
            fresh = set(self.stalled()) - self._renewed_for
            if fresh and self._session:
                log.warning("streams_stalled", connection=self.name, count=len(fresh), symbols=sorted(fresh)[:10])
                self._renewed_for |= fresh
                self._session.want_successor("stalled")

    def _look_into_rare_frames(self, frames: Sequence[bytes], session: _Session) -> None:
        for frame in [each for each in frames if not SHORTEST_TRADE <= len(each) <= LONGEST_TRADE]:
            with suppress(msgspec.DecodeError, UnicodeDecodeError):
                self._look_into(_ENVELOPE.decode(frame), session)

    def _look_into(self, envelope: _Envelope, session: _Session) -> None:
        if envelope.says_farewell:
            session.want_successor("server_shutdown")
            return
        symbol, _, kind = envelope.stream.partition("@")
        if kind == "kline_1m" and (symbol := symbol.upper()) in self._kline_seen_at:
            self._kline_seen_at[symbol] = monotonic()
            self._renewed_for.discard(symbol)

    def _note_end(self, session: _Session) -> None:
        telemetry.reconnects.labels("binance", session.cause).inc()
        connection = session.connection
        log.info(
            "connection_over",
            connection=self.name,
            endpoint=session.endpoint,
            cause=session.cause,
            close_code=connection.close_code if session.ended.is_set() else None,
            close_reason=connection.close_reason,
            frames=connection.frames_received,
        )
        if session.ended.is_set():
            self._last_error = _why(session, self._pace)
            self._failures += 1
        if monotonic() - session.opened_at >= self._pace.stable_after:
            self._failures = 0
        if session.cause == "idle":
            self._dialer.endpoints.failed(session.endpoint, monotonic())

    async def _takes_over(self, successor: _Session, current: _Session) -> bool:
        """Wait until the successor delivers; False when it ended while the current one goes on."""
        if current.ended.is_set():
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.first_frame_within):
                await _first_of(successor.connection.started, successor.over, current.ended)
        if successor.ended.is_set() and not current.ended.is_set():
            return False
        await asyncio.sleep(self._pace.overlap)
        return True

    async def _let_go(self, session: _Session) -> None:
        session.connection.close()
        try:
            async with asyncio.timeout(self._pace.farewell_within):
                await session.ended.wait()
        except TimeoutError:
            session.connection.abort()

    def _enter(self, state: State) -> None:
        if state == self._state:
            return
        self._since = self._clock.now()
        telemetry.connections.labels("binance", self._state).dec()
        telemetry.connections.labels("binance", state).inc()
        self._state = state


def _why(session: _Session, pace: Pace) -> str:
    if session.cause == "idle":
        return f"{session.endpoint}: no message for {pace.idle_after:g} s"
    said = f" ({session.connection.close_reason})" if session.connection.close_reason else ""
    return f"{session.endpoint}: closed with code {session.connection.close_code}{said}"


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
