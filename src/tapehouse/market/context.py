"""The context of a market: what upstreams beside the exchange tell, and when a telling is something new."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Literal

import msgspec

Kind = Literal["market_data", "sentiment", "news"]
Value = str | int | float | bool | list[str] | None

MOST_KEYS = 50_000
"""So many keys of a kind are remembered; the one told longest ago is forgotten first."""


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


class _Held(msgspec.Struct, frozen=True):
    digest: bytes
    observed_at: int
    known_at: int


class Known:
    """The newest version of each key, so that a repetition is told from a change; one instance a kind."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._held: dict[tuple[str, str], _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def keys(self) -> list[tuple[str, str]]:
        """Return the sources and keys that are held."""
        return list(self._held)

    def recall(self, source: str, key: str, fields: str, observed_at: int, known_at: int) -> None:
        """Remember a stored version; `fields` as `canonical` wrote them. Call it oldest version first."""
        self._hold((source, key), _Held(_digest(fields), observed_at, known_at))

    def take(self, observation: Observation) -> int | None:
        """Return since when this is known when it is new, and hold it; None when it tells nothing new.

        The same fields are nothing new. Nor is what a measurement was before the one held: an upstream's caches answer
        in turn, and a story alone may be corrected to an earlier time.
        """
        identity = observation.source, observation.key
        held = self._held.get(identity)
        digest = _digest(canonical(observation.fields))
        if held is not None:
            older = observation.kind != "news" and observation.observed_at < held.observed_at
            if older or digest == held.digest:
                return None
        known_at = observation.received_at if held is None else max(observation.received_at, held.known_at + 1)
        self._hold(identity, _Held(digest, observation.observed_at, known_at))
        return known_at

    def _hold(self, identity: tuple[str, str], held: _Held) -> None:
        self._held.pop(identity, None)
        self._held[identity] = held
        if len(self._held) > self._most:
            del self._held[next(iter(self._held))]


def canonical(fields: Mapping[str, Value]) -> str:
    """Return the fields as the one JSON text that equal fields have."""
    return msgspec.json.encode(fields, order="sorted").decode()


def _digest(fields: str) -> bytes:
    return blake2b(fields.encode(), digest_size=16).digest()
