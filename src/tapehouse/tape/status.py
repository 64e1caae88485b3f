"""What the writer of the tape says of itself: values for /health, taken at one moment."""

import msgspec

from tapehouse.ports import Hole


class Standing(msgspec.Struct, frozen=True):
    """How far the tape holds one symbol's trades; times in microseconds since 1970 UTC."""

    last_trade_id: int
    last_traded_at: int
    last_received_at: int
    holes: list[Hole]


class WriterStatus(msgspec.Struct, frozen=True):
    """The writer as a whole; times in microseconds since 1970 UTC, 0 when it has not happened."""

    waiting: int
    bound: int
    committed_at: int
    records: int
    broker_error: str
    broker_error_since: int
