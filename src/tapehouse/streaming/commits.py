"""What goes to the lake together, and the one thread that takes it there: bronze first, then what follows from it."""

import queue
import threading
import time
from collections.abc import Callable

import msgspec
import polars as pl

from tapehouse import telemetry
from tapehouse.catalog import (
    CANDLES,
    CONTEXT_TABLES,
    COVERAGE,
    DISCREPANCIES,
    KLINES,
    OTHER_EVENTS,
    REJECTED,
    SIGNALS,
    TABLES,
    TRADES,
)
from tapehouse.errors import LakeError
from tapehouse.market.events import Kline
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.ports import Lake
from tapehouse.streaming.folded import Folded
from tapehouse.streaming.rows import (
    Row,
    bronze_context,
    bronze_klines,
    bronze_other_events,
    bronze_rejected,
    bronze_trades,
    gold_signals,
    silver_candles,
    silver_coverage,
    silver_discrepancies,
    trade_columns,
)

WRITER = "embedded"

Append = Callable[[str, pl.DataFrame], None]
"""Takes rows to a table."""


class Unit(msgspec.Struct):
    """Rows that are committed one table after the other; a crash in between is mended by recovery."""

    parts: list[Folded] = msgspec.field(default_factory=list)
    candles: list[CandleRow] = msgspec.field(default_factory=list)
    coverage: list[tuple[str, int, int, str]] = msgspec.field(default_factory=list)
    signals: list[Signal] = msgspec.field(default_factory=list)
    discrepancies: list[Row] = msgspec.field(default_factory=list)
    known_at: int = 0
    rows: int = 0

    def add(self, part: Folded) -> None:
        """Add what a fold took."""
        self.parts.append(part)
        self.rows += len(part.singles) + sum(frame.height for frame in part.frames)
        self.rows += len(part.klines) + len(part.rejected) + len(part.other) + len(part.versions)

    def is_empty(self) -> bool:
        """Tell whether there is nothing to commit."""
        return not (self.rows or self.candles or self.signals or self.coverage or self.discrepancies)

    def trades(self) -> pl.DataFrame | None:
        """Return the accepted trades as columns, None when there are none."""
        frames = [frame for part in self.parts for frame in part.frames]
        singles = [single for part in self.parts for single in part.singles]
        if singles:
            frames.append(trade_columns(singles))
        return pl.concat(frames) if frames else None

    def klines(self) -> list[Kline]:
        """Return the klines that were told for the first time."""
        return [kline for part in self.parts for kline, _ in part.klines]


class Committer:
    """Commits units one at a time in a thread of its own; an error there is raised from the next call here."""

    def __init__(self, lake: Lake, *, keep_payload: bool, now: Callable[[], int]) -> None:
        self._lake = lake
        self._keep_payload = keep_payload
        self._now = now
        self._batches = {table: lake.last_batch(table, WRITER) + 1 for table in TABLES}
        self._units: queue.Queue[Unit | None] = queue.Queue(maxsize=1)
        self._current: Unit | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)
        self._thread.start()
        self.committed_at = 0

    @property
    def idle(self) -> bool:
        """Tell whether a unit would be taken at once; raise what went wrong with an earlier one."""
        if self._error is not None:
            raise self._error
        return self._current is None

    def submit(self, unit: Unit) -> None:
        """Hand over a unit; call it when idle."""
        self._current = unit
        self._units.put(unit)

    def wait(self) -> None:
        """Return when everything handed over is committed; raise what went wrong."""
        self._units.join()
        _ = self.idle

    def close(self) -> None:
        """Commit what was handed over and end the thread; raise what went wrong."""
        self._units.put(None)
        self._thread.join()
        _ = self.idle

    def pending_candles(self) -> list[CandleRow]:
        """Return the candles of the unit that is on its way."""
        unit = self._current
        return list(unit.candles) if unit is not None else []

    def pending_klines(self) -> list[Kline]:
        """Return the klines of the unit that is on its way."""
        unit = self._current
        return unit.klines() if unit is not None else []

    def _run(self) -> None:
        while (unit := self._units.get()) is not None:
            try:
                if self._error is None:
                    self._commit(unit)
            except BaseException as error:  # noqa: BLE001  # raised again in the engine's thread, a panic of Polars too
                self._error = error
            finally:
                self._current = None
                self._units.task_done()
        self._units.task_done()

    def _commit(self, unit: Unit) -> None:
        trades = unit.trades()
        if trades is not None:
            self._append(TRADES, bronze_trades(trades, keep_payload=self._keep_payload))
            self.committed_at = self._now()
            oldest: int = trades["received_at"].min()  # type: ignore[assignment]  # a column of integers, not empty
            telemetry.commit_age.observe(max(self.committed_at - oldest, 0) / 1e6)
        commit_rest_of_bronze(unit, self._append)
        commit_silver(unit, self._append)

    def _append(self, table: str, frame: pl.DataFrame) -> None:
        began = time.perf_counter()
        if not self._lake.append(table, frame, writer=WRITER, batch=self._batches[table]):
            raise already_there(table, self._batches[table])
        self._batches[table] += 1
        telemetry.commits.labels(table).inc()
        telemetry.commit_seconds.labels(table).observe(time.perf_counter() - began)
        if TABLES[table].layer == "bronze":
            telemetry.bronze_rows.labels(table).inc(frame.height)


def already_there(table: str, batch: int) -> LakeError:
    """Return the error of a commit whose number somebody has used."""
    return LakeError(
        f"Commit {batch} of {table} is there already: another process writes this lake, or the storage's answer to us "
        "was lost. Nothing is lost: start again when no other process writes it."
    )


def commit_rest_of_bronze(unit: Unit, append: Append) -> None:
    """Append what a unit has for bronze besides trades."""
    klines = [kline for part in unit.parts for kline in part.klines]
    rejected = [refused for part in unit.parts for refused in part.rejected]
    other = [event for part in unit.parts for event in part.other]
    versions = [version for part in unit.parts for version in part.versions]
    if klines:
        append(KLINES, bronze_klines(klines))
    if rejected:
        append(REJECTED, bronze_rejected(rejected))
    if other:
        append(OTHER_EVENTS, bronze_other_events(other))
    for kind, table in CONTEXT_TABLES.items():
        told = [version for version in versions if version.observation.kind == kind]
        if told:
            append(table, bronze_context(table, told))


def commit_silver(unit: Unit, append: Append) -> None:
    """Append what follows from bronze, which must be there: candles, their signals, and the ranges held last.

    Once the ranges are there, a start has nothing to do again of what came before.
    """
    if unit.candles:
        append(CANDLES, silver_candles(unit.candles))
        for row in unit.candles:
            telemetry.candles_written.labels(row.interval, row.state).inc()
            if row.revision > 1:
                telemetry.candle_revisions.labels(row.interval).inc()
    if unit.signals:
        append(SIGNALS, gold_signals(unit.signals))
        for signal in unit.signals:
            telemetry.signals.labels(signal.kind, signal.state).inc()
    if unit.discrepancies:
        append(DISCREPANCIES, silver_discrepancies(unit.discrepancies))
    if unit.coverage:
        append(COVERAGE, silver_coverage(unit.coverage, unit.known_at))
