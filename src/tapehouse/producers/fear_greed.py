"""The Fear & Greed index of alternative.me: one value a UTC day, polled when the next one is due.

{"name":"Fear and Greed Index","data":[{"value":"28","value_classification":"Fear","timestamp":"1640908800",
 "time_until_update":"68499"}],"metadata":{"error":null}}
"""

from datetime import UTC, datetime

import msgspec

from tapehouse.market.context import Observation, Value
from tapehouse.market.windows import DAY, SECOND

SOURCE = "fear_greed"
EARLIEST = 1_514_764_800
"""The index begins on 2018-02-01; what is said to be of before 2018 (seconds) is not of it."""


class IndexDay(msgspec.Struct):
    """One day's value; alternative.me writes its numbers as strings."""

    value: str
    value_classification: str
    timestamp: str  # seconds; a time within the UTC day
    time_until_update: str | None = None  # seconds, beside the newest value only

    def to_observation(self, received_at: int) -> Observation:
        """Return the day's value; raise ValueError when it cannot be true."""
        value, at = int(self.value), int(self.timestamp)
        if not 0 <= value <= 100:
            raise ValueError(f"an index of {value}; it goes from 0 to 100")
        if not EARLIEST <= at <= (received_at + DAY) // SECOND:
            raise ValueError(f"a time that cannot be true: {at} seconds")
        if len(self.value_classification) > 100:
            raise ValueError("a classification that is no word")
        day = datetime.fromtimestamp(at, UTC).date().isoformat()
        fields: dict[str, Value] = {"value": value, "value_classification": self.value_classification}
        return Observation("sentiment", SOURCE, day, at * SECOND, received_at, fields)


class _Metadata(msgspec.Struct):
    error: str | None = None


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw]
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


_DAY = msgspec.json.Decoder(IndexDay)
_ANSWER = msgspec.json.Decoder(_Answer)


def index_day(frame: bytes, received_at: int) -> Observation:
    """Read one day's value; raise msgspec.MsgspecError or ValueError when it is none."""
    return _DAY.decode(frame).to_observation(received_at)


def split(body: bytes) -> list[bytes]:
    """Return the bytes of each day's value, oldest first; raise msgspec.MsgspecError when it cannot be cut."""
    return [bytes(day) for day in reversed(_ANSWER.decode(body).data)]
