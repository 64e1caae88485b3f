"""What is known of the market's context right now: the newest version of each key, read from any thread.

Written by the engine as soon as it has read an answer, before the lake has it.
"""

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest

import msgspec
import polars as pl

from tapehouse.catalog import CONTEXT_TABLES
from tapehouse.lake.history import latest_versions
from tapehouse.market.context import Kind, Observation, Value, Version
from tapehouse.ports import Lake
from tapehouse.producers.coingecko.wire import HISTORY

MOST: Mapping[Kind, int] = {"market_data": 2_000, "sentiment": 5_000, "news": 2_000, "symbols": 2_000}
"""Keys of each kind that are remembered at least, when there are so many: those that are newest by what they are as of.

They are the coins of a large installation, thirteen years of days, some days of stories, every symbol there is."""
SPARE = 1.25
"""How many times MOST there may be before the oldest are let go."""
CHANGES_KEPT = 1_000
"""Changes that a reader may lag behind."""
RECALLED_DAYS = 31
"""Days of receipt, of those that have any, whose keys are remembered again at the start."""

_fields = msgspec.json.Decoder(dict[str, Value])


class ContextView:
    """The newest version of each key by kind, without its bytes; a coin's fetched past stays in the lake alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[Kind, dict[tuple[str, str], Version]] = {kind: {} for kind in MOST}
        self._changes: deque[tuple[int, Version]] = deque(maxlen=CHANGES_KEPT)
        self._sequence = 0

    def recall(self, lake: Lake) -> None:
        """Remember what the lake holds, where nothing newer is known."""
        for kind in MOST:
            found: list[Version] = []
            days = lake.dates(CONTEXT_TABLES[kind])
            # What is received once may lie far back: a day's index, a symbol. Coins and stories are told anew each day.
            for day in reversed(days if kind in {"sentiment", "symbols"} else days[-RECALLED_DAYS:]):
                found += stored_versions(lake, kind, pl.col("source") != HISTORY, dates=[day])
                if len(found) >= MOST[kind]:
                    break
            with self._lock:
                for version in found:
                    self._keep(version)
                self._bound(kind)

    def publish(self, versions: Sequence[Version]) -> None:
        """Show what was told; called by the engine's thread."""
        with self._lock:
            for version in versions:
                if version.observation.source == HISTORY:
                    continue
                kept = msgspec.structs.replace(version, payload=b"")
                if self._keep(kept):
                    self._sequence += 1
                    self._changes.append((self._sequence, kept))
            for kind in {version.observation.kind for version in versions}:
                self._bound(kind)

    @property
    def sequence(self) -> int:
        """The number of the last change."""
        return self._sequence

    def since(self, sequence: int) -> tuple[list[Version], int, int]:
        """Return the changes after a number, oldest first, the number of the last, and how many are held no longer."""
        with self._lock:
            changes = [version for number, version in self._changes if number > sequence]
            return changes, self._sequence, self._sequence - sequence - len(changes)

    def newest(self, kind: Kind) -> list[Version]:
        """Return the newest version of each key, by what they are as of."""
        with self._lock:
            versions = list(self._newest[kind].values())
        return sorted(versions, key=_as_of)

    def _keep(self, version: Version) -> bool:
        told = version.observation
        known = self._newest[told.kind].get((told.source, told.key))
        if known is not None and known.known_at >= version.known_at:
            return False
        self._newest[told.kind][told.source, told.key] = version
        return True

    def _bound(self, kind: Kind) -> None:
        if len(self._newest[kind]) > MOST[kind] * SPARE:
            kept = nlargest(MOST[kind], self._newest[kind].values(), key=_as_of)
            self._newest[kind] = {(v.observation.source, v.observation.key): v for v in kept}


def stored_versions(
    lake: Lake, kind: Kind, *conditions: pl.Expr, dates: Sequence[str] | None = None
) -> Iterator[Version]:
    """Give the newest stored version of each key; see `latest_versions`."""
    return versions_of(kind, latest_versions(lake, CONTEXT_TABLES[kind], *conditions, dates=dates))


def versions_of(kind: Kind, frame: pl.DataFrame) -> Iterator[Version]:
    """Read rows of a table of the market's context, without their bytes."""
    columns = ("source", "key", "observed_at", "received_at", "known_at", "fields")
    rows = frame.select(columns).with_columns(pl.col(pl.Datetime).to_physical())
    for source, key, observed_at, received_at, known_at, fields in rows.iter_rows():
        told = Observation(kind, source, key, observed_at, received_at, _fields.decode(fields))
        yield Version(told, known_at, b"")


def _as_of(version: Version) -> tuple[int, str, str]:
    told = version.observation
    return told.observed_at, told.source, told.key
