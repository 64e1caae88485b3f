"""Which trade ids a producer has put on the tape, and which of those it knows of it has not: its position (law 1).

A position is written in the same transaction as the trades that lead to it, so that it is never ahead of them nor
behind. All it says is true for whoever reads it: these ids are on the topic.
"""

from collections.abc import Iterable, Mapping

import msgspec
import structlog

from tapehouse import telemetry
from tapehouse.catalog import VENUE
from tapehouse.market.coverage import Coverage, Range, could_follow
from tapehouse.market.windows import SECOND
from tapehouse.ports import Hole, Routed

MOST_RANGES = 200
"""Ranges of a symbol that are remembered; beyond, the oldest hole is given up, and said so."""
MOST_SYMBOLS = 5000

log = structlog.get_logger(__name__)


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A range of ids on the tape, and the trade times (microseconds) at its two ends; 0 where unknown."""

    first_trade_id: int
    last_trade_id: int
    first_traded_at: int
    last_traded_at: int


class _Stored(msgspec.Struct):
    """A position as the value of a message; oldest range first."""

    held: list[Held]


_encode = msgspec.json.Encoder().encode


class Position:
    """The position of one symbol."""

    def __init__(self, symbol: str, held: Iterable[Held] = ()) -> None:
        self.symbol = symbol
        self.last_traded_at = 0
        self.last_received_at = 0
        self._coverage = Coverage()
        self._times: dict[int, int] = {}
        self._told: Range = (-1, 0)
        for each in held:
            self._coverage.held.add(each.first_trade_id, each.last_trade_id)
            self._times[each.first_trade_id] = each.first_traded_at
            self._times[each.last_trade_id] = self.last_traded_at = self.last_received_at = each.last_traded_at

    @property
    def last_trade_id(self) -> int:
        """The largest id on the tape, -1 when there is none."""
        return self._coverage.last

    @property
    def is_whole(self) -> bool:
        """Whether no id is known to be missing."""
        return self._coverage.is_whole

    def accept(self, routed: Routed) -> bool:
        """Hold the ids of a trade; False when all of them are on the tape already."""
        assert routed.ids is not None  # noqa: S101  # asked for trades only
        first, last = routed.ids
        follows = self._coverage.follows(first)
        if not follows and not self._coverage.held.missing(first, last):
            return False
        if not follows:
            self._times[self.last_trade_id] = self.last_traded_at
            self._times[first] = self._times[last] = routed.traded_at
        if last > self.last_trade_id:
            self.last_traded_at, self.last_received_at = routed.traded_at, routed.received_at
        self._coverage.held.add(first, last)
        return True

    def expect(self, last_trade_id: int, before: int) -> None:
        """Take note that the exchange numbered trades up to this id, before a time (microseconds)."""
        if last_trade_id > self._told[0]:
            self._told = (last_trade_id, before)
            self._coverage.expect(last_trade_id)

    def refusal(self, last_trade_id: int, traded_at: int) -> str:
        """Say why an id cannot be true after those before, "" when it can."""
        last = self.last_trade_id
        seconds = max(traded_at - (self.last_traded_at or traded_at), 0) // SECOND
        if could_follow(last, last_trade_id, seconds):
            return ""
        return f"a trade id that jumps from {last} to {last_trade_id} in {seconds} s"

    def holes(self) -> list[Hole]:
        """Return what is missing, oldest first."""
        if self.is_whole:
            return []
        return [
            Hole(self.symbol, first, last, self._time_of(first - 1), self._time_of(last + 1))
            for first, last in self._coverage.missing()
        ]

    def to_json(self) -> bytes:
        """Return the position as it is stored; what is remembered is cut to its bound first."""
        self._forget()
        held = [Held(first, last, self._time_of(first), self._time_of(last)) for first, last in self._coverage.held]
        if len(self._times) > 2 * len(held):  # of ends that lie within a range by now
            self._times = {ident: time for each in held for ident, time in _ends(each)}
        return _encode(_Stored(held))

    def _time_of(self, ident: int) -> int:
        if ident == self.last_trade_id:
            return self.last_traded_at
        if ident == self._told[0] + 1:
            return self._told[1]
        return self._times.get(ident, 0)

    def _forget(self) -> None:
        if self._coverage.held.count <= MOST_RANGES:
            return
        holes = self._coverage.held.holes()
        for first, last in holes[: max(0, len(holes) + 1 - MOST_RANGES)]:
            log.error("hole_given_up", symbol=self.symbol, first_trade_id=first, last_trade_id=last)
            self._coverage.held.remove(self._coverage.held.first, first - 1)


class Positions(dict[str, Position]):
    """The positions of a producer's symbols."""

    def take(self, routed: Routed) -> Routed | None:
        """Return what is to be put on the tape: the frame as it was routed, or refused; None for a duplicate."""
        if routed.reason or not routed.symbol:
            return routed
        position = self.get(routed.symbol)
        if position is None:
            if len(self) >= MOST_SYMBOLS:
                return msgspec.structs.replace(routed, reason="more symbols than a producer follows", symbol="")
            position = self[routed.symbol] = Position(routed.symbol)
        if routed.ids is None:
            return self._note_told(position, routed)
        reason = position.refusal(routed.ids[1], routed.traded_at)
        if reason:
            return msgspec.structs.replace(routed, reason=reason)
        if not position.accept(routed):
            telemetry.trades_duplicate.labels(routed.symbol).inc()
            return None
        return routed

    def holes(self) -> list[Hole]:
        """Return everything that is missing."""
        return [hole for position in self.values() for hole in position.holes()]

    def _note_told(self, position: Position, routed: Routed) -> Routed:
        if routed.told_to >= 0 and not position.refusal(routed.told_to, routed.traded_at):
            position.expect(routed.told_to, routed.traded_at)
        return routed


def position_key(symbol: str) -> bytes:
    """Return the key of a symbol's position on its topic."""
    return f"producer:{VENUE}:{symbol}".encode()


def read_positions(stored: Mapping[bytes, bytes]) -> Positions:
    """Return the positions among the newest messages of the topic, by key; what cannot be read is no position."""
    positions = Positions()
    prefix = position_key("")
    for key, value in stored.items():
        if not key.startswith(prefix):
            continue
        symbol = key.removeprefix(prefix).decode("utf-8", "replace")
        try:
            positions[symbol] = Position(symbol, msgspec.json.decode(value, type=_Stored).held)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("position_unreadable", symbol=symbol, error=str(error))
    return positions


def _ends(held: Held) -> tuple[tuple[int, int], ...]:
    return (held.first_trade_id, held.first_traded_at), (held.last_trade_id, held.last_traded_at)
