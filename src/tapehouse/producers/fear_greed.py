"""The Fear & Greed index of alternative.me: one value a UTC day, polled when the next one is due.

{"name":"Fear and Greed Index","data":[{"value":"28","value_classification":"Fear","timestamp":"1640908800",
 "time_until_update":"68499"}],"metadata":{"error":null}}
"""

import re
from datetime import UTC, datetime
from math import isnan, nan

import msgspec

from tapehouse.market.context import Observation, Value
from tapehouse.market.windows import DAY, SECOND
from tapehouse.ports import Shape
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Ask, Clock, Found
from tapehouse.settings import Settings

SOURCE = "fear_greed"
EARLIEST = 1_514_764_800
"""The index begins on 2018-02-01; what is said to be of before 2018 (seconds) is not of it."""
RECENT_DAYS = 31
"""So many days are asked for once the history is there: an outage of a month leaves no hole."""
NEWEST = 1
"""For so many days alone alternative.me tells for certain when the next value is due; with more it may not."""
LATE_BY, SOONEST = 30.0, 300.0
"""Seconds after the time at which a new value is due, and between two questions at least."""
UNTOLD = 3600.0
"""Seconds to the next look at most where it is not told when a value is due."""
PER_MINUTE = 10


class IndexDay(msgspec.Struct):
    """One day's value; alternative.me writes its numbers as strings."""

    value: str
    value_classification: str
    timestamp: str  # seconds; a time within the UTC day
    time_until_update: str | None = None  # seconds, beside the newest value only

    def to_observation(self, received_at: int) -> Observation:
        """Return the day's value; raise ValueError when it cannot be true."""
        value, at = _whole_number(self.value), _whole_number(self.timestamp)
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


_WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def _whole_number(text: str) -> int:
    """Read a whole number as JSON would write it; `int` takes "2_8", "028" and the digits of other scripts."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"no whole number: {text[:40]!r}")
    return int(text)


_DAY = msgspec.json.Decoder(IndexDay)
_ANSWER = msgspec.json.Decoder(_Answer)


def index_day(frame: bytes, received_at: int) -> Observation:
    """Read one day's value; raise msgspec.MsgspecError or ValueError when it is none."""
    return _DAY.decode(frame).to_observation(received_at)


def split(body: bytes) -> list[bytes]:
    """Return the bytes of each day's value, oldest first; raise msgspec.MsgspecError when it cannot be cut."""
    return [bytes(day) for day in reversed(_ANSWER.decode(body).data)]


class FearGreed:
    """The index at `address`: its whole history with the first answer of a process, then the latest days.

    `interval` are the seconds between two looks at most; it is asked sooner where a new value is due. Where the days do
    not say when that is, the newest day alone is asked for at once.
    """

    name = "index"
    source = SOURCE
    shape: Shape = "sentiment"
    can_end = False

    def __init__(self, address: str, interval: float) -> None:
        self.interval = interval
        self._address = address
        self._has_history = False
        self._asks_when = False

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the days that may be new, or for when there will be one."""
        limit = NEWEST if self._asks_when else RECENT_DAYS if self._has_history else 0
        answer = await ask(self._address, params={"limit": str(limit), "format": "json"})
        if answer.not_modified:
            return Found(next_in=self._until_next([]))
        try:
            frames = split(answer.body)
            told = _ANSWER.decode(answer.body).metadata.error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return Found([answer.body], problem="the answer is not what alternative.me documents")
        if told:
            return Found([answer.body], problem=told[:200])
        self._has_history = True
        return Found(frames, next_in=self._until_next(frames))

    def _until_next(self, frames: list[bytes]) -> float:
        """Return when the next value is due, and a little later: they are late at times. 0.0: ask when that is."""
        try:
            told = _DAY.decode(frames[-1]).time_until_update
            due = nan if told is None else float(_whole_number(told))
        except (IndexError, ValueError, msgspec.MsgspecError):
            due = nan
        self._asks_when = isnan(due) and not self._asks_when
        if self._asks_when:
            return 0.0
        return min(UNTOLD if isnan(due) else max(due + LATE_BY, SOONEST), self.interval)


def fear_greed_source(settings: Settings, clock: Clock) -> PolledSource:
    """Return the source as it is set."""
    upstream = FearGreed(settings.fear_greed_url, settings.fear_greed_interval)
    return PolledSource(SOURCE, [upstream], settings.state, clock=clock, per_minute=PER_MINUTE)
