"""What the Binance source says of itself: values for /health, taken at one moment."""

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


class SourceStatus(msgspec.Struct, frozen=True):
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
