"""What another process has settled since the last look: new revisions of candles, and that bronze went on."""

import polars as pl

from tapehouse.catalog import CANDLES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.snapshot import Snapshot
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import MINUTE
from tapehouse.streaming.rows import candle_rows, to_time

REACH = 10 * MINUTE
"""How far back in `known_at` a new file is read: one that upkeep wrote anew has old rows as well."""


class Settled:
    """Looks at a lake again and again, each time at what is new since the look before; at first since `snapshot`."""

    def __init__(self, lake: DeltaLake, snapshot: Snapshot) -> None:
        self._lake = lake
        self._seen = set(snapshot.files(CANDLES))
        self._candles_at = self._trades_at = -1
        self._known_at = 0

    def look(self) -> tuple[list[CandleRow], bool]:
        """Return the revisions that are new, and whether trades were committed."""
        trades_at, candles_at = self._lake.version(TRADES), self._lake.version(CANDLES)
        committed, self._trades_at = trades_at > self._trades_at >= 0, trades_at
        if candles_at == self._candles_at:
            return [], committed
        self._candles_at = candles_at
        return self._new_rows(), committed

    def _new_rows(self) -> list[CandleRow]:
        files = self._lake.files(CANDLES)
        fresh = [file for file in files if file not in self._seen]
        self._seen = set(files)
        recent = pl.col("known_at") >= to_time(max(0, self._known_at - REACH))
        rows = candle_rows(self._lake.scan_files(CANDLES, fresh).filter(recent).collect())
        self._known_at = max((row.known_at for row in rows), default=self._known_at)
        return rows
