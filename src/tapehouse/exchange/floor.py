"""The trading floor: a tape, its playhead, and everyone who listens. No sockets here."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tapehouse.exchange.audience import Audience
from tapehouse.exchange.context.faults import ContextFaults
from tapehouse.exchange.faults import Faults
from tapehouse.exchange.klines import CandleHistory
from tapehouse.exchange.market_view import MarketView
from tapehouse.exchange.playback import Playback, Step
from tapehouse.exchange.sockets import StreamSocket
from tapehouse.exchange.tapes import TradeTape

_READS_WITHIN = 30.0
"""Seconds a client may keep an unthrottled tape waiting before it is cut."""


@dataclass(frozen=True)
class Pace:
    """How a tape is played: `speed` times real time, or as fast as the listeners read (None).

    `begins_at` is where the playhead starts (microseconds); it `waits` there for the first listener or for `play()`.
    """

    begins_at: int
    speed: float | None = 1.0
    waits: bool = False
    holds: bool = False
    tick: float = 0.02


@dataclass
class Floor:
    """A market in session."""

    tape: TradeTape
    pace: Pace
    faults: Faults
    context_faults: ContextFaults = field(init=False, default_factory=ContextFaults)
    audience: Audience = field(init=False)
    playback: Playback = field(init=False)
    market: MarketView = field(init=False)
    _may_play: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        history = CandleHistory(self.tape)
        self.audience = Audience(list(self.tape.pairs), self.faults, on_follow=self._somebody_follows)
        self.playback = Playback(
            self.tape, history, begins_at=self.pace.begins_at, speed=self.pace.speed, tick=self.pace.tick
        )
        self.market = MarketView(self.tape, history, lambda: self.playback.playhead)
        if not (self.pace.waits or self.pace.holds):
            self._may_play.set()

    async def run(self) -> None:
        """Play the tape to whoever listens, until it ends or this is cancelled."""
        await self._may_play.wait()
        await self.playback.run(lambda: self.audience.klines_wanted, self._publish)

    def play(self) -> None:
        """Let a tape that waits begin."""
        self._may_play.set()

    def cut(self) -> int:
        """Drop every stream connection and return how many there were."""
        sockets = self._sockets()
        for socket in sockets:
            socket.cut()
        self.faults.counts["cut"] += len(sockets)
        return len(sockets)

    def announce_shutdown(self) -> None:
        """Tell every client to connect anew."""
        for socket in self._sockets():
            socket.announce_shutdown(self.playback.playhead // 1000)
        self.faults.counts["server_shutdown"] += 1

    def status(self) -> dict[str, Any]:
        """Return what a person or a test wants to know."""
        return {
            "symbols": len(self.tape.pairs),
            "playhead": self.playback.playhead,
            "ends_at": self.tape.ends_at,
            "is_over": self.playback.is_over.is_set(),
            "trades_told": self.playback.trades_told,
            "connections": len(self.audience),
            "faults": self.faults.settings,
            "counts": dict(self.faults.counts),
            "context": dict(self.context_faults.counts),
        }

    async def _publish(self, step: Step) -> None:
        self.audience.tell(step)
        if self.pace.speed is None:
            await asyncio.gather(*(socket.drained(_READS_WITHIN) for socket in self._sockets()))

    def _somebody_follows(self) -> None:
        if not self.pace.holds:
            self._may_play.set()

    def _sockets(self) -> list[StreamSocket]:
        return [listener for listener in self.audience if isinstance(listener, StreamSocket)]
