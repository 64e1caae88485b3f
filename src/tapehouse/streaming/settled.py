"""What another process has settled since the last look: new candles and signals, and that bronze went on."""

from datetime import datetime, timedelta

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
        """Return the revisions that are new, and whether trades were committed."""
        trades_at = self._lake.version(TRADES)
        committed, self._trades_at = trades_at > self._trades_at >= 0, trades_at
        return candle_rows(self._candles.look()), signals_of(self._signals.look()), committed


class _NewRows:
    def __init__(self, lake: DeltaLake, snapshot: Snapshot, table: str) -> None:
        self._lake = lake
        self._table = table
        self._seen = set(snapshot.files(table))
        self._version = -1
        self._known_at: datetime | None = None

    def look(self) -> pl.DataFrame:
        version, fresh = self._lake.version(self._table), list[str]()
        if version != self._version:
            self._version = version
            files = self._lake.files(self._table)
            fresh = [file for file in files if file not in self._seen]
            self._seen = set(files)
        rows = self._lake.scan_files(self._table, fresh)
        if self._known_at is not None:
            rows = rows.filter(pl.col("known_at") >= self._known_at - REACH)
        found = rows.collect()
        newest = found["known_at"].max()
        self._known_at = newest if isinstance(newest, datetime) else self._known_at
        return found
