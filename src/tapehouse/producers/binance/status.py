"""What the Binance source says of itself: values for /health, taken at one moment."""

from collections.abc import Sequence

import msgspec


class ConnectionStatus(msgspec.Struct, frozen=True):
    """One connection's state; times are microseconds since 1970 UTC, 0 when it has not happened.

    `state` is `connecting`, `open` or `backing_off`; `attempts` counts since the process started.
    """

    name: str
    symbols: int
    state: str
    endpoint: str
    since: int
    last_message_at: int
    attempts: int
    last_error: str
    stalled: tuple[str, ...]

    @property
    def connected(self) -> bool:
        """Whether messages can come now."""
        return self.state == "open"


class SourceStatus(msgspec.Struct, frozen=True, tag_field="kind", tag="followed"):
    """The source as a whole.

    `clock_offset` is the exchange's clock minus ours in seconds, None before it was measured; `notes` are sentences for
    the person, such as a symbol that does not exist; `repairs_wait_for` is 0 or the seconds until a repair makes sense.
    """

    name: str
    connections: tuple[ConnectionStatus, ...]
    symbols: int
    stalled: tuple[str, ...]
    stream_endpoint: str
    rest_endpoint: str
    clock_offset: float | None
    weight_used: int
    weight_limit: int
    repairs_wait_for: float
    last_error: str
    notes: tuple[str, ...]

    @property
    def connected(self) -> bool:
        """Whether every connection is open."""
        return bool(self.connections) and all(connection.connected for connection in self.connections)


def together(parts: Sequence[SourceStatus]) -> SourceStatus:
    """Return what several processes say of the source, each of symbols of its own, as one; there is at least one."""
    connections = tuple(connection for part in parts for connection in part.connections)
    return SourceStatus(
        name=parts[0].name,
        connections=connections,
        symbols=sum(part.symbols for part in parts),
        stalled=tuple(symbol for part in parts for symbol in part.stalled),
        stream_endpoint=parts[0].stream_endpoint,
        rest_endpoint=parts[0].rest_endpoint,
        clock_offset=next((part.clock_offset for part in parts if part.clock_offset is not None), None),
        weight_used=max(part.weight_used for part in parts),
        weight_limit=max(part.weight_limit for part in parts),
        repairs_wait_for=max(part.repairs_wait_for for part in parts),
        last_error=next((part.last_error for part in parts if part.last_error), ""),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )
