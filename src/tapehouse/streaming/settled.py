"""What another process has settled since the last look: new candles and signals, and that bronze went on."""

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from tapehouse.catalog import CANDLES, SIGNALS, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.snapshot import Snapshot
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.streaming.rows import candle_rows, signals_of

REACH = timedelta(minutes=10)
"""How far back in `known_at` a new file is read: one that upkeep wrote anew has old rows as well."""


class Settled:
    """Looks at a lake again and again, each time at what is new since the look before; at first since `snapshot`."""

    def __init__(self, lake: DeltaLake, snapshot: Snapshot) -> None:
        self._lake = lake
        self._candles = _NewRows(lake, snapshot, CANDLES)
        self._signals = _NewRows(lake, snapshot, SIGNALS)
        self._trades_at = -1

    def look(self) -> tuple[list[CandleRow], list[Signal], bool]:
        """Return the revisions that are new, and whether trades were committed.

        What a look that raised LakeError would have returned, the next one returns.
        """
        trades_at = self._lake.version(TRADES)
        candles, signals = self._candles.look(), self._signals.look()
        self._candles.go_on()
        self._signals.go_on()
        committed, self._trades_at = trades_at > self._trades_at >= 0, trades_at
        return candle_rows(candles), signals_of(signals), committed


class _Place(NamedTuple):
    """How far a table was looked at: the files seen, its version, the newest `known_at`."""

    seen: set[str]
    version: int
    known_at: datetime | None


class _NewRows:
    """The rows of a table that came since `go_on` was called last; `look` may be repeated."""

    def __init__(self, lake: DeltaLake, snapshot: Snapshot, table: str) -> None:
        self._lake = lake
        self._table = table
        self._place = self._next = _Place(set(snapshot.files(table)), -1, None)

    def look(self) -> pl.DataFrame:
        seen, known_at = self._place.seen, self._place.known_at
        version, fresh = self._lake.version(self._table), list[str]()
        if version != self._place.version:
            files = self._lake.files(self._table)
            fresh = [file for file in files if file not in seen]
            seen = set(files)
        rows = self._lake.scan_files(self._table, fresh)
        if known_at is not None:
            rows = rows.filter(pl.col("known_at") >= known_at - REACH)
        found = rows.collect()
        newest = found["known_at"].max()
        self._next = _Place(seen, version, newest if isinstance(newest, datetime) else known_at)
        return found

    def go_on(self) -> None:
        """Let the next look begin where the last one ended."""
        self._place = self._next
