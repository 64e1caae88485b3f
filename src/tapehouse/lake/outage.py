"""A lake that stops answering under a process that only reads it: that goes on, and asks it nothing meanwhile."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

import polars as pl
import structlog

from tapehouse.errors import LakeError
from tapehouse.ports import Lake

log = structlog.get_logger(__name__)

Read = TypeVar("Read")


class Outage:
    """Whether a lake answers, as whoever looked at it last found; the log is told when that changes.

    `error` is why it does not, empty while it does; from any thread.
    """

    def __init__(self) -> None:
        self.error = ""
        self._since = 0.0

    def began(self, error: LakeError) -> None:
        """Take note that it did not answer."""
        if not self.error:
            self._since = time.monotonic()
            log.warning("lake_away", why=str(error), what_to_do="it is asked again until it answers")
        self.error = str(error)

    def check(self) -> None:
        """Raise LakeError while it does not answer."""
        if self.error:
            raise LakeError(self.error)

    def ended(self) -> None:
        """Take note that it answered."""
        if self.error:
            log.info("lake_back", after=round(time.monotonic() - self._since, 1))
        self.error = ""


class SparedLake:
    """A lake (`ports.Lake`) to read that is not asked while it is known not to answer.

    `pause` lets a moment pass and says whether to try once more; where it never does, a read fails at once.
    """

    def __init__(self, lake: Lake, outage: Outage, pause: Callable[[], bool] = lambda: False) -> None:
        self._lake = lake
        self._outage = outage
        self._pause = pause

    def append(self, table: str, frame: pl.DataFrame, *, writer: str, batch: int) -> bool:
        """Raise LakeError: here it is read."""
        raise LakeError(f"Batch {batch} of {writer} ({frame.height} rows of {table}) came to one who only reads.")

    def last_batch(self, table: str, writer: str) -> int:
        """Return the last batch number committed by this writer, -1 when there is none."""
        return self._asked(lambda: self._lake.last_batch(table, writer))

    def scan(self, table: str, *, dates: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the table as it is now, columns as in the catalog; `dates` (ISO days) prunes partitions."""
        return self._asked(lambda: self._lake.scan(table, dates=dates))

    def dates(self, table: str, *, symbol: str | None = None, known_since: datetime | None = None) -> list[str]:
        """Return the ISO days the table has rows of, oldest first; no fewer than have rows of what is asked for."""
        return self._asked(lambda: self._lake.dates(table, symbol=symbol, known_since=known_since))

    def _asked(self, read: Callable[[], Read]) -> Read:
        while True:
            try:
                self._outage.check()
                return read()
            except LakeError:
                if not self._pause():
                    raise
