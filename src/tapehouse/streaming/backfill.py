"""The past of a symbol into the same tables: archives for whole days, REST for the rest, each id once.

It can be stopped and repeated: what is proved whole already is passed over, and what is held is not counted twice.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES
from tapehouse.lake.history import highest_revisions
from tapehouse.market.events import Rejected
from tapehouse.market.proof import CLOSED, QUIET
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.ports import Batch, Lake
from tapehouse.producers.binance.archive import archive_url, download, read_trades
from tapehouse.producers.binance.wire import TRADES_TOPIC
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.rows import to_time

Span = tuple[int, int]
"""From the first to before the last microsecond."""


class Past(Protocol):
    """Who can tell what happened."""

    def history(self, symbol: str, start: int, end: int) -> AsyncIterator[tuple[Batch, int]]:
        """Yield batches of what happened in [start, end), each with how far it comes."""

    async def klines(self, symbol: str, start: int, end: int) -> list[bytes]:
        """Return the 1m klines that open in [start, end), as rows of the REST answer."""


class Step(msgspec.Struct, frozen=True):
    """How far a back-fill has come with one span of a symbol; `done` of `whole`, in whatever `source` counts."""

    symbol: str
    day: date
    source: str
    done: int
    whole: int


class Backfill:
    """Fills ranges of symbols; the lake is this process's own while it runs."""

    def __init__(
        self,
        lake: Lake,
        engine: EmbeddedEngine,
        past: Past,
        *,
        archives: str,
        now: Callable[[], int],
        tell: Callable[[Step], None],
    ) -> None:
        self._lake = lake
        self._engine = engine
        self._past = past
        self._archives = archives
        self._now = now
        self._tell = tell

    async def fill(self, symbol: str, start: int, end: int) -> None:
        """Fill [start, end) of a symbol, oldest day first; raise UpstreamError when it cannot go on."""
        for opened in range(start - start % DAY, end, DAY):
            for span in unproved(self._lake, symbol, (max(opened, start), min(opened + DAY, end))):
                if span == (opened, opened + DAY) and await self._from_archive(symbol, opened):
                    await self._klines(symbol, span)
                else:
                    await self._over_rest(symbol, span)
            self._engine.commit()

    async def _from_archive(self, symbol: str, opened: int) -> bool:
        day = to_time(opened).date()
        url = archive_url(self._archives, symbol, day)
        with tempfile.TemporaryDirectory(prefix="tapehouse-archive-") as folder:
            path = Path(folder) / url.rpartition("/")[2]
            came = await asyncio.to_thread(download, url, path, self._telling(symbol, day, "download"))
            if came:
                await asyncio.to_thread(self._fold_archive, path, symbol, day)
            return came

    def _fold_archive(self, path: Path, symbol: str, day: date) -> None:
        rows = 0
        for columns, refused in read_trades(path, symbol, self._now()):
            self._engine.fold_columns(columns)
            self._engine.refuse([Rejected(TRADES_TOPIC, "an archive's line", line, self._now()) for line in refused])
            self._engine.commit()
            rows += columns.height
            self._tell(Step(symbol, day, "archive", rows, 0))

    async def _klines(self, symbol: str, span: Span) -> None:
        rows = await self._past.klines(symbol, *span)
        self._engine.fold([Batch(rows, [self._now()] * len(rows), "klines", symbol)])

    async def _over_rest(self, symbol: str, span: Span) -> None:
        start, end = span
        async for batch, reached in self._past.history(symbol, start, end):
            self._engine.fold([batch])
            self._engine.commit_when_due()
            self._tell(Step(symbol, to_time(start).date(), "REST", reached - start, end - start))

    def _telling(self, symbol: str, day: date, source: str) -> Callable[[int, int], None]:
        return lambda done, whole: self._tell(Step(symbol, day, source, done, whole))


def unproved(lake: Lake, symbol: str, span: Span) -> Iterator[Span]:
    """Yield the parts of a span (within one UTC day) whose 1m windows are not all proved, whole days undivided."""
    start, end = span[0] - span[0] % MINUTE, -(-span[1] // MINUTE) * MINUTE
    rows = lake.scan(CANDLES, dates=[to_time(start).date().isoformat()]).filter(
        pl.col("symbol") == symbol, pl.col("interval") == "1m"
    )
    proved = highest_revisions(rows).filter(pl.col("state").is_in([CLOSED, QUIET]))
    held = set(proved.select(pl.col("opened_at").to_physical()).collect()["opened_at"])
    wanted = [opened for opened in range(start, end, MINUTE) if opened not in held]
    if len(wanted) * 2 > (end - start) // MINUTE:
        yield start, end
        return
    while wanted:
        first = last = wanted.pop(0)
        while wanted and wanted[0] == last + MINUTE:
            last = wanted.pop(0)
        yield first, last + MINUTE
