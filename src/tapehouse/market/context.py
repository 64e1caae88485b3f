"""The context of a market: what upstreams beside the exchange tell, and when a telling is something new."""

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from hashlib import blake2b
from struct import Struct
from typing import Literal

import msgspec

Kind = Literal["market_data", "sentiment", "news", "symbols"]
Value = str | int | float | bool | list[str] | None

NUMBERS: Mapping[Kind, frozenset[str]] = {
    "market_data": frozenset(
        (
            *("current_price", "market_cap", "market_cap_rank", "fully_diluted_valuation", "total_volume"),
            *("high_24h", "low_24h", "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h"),
            *("market_cap_change_percentage_24h", "circulating_supply", "total_supply", "max_supply"),
            *("ath", "ath_change_percentage", "atl", "atl_change_percentage"),
            *("total_market_cap", "active_cryptocurrencies", "markets"),
        )
    ),
    "sentiment": frozenset({"value"}),
    "news": frozenset({"sentiment", "delay_hours"}),
    "symbols": frozenset({"tick_size", "step_size"}),
}
"""The fields of each kind that hold numbers, amounts as the text of a decimal; others stay as they are told."""
SHARE_OF = "market_cap_percentage_"
"""What the name of a coin's share of the whole market begins with: a number as well."""

MOST_KEYS = 50_000
"""So many keys of a kind are remembered; the one told longest ago is forgotten first."""
MOST_SERIES = 1_000
"""So many series told whole are remembered."""


def is_number(kind: Kind, name: str) -> bool:
    """Tell whether a field of a kind holds a number."""
    return name in NUMBERS[kind] or (kind == "market_data" and name.startswith(SHARE_OF))


class Observation(msgspec.Struct, frozen=True):
    """One thing an upstream told: what it is about (`key`), as of when, and what.

    `fields` holds amounts as the text of a decimal, never as a float. Times are microseconds since 1970 UTC.
    """

    kind: Kind
    source: str
    key: str
    observed_at: int
    received_at: int
    fields: dict[str, Value]


class Version(msgspec.Struct, frozen=True):
    """An observation that was new when it came: known since `known_at`, with the bytes it came as."""

    observation: Observation
    known_at: int
    payload: bytes


_HELD = Struct("=16sqq")
"""A version as it is held: the digest of its fields, what it is as of, since when it is known."""


class Known:
    """The newest version of each key, so that a repetition is told from a change; one instance a kind.

    A key and its version are held as digests: some 200 bytes, however much was told.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._held: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._held)

    def recall(self, source: str, key: str, fields: str, observed_at: int, known_at: int) -> None:
        """Remember a stored version; `fields` as `canonical` wrote them. Call it oldest version first."""
        self._hold(_identity(source, key), _HELD.pack(_digest(fields), observed_at, known_at))

    def take(self, observation: Observation) -> int | None:
        """Return since when this is known when it is new, and hold it; None when it tells nothing new.

        The same fields are nothing new. Nor is what a measurement was before the one held: an upstream's caches answer
        in turn, and a story alone may be corrected to an earlier time.
        """
        identity = _identity(observation.source, observation.key)
        digest, known_at = _digest(canonical(observation.fields)), observation.received_at
        held = self._held.get(identity)
        if held is not None:
            held_digest, held_as_of, held_since = _HELD.unpack(held)
            older = observation.kind != "news" and observation.observed_at < held_as_of
            if older or digest == held_digest:
                return None
            known_at = max(known_at, held_since + 1)
        self._hold(identity, _HELD.pack(digest, observation.observed_at, known_at))
        return known_at

    def _hold(self, identity: bytes, held: bytes) -> None:
        self._held.pop(identity, None)
        self._held[identity] = held
        if len(self._held) > self._most:
            del self._held[next(iter(self._held))]


class KnownPast:
    """The same of series that are told whole, such as the past of a coin: a point of a time is a key.

    A year of days of a thousand coins is too much to hold each by itself; a point takes 24 bytes here. A series is the
    key up to its last `/`; the one told longest ago is forgotten first, and then would be told anew.
    """

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._most = most
        self._series: dict[str, _Series] = {}

    def newest(self) -> dict[str, int]:
        """Return of each series the time of its newest point (microseconds)."""
        return {name: series.at[-1] for name, series in self._series.items()}

    def points(self, series: str, start: int, end: int) -> int:
        """Return how many points of a series are held of [start, end) (microseconds)."""
        held = self._series.get(series)
        return 0 if held is None else bisect_left(held.at, end) - bisect_left(held.at, start)

    def recall(self, key: str, fields: str, observed_at: int, known_at: int) -> None:
        """Remember a stored version of a point, older ones of it before newer ones."""
        self._of(key).hold(observed_at, _short_digest(fields), known_at)

    def take(self, observation: Observation) -> int | None:
        """Return since when this is known when it is new, and hold it; None when it tells nothing new."""
        series, digest = self._of(observation.key), _short_digest(canonical(observation.fields))
        held = series.held(observation.observed_at)
        if held is not None and held[0] == digest:
            return None
        known_at = observation.received_at if held is None else max(observation.received_at, held[1] + 1)
        series.hold(observation.observed_at, digest, known_at)
        return known_at

    def _of(self, key: str) -> "_Series":
        name = key.rpartition("/")[0]
        series = self._series.pop(name, None) or _Series()
        self._series[name] = series
        if len(self._series) > self._most:
            del self._series[next(iter(self._series))]
        return series


class _Series:
    """Points in the order of their times: the time, the digest of what was told of it, since when that is known."""

    def __init__(self) -> None:
        self.at = array("q")
        self._digests = array("q")
        self._known_at = array("q")

    def held(self, at: int) -> tuple[int, int] | None:
        place = bisect_left(self.at, at)
        there = place < len(self.at) and self.at[place] == at
        return (self._digests[place], self._known_at[place]) if there else None

    def hold(self, at: int, digest: int, known_at: int) -> None:
        place = bisect_left(self.at, at)
        if place < len(self.at) and self.at[place] == at:
            self._digests[place], self._known_at[place] = digest, known_at
            return
        for column, value in ((self.at, at), (self._digests, digest), (self._known_at, known_at)):
            column.insert(place, value)


def canonical(fields: Mapping[str, Value]) -> str:
    """Return the fields as the one JSON text that equal fields have."""
    return msgspec.json.encode(fields, order="sorted").decode()


def _identity(source: str, key: str) -> bytes:
    return blake2b(f"{source}\n{key}".encode(), digest_size=16).digest()


def _digest(fields: str) -> bytes:
    return blake2b(fields.encode(), digest_size=16).digest()


def _short_digest(fields: str) -> int:
    return int.from_bytes(blake2b(fields.encode(), digest_size=8).digest(), "big", signed=True)
