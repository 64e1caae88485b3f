"""What Binance lets one address ask for, shared by all processes of the machine and remembered over restarts.

A crash loop must not earn a ban: what was spent is on disk before a request leaves. Time is an argument everywhere
(seconds since 1970).
"""

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tapehouse.errors import ConfigError

DEFAULT_WEIGHT_LIMIT = 6000
"""Request weight a minute, until `exchangeInfo` tells."""
HEADROOM = 0.8
"""The part of the limit we use; the rest is for the person's other programs and for counts in flight."""
CONNECTION_ATTEMPTS = 300
CONNECTION_WINDOW = 300.0
LONGEST_BAN = 3 * 24 * 3600.0
"""Binance bans for three days at most; a longer ban on record is a broken record."""


class _Spent(msgspec.Struct):
    minute: int = 0
    weight: int = 0
    weight_limit: int = DEFAULT_WEIGHT_LIMIT
    banned_until: float = 0.0
    streams_banned_until: float = 0.0
    attempts: list[float] = msgspec.field(default_factory=list)


class Usage(msgspec.Struct, frozen=True):
    """What is spent of a budget at one moment; `banned_until` is 0 or seconds since 1970."""

    weight: int
    weight_limit: int
    banned_until: float
    attempts: int


class Budget:
    """The requests and connections one address may still make, kept in the file `path`.

    `spend` and `attempt` return 0.0 when the thing may be done now (it is then counted), else the seconds to wait.
    """

    def __init__(self, path: Path, *, headroom: float = HEADROOM) -> None:
        self._path = path
        self._headroom = headroom
        self._in_flight = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise ConfigError(f"TAPEHOUSE_STATE: {path} cannot be written ({error.strerror})") from error

    def spend(self, weight: int, now: float) -> float:
        """Count a request of this weight when it fits into the minute."""
        with self._record(now) as spent:
            if spent.banned_until > now:
                return spent.banned_until - now
            if spent.weight and spent.weight + weight > int(spent.weight_limit * self._headroom):
                return (spent.minute + 1) * 60 - now
            spent.weight += weight
            self._in_flight += weight
            return 0.0

    def settle(self, weight: int, used: int | None, now: float) -> None:
        """Note that a request counted by `spend` is over; `used` is what the exchange says we used, if it said so.

        Its word counts more than ours, plus what this process has under way and it has not seen.
        """
        with self._record(now) as spent:
            self._in_flight -= weight
            if used is not None:
                spent.weight = used + self._in_flight

    def learn_limit(self, weight_limit: int, now: float) -> None:
        """Take the weight a minute from the exchange's own rules."""
        with self._record(now) as spent:
            spent.weight_limit = weight_limit

    def ban(self, seconds: float, now: float) -> None:
        """Send no request for this long: the exchange said so. Streams are counted apart, and go on."""
        with self._record(now) as spent:
            spent.banned_until = max(spent.banned_until, now + min(seconds, LONGEST_BAN))

    def ban_streams(self, seconds: float, now: float) -> None:
        """Open no WebSocket for this long: the exchange said so."""
        with self._record(now) as spent:
            spent.streams_banned_until = max(spent.streams_banned_until, now + min(seconds, LONGEST_BAN))

    def attempt(self, now: float) -> float:
        """Count an attempt to open a WebSocket when the last five minutes allow one."""
        with self._record(now) as spent:
            if spent.streams_banned_until > now:
                return spent.streams_banned_until - now
            allowed = int(CONNECTION_ATTEMPTS * self._headroom)
            if len(spent.attempts) >= allowed:
                return spent.attempts[-allowed] + CONNECTION_WINDOW - now
            spent.attempts.append(now)
            return 0.0

    def usage(self, now: float) -> Usage:
        """Return what is spent now, by every process that shares the file."""
        with self._record(now) as spent:
            banned_until = spent.banned_until if spent.banned_until > now else 0.0
            return Usage(spent.weight, spent.weight_limit, banned_until, len(spent.attempts))

    @contextmanager
    def _record(self, now: float) -> Iterator[_Spent]:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = file.read()
            spent = _at(_decode(before), now)
            yield spent
            # One write, padded over the old record: a process killed here leaves the old record or the new one whole.
            after = msgspec.json.encode(spent).ljust(len(before))
            if after != before:
                os.pwrite(file.fileno(), after, 0)


def budget_file(state: Path, addresses: tuple[str, ...]) -> Path:
    """Return where the budget towards these addresses is kept; it is named for the first of them."""
    netloc = urlsplit(addresses[0]).netloc.rpartition("@")[2]
    return state / f"budget-{netloc.replace(':', '-')}.json"


def _decode(record: bytes) -> _Spent:
    try:
        return msgspec.json.decode(record, type=_Spent)
    except msgspec.DecodeError:
        return _Spent()


def _at(spent: _Spent, now: float) -> _Spent:
    """Forget what no longer counts at `now`, and what a clock set back would keep for ever."""
    minute = math.floor(now / 60)
    if spent.minute != minute:
        spent.minute, spent.weight = minute, 0
    spent.attempts = [at for at in spent.attempts if now - CONNECTION_WINDOW < at <= now]
    if spent.banned_until > now + LONGEST_BAN:
        spent.banned_until = 0.0
    if spent.streams_banned_until > now + LONGEST_BAN:
        spent.streams_banned_until = 0.0
    return spent
