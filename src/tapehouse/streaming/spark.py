"""The Spark engine: micro-batches of the tape become bronze and silver by the decisions of the embedded engine (law 5).

Spark decodes and reduces the many trades whose ids simply go on, and writes their rows in files that the driver
commits; what repeats, is missing, late or no trade at all goes through the fold of the embedded engine, on the driver.
Bronze first: a batch that was cut short is replayed by Spark, and what of it is held already is dropped by its ids.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import polars as pl
from pyspark.sql import DataFrame

from tapehouse import telemetry
from tapehouse.catalog import CANDLES, TABLES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.loose_files import LooseFile
from tapehouse.market.windows import SECOND, WATERMARK_DELAY, is_final, opened_at
from tapehouse.ports import Batch
from tapehouse.streaming.bookkeeping import Bookkeeping
from tapehouse.streaming.commits import Unit, already_there, commit_rest_of_bronze, commit_silver
from tapehouse.streaming.fold import Fold
from tapehouse.streaming.folded import Folded
from tapehouse.streaming.quantities import Quantities
from tapehouse.streaming.recovery import MARGIN, Recovered, recall_days
from tapehouse.streaming.rows import bronze_trades
from tapehouse.streaming.runs import Run, take_run
from tapehouse.streaming.spark_partitions import Aim, Partition, records_apart, take_partitions
from tapehouse.streaming.spark_records import batches_of, received_to, records_of

WRITER = "stream"
"""Under this name the driver writes silver."""
FEW = 5_000
"""After a batch of so few records the next is taken to the driver whole: a second job would cost more than the fold."""
COVERAGE_EVERY = 10 * SECOND
REST_TRADES = frozenset({"trades", "aggTrades", "archive"})


class SparkEngine:
    """`take` is called by Spark with each micro-batch, in order; `error` is what ended it.

    `now` gives microseconds UTC and never goes back. `tell` is called with revisions of candles that are committed.
    """

    def __init__(
        self,
        lake: DeltaLake,
        recovered: Recovered,
        *,
        now: Callable[[], int],
        keep_payload: bool = True,
        tell: Callable[[pl.DataFrame], None] = lambda _revisions: None,
    ) -> None:
        self.application: Future[str] = Future()
        """The name under which batches are committed to bronze; to be set once the query runs."""
        self.error: BaseException | None = None
        self._lake = lake
        self._ledgers = recovered.ledgers
        self._now = now
        self._tell = tell
        self._aim = Aim(lake.root, lake.storage_options, keep_payload)
        self._quantities = Quantities(self._read_quantities)
        self._fold = Fold(self._ledgers, self._quantities.between, self._recall, recovered.context)
        self.books = Bookkeeping(recovered, self._fold, now)
        self._silver = {
            name: lake.last_batch(name, WRITER) + 1 for name, table in TABLES.items() if table.layer != "bronze"
        }
        self._received_to = self._covered_to = recovered.covered_to
        self._covered_at = now()
        self._records_before = FEW + 1
        self._first: int | None = None
        self._taking = threading.Lock()

    def take(self, records: DataFrame, number: int) -> None:
        """Take a micro-batch (Kafka's columns, with headers) to bronze and what follows from it to silver."""
        try:
            with self._taking, telemetry.fold_seconds.time():
                self._quantities.forget()
                self._first = number if self._first is None else self._first
                take = self._take_many if self._records_before > FEW else self._take_few
                take(records_of(records), number)
        except BaseException as error:  # a panic of Polars is no Exception; Spark tells of either as a text alone
            self.error = error
            raise

    def stop(self, within: float) -> None:
        """Begin no other batch; return when the one under way has ended, or after so many seconds."""
        self._taking.acquire(timeout=within)

    # The two ways

    def _take_few(self, records: DataFrame, number: int) -> None:
        collected = records.toArrow()
        self._records_before = len(collected)
        folded = self._fold_batches(batches_of(collected))
        self._reach(received_to(collected))
        self._commit(number, [], self._rows(folded), min(_received(folded), default=0))

    def _take_many(self, records: DataFrame, number: int) -> None:
        partitions, rest = take_partitions(records, self._aim)
        self._records_before = sum(part.records for part in partitions)
        batches = batches_of(rest)
        apart = {batch.symbol for batch in batches if batch.shape in REST_TRADES}
        apart |= {symbol for part in partitions for symbol in part.apart}
        runs, odd = self._take_runs(partitions, apart)
        folded = self._fold_batches(batches_of(records_apart(records, apart.union(odd))) if odd else batches)
        files, rows = self._without(partitions, odd)
        self._reach(min((part.received_to for part in partitions if part.received_to is not None), default=0))
        received_from = min([*(run.received_from for run in runs), *_received(folded)], default=0)
        self._commit(number, files, pl.concat([*rows, self._rows(folded)]), received_from)

    def _without(
        self, partitions: Sequence[Partition], odd: Sequence[str]
    ) -> tuple[list[LooseFile], list[pl.DataFrame]]:
        """Return the workers' files without a trade of an odd symbol, and from the others the rows that are not odd."""
        files, rows = [], []
        for part in partitions:
            if not any(run.symbol in odd for run in part.runs):
                files += part.files
            elif not all(run.symbol in odd for run in part.runs):
                rows.append(
                    self._lake.scan_paths(TRADES, [file.path for file in part.files])
                    .filter(~pl.col("symbol").is_in(odd))
                    .collect()
                )
        return files, rows

    def _rows(self, folded: Folded) -> pl.DataFrame:
        trades = Unit(parts=[folded]).trades()
        if trades is None:
            return pl.DataFrame(schema=TABLES[TRADES].schema)
        return bronze_trades(trades, keep_payload=self._aim.keep_payload)

    def _take_runs(self, partitions: list[Partition], apart: set[str]) -> tuple[list[Run], list[str]]:
        """Take the symbols whose ids simply go on; return their runs, and the symbols of the runs not taken."""
        folded, taken, odd = Folded(), [], []
        runs = [run for part in partitions for run in part.runs]
        told = Counter(run.symbol for run in runs)
        for run in runs:
            ledger = None if run.symbol in apart else self._ledgers.admit(run.symbol)
            horizon = ledger.horizon if ledger is not None else 0
            if ledger is None or told[run.symbol] > 1 or not take_run(self._fold, run, folded):
                odd.append(run.symbol)
                continue
            taken.append(run)
            for opened, candle in run.candles:
                if is_final(opened, "1m", horizon):
                    telemetry.trades_late.labels(run.symbol).inc(candle.trades)
        self._follow(folded)
        return taken, odd

    def _fold_batches(self, batches: list[Batch]) -> Folded:
        horizons = {symbol: ledger.horizon for symbol, ledger in self._ledgers.items()}
        folded = self._fold.take(batches)
        self._follow(folded)
        for symbol, traded_at, trades in folded.traded():
            if is_final(opened_at(traded_at, "1m"), "1m", horizons.get(symbol, 0)):
                telemetry.trades_late.labels(symbol).inc(trades)
        return folded

    def _follow(self, folded: Folded) -> None:
        candles = self.books.follow(folded)
        if candles or self.books.recalled:
            self.books.trim(folded.symbols())
        newest = max(self._fold.last_traded_at.values(), default=0)
        telemetry.stream_watermark.set(max(newest - WATERMARK_DELAY, 0) / SECOND)

    # To the lake

    def _commit(self, number: int, files: Sequence[LooseFile], rows: pl.DataFrame, received_from: int) -> None:
        """Commit a batch: its trades, in files of the table's place and in rows; then what follows from them."""
        if files or rows.height:
            began = time.perf_counter()
            self._append_bronze(number, TRADES, rows, files)
            telemetry.commit_seconds.labels(TRADES).observe(time.perf_counter() - began)
            telemetry.commit_age.observe(max(self._now() - received_from, 0) / SECOND)
        self._cover_when_due(received_from)
        unit = self.books.take_unit()
        commit_rest_of_bronze(unit, partial(self._append_bronze, number))
        commit_silver(unit, self._append_silver)

    def _cover_when_due(self, received_from: int) -> None:
        """Tell which ids are held, at a pace; at once where a start would not read these trades again by their time."""
        now = self._now()
        unread = 0 < received_from < self._covered_to - MARGIN
        if self.books.opened or unread or now - self._covered_at >= COVERAGE_EVERY:
            self.books.cover(self._received_to)
            self._covered_at, self._covered_to = now, self._received_to

    def _reach(self, received: int) -> None:
        self._received_to = max(self._received_to, received)

    def _append_bronze(self, number: int, table: str, frame: pl.DataFrame, files: Sequence[LooseFile] = ()) -> None:
        if self._lake.append(table, frame, writer=self.application.result(), batch=number, files=files):
            telemetry.commits.labels(table).inc()
            telemetry.bronze_rows.labels(table).inc(frame.height + sum(file.rows for file in files))
        elif number != self._first:  # only the first batch of a run can be one that Spark tells again
            raise already_there(table, number)

    def _append_silver(self, table: str, frame: pl.DataFrame) -> None:
        if not self._lake.append(table, frame, writer=WRITER, batch=self._silver[table]):
            raise already_there(table, self._silver[table])
        self._silver[table] += 1
        telemetry.commits.labels(table).inc()
        if table == CANDLES:
            self._tell(frame)

    # What the fold asks for

    def _read_quantities(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        chosen = (pl.col("symbol") == symbol) & pl.col("first_trade_id").is_between(first, last)
        return (
            self._lake.scan(TRADES).filter(chosen).select("first_trade_id", pl.col("quantity").to_physical()).collect()
        )

    def _recall(self, symbol: str, opened: int) -> None:
        self.books.recalled.add(symbol)
        recall_days(self._lake, self._ledgers[symbol], opened, self.books.unit.candles)


def _received(folded: Folded) -> list[int]:
    singles = [trade.received_at for trade, _ in folded.singles]
    return singles + [int(frame["received_at"].min()) for frame in folded.frames]  # type: ignore[arg-type]  # not empty
