"""The Spark engine: micro-batches of the tape become bronze and silver by the decisions of the embedded engine (law 5).

Spark decodes and reduces the many trades whose ids simply go on; what repeats, is missing, late or no trade at all goes
through the same fold as in the embedded engine, on the driver. Bronze first: a batch that was cut short is replayed by
Spark, and what of it is held already is dropped by its ids.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

import polars as pl
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, functions as sql

from tapehouse import telemetry
from tapehouse.catalog import PRICE, TABLES, TRADES, VENUE
from tapehouse.market.windows import SECOND, WATERMARK_DELAY, is_final, opened_at
from tapehouse.ports import Batch, Lake
from tapehouse.streaming.bookkeeping import Bookkeeping
from tapehouse.streaming.commits import Unit, already_there, commit_rest_of_bronze, commit_silver
from tapehouse.streaming.fold import Fold, Folded
from tapehouse.streaming.quantities import Quantities
from tapehouse.streaming.recovery import Recovered, recall_days
from tapehouse.streaming.rows import Row, bronze_trades
from tapehouse.streaming.runs import take_run
from tapehouse.streaming.spark_candles import Reduced, reduce_trades
from tapehouse.streaming.spark_records import DECODED_DDL, batches_of, decode, received_to, records_of

WRITER = "stream"
"""Under this name the driver writes silver."""
FEW = 5_000
"""After a batch of so few records the next is taken to the driver whole: a second job would cost more than the fold."""
COVERAGE_EVERY = 10 * SECOND
COMMITS_SEARCHED = 100
"""Commits among which the last batch is looked for at the start; those without a batch are of upkeep."""
REST_TRADES = frozenset({"trades", "aggTrades", "archive"})


class SparkEngine:
    """`take` is called by Spark with each micro-batch, in order; `error` is what ended it.

    `bronze` is where bronze/trades lies in Spark's words. `now` gives microseconds UTC and never goes back.
    """

    def __init__(
        self, lake: Lake, recovered: Recovered, *, bronze: str, now: Callable[[], int], keep_payload: bool = True
    ) -> None:
        self.application: Future[str] = Future()
        """The name under which batches are committed to bronze; to be set once the query runs."""
        self.error: BaseException | None = None
        self._lake = lake
        self._ledgers = recovered.ledgers
        self._bronze = bronze
        self._now = now
        self._keep_payload = keep_payload
        self._quantities = Quantities(self._read_quantities)
        self._fold = Fold(self._ledgers, self._quantities.between, self._recall, recovered.context)
        self.books = Bookkeeping(recovered, self._fold, now)
        self._silver = {
            name: lake.last_batch(name, WRITER) + 1 for name, table in TABLES.items() if table.layer != "bronze"
        }
        self._received_to = recovered.covered_to
        self._covered_at = now()
        self._rows_before = FEW + 1
        self._taking = threading.Lock()
        self._committed: int | None = None

    def take(self, records: DataFrame, number: int) -> None:
        """Take a micro-batch (Kafka's columns, with headers) to bronze and what follows from it to silver."""
        try:
            with self._taking, telemetry.fold_seconds.time():
                self._quantities.forget()
                if self._rows_before > FEW:
                    self._take_many(records_of(records), number)
                else:
                    self._take_few(records_of(records), number)
        except BaseException as error:
            self.error = error
            raise

    def stop(self, within: float) -> None:
        """Begin no other batch; return when the one under way has ended, or after so many seconds."""
        self._taking.acquire(timeout=within)

    # The two ways

    def _take_few(self, records: DataFrame, number: int) -> None:
        collected = records.toArrow()
        self._rows_before = len(collected)
        folded = self._fold_batches(batches_of(collected))
        self._write(self._from_driver(records, folded), number, min(_received(folded), default=0))
        self._reach(received_to(collected))
        self._commit(number)

    def _take_many(self, records: DataFrame, number: int) -> None:
        decoded = records.mapInArrow(decode, DECODED_DDL).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            reduced = reduce_trades(decoded)
            collected = decoded.filter(sql.col("symbol").isNull()).toArrow()
            self._rows_before = len(collected) + sum(each.rows for each in reduced)
            batches = batches_of(collected)
            told_apart = {batch.symbol for batch in batches if batch.shape in REST_TRADES}
            whole, odd = self._take_runs(reduced, told_apart)
            if odd:
                collected = decoded.filter(sql.col("symbol").isNull() | sql.col("symbol").isin(odd)).toArrow()
                batches = batches_of(collected)
            folded = self._fold_batches(batches)
            rows = self._from_driver(records, folded)
            if whole:
                of_runs = self._from_workers(decoded, odd)
                rows = of_runs if rows is None else of_runs.union(rows)
            times = [each.received_from for each in reduced if each.symbol not in odd]
            self._write(rows, number, min([*times, *_received(folded)], default=0))
            newest: dict[int, int] = {}
            for each in reduced:
                newest[each.partition] = max(newest.get(each.partition, 0), each.received_to)
            self._reach(min(newest.values(), default=0))
            self._commit(number)
        finally:
            decoded.unpersist()

    def _take_runs(self, reduced: list[Reduced], told_apart: set[str]) -> tuple[int, list[str]]:
        """Take the symbols whose ids simply go on; return how many those are, and the others."""
        folded, whole, odd = Folded(), 0, []
        for each in reduced:
            ledger = None if each.symbol in told_apart else self._ledgers.admit(each.symbol)
            horizon = ledger.horizon if ledger is not None else 0
            if ledger is None or each.run is None or not take_run(self._fold, each.run, folded):
                odd.append(each.symbol)
                continue
            whole += 1
            for opened, candle in each.run.candles:
                if is_final(opened, "1m", horizon):
                    telemetry.trades_late.labels(each.symbol).inc(candle.trades)
        self._follow(folded)
        return whole, odd

    def _fold_batches(self, batches: list[Batch]) -> Folded:
        horizons = {symbol: ledger.horizon for symbol, ledger in self._ledgers.items()}
        folded = self._fold.take(batches)
        self._follow(folded)
        for symbol, traded_at in _traded(folded):
            if is_final(opened_at(traded_at, "1m"), "1m", horizons.get(symbol, 0)):
                telemetry.trades_late.labels(symbol).inc()
        return folded

    def _follow(self, folded: Folded) -> None:
        candles = self.books.follow(folded)
        if candles or self.books.recalled:
            self.books.trim(folded.symbols())
        newest = max(self._fold.last_traded_at.values(), default=0)
        telemetry.stream_watermark.set(max(newest - WATERMARK_DELAY, 0) / SECOND)

    # To the lake

    def _from_driver(self, records: DataFrame, folded: Folded) -> DataFrame | None:
        unit = Unit(parts=[folded])
        trades = unit.trades()
        if trades is None or trades.is_empty():
            return None
        rows = bronze_trades(trades, keep_payload=self._keep_payload)
        table = pa.table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()))
        return records.sparkSession.createDataFrame(table)

    def _from_workers(self, decoded: DataFrame, but: list[str]) -> DataFrame:
        """Return rows of bronze/trades from the decoded trades of the symbols whose runs were taken."""
        chosen = sql.col("symbol").isNotNull()
        if but:
            chosen &= ~sql.col("symbol").isin(but)
        price = f"decimal({PRICE.precision},{PRICE.scale})"
        columns = {
            "venue": sql.lit(VENUE),
            "symbol": sql.col("symbol"),
            "first_trade_id": sql.col("trade_id"),
            "last_trade_id": sql.col("trade_id"),
            "price": _exact("price").cast(price),
            "quantity": _exact("quantity").cast(price),
            "taker_side": sql.when(sql.col("bought"), "buy").otherwise("sell"),
            "traded_at": sql.timestamp_micros("traded_at"),
            "event_at": sql.timestamp_micros("event_at"),
            "received_at": sql.timestamp_micros("received_at"),
            "source": sql.lit("stream"),
            "payload": sql.col("payload") if self._keep_payload else sql.lit(None).cast("binary"),
            "date": sql.to_date(sql.timestamp_micros("traded_at")),
        }
        return decoded.filter(chosen).select(*(columns[name].alias(name) for name in TABLES[TRADES].schema))

    def _write(self, rows: DataFrame | None, number: int, received_from: int) -> None:
        """Append a batch to bronze/trades, once: its name stands in the commit.

        Delta's own `txnVersion` would make Spark compute the table's whole state at every commit, half a second of it.
        """
        if rows is None or number <= self._committed_before(rows.sparkSession):
            return
        began = time.perf_counter()
        name = f"{self.application.result()} {number}"
        rows.write.format("delta").mode("append").option("userMetadata", name).save(self._bronze)
        telemetry.commits.labels(TRADES).inc()
        telemetry.commit_seconds.labels(TRADES).observe(time.perf_counter() - began)
        telemetry.commit_age.observe(max(self._now() - received_from, 0) / SECOND)

    def _committed_before(self, session: SparkSession) -> int:
        """Return the last batch an earlier run committed to bronze/trades, -1 when there is none; looked up once."""
        if self._committed is None:
            history = session.sql(f"DESCRIBE HISTORY delta.`{self._bronze}` LIMIT {COMMITS_SEARCHED}")
            names = [str(row["userMetadata"]).split(" ") for row in history.select("userMetadata").collect()]
            ours = [int(name[1]) for name in names if name[0] == self.application.result()]
            self._committed = max(ours, default=-1)
        return self._committed

    def _reach(self, received: int) -> None:
        self._received_to = max(self._received_to, received)

    def _commit(self, number: int) -> None:
        """Commit what goes with a batch whose trades are in bronze."""
        now = self._now()
        if self.books.opened or now - self._covered_at >= COVERAGE_EVERY:
            self.books.cover(self._received_to)
            self._covered_at = now
        unit = self.books.take_unit()
        commit_rest_of_bronze(unit, partial(self._append_bronze, number))
        commit_silver(unit, self._append_silver)

    def _append_bronze(self, number: int, table: str, frame: pl.DataFrame) -> None:
        if self._lake.append(table, frame, writer=self.application.result(), batch=number):
            telemetry.commits.labels(table).inc()
            telemetry.bronze_rows.labels(table).inc(frame.height)

    def _append_silver(self, table: str, frame: pl.DataFrame) -> None:
        if not self._lake.append(table, frame, writer=WRITER, batch=self._silver[table]):
            raise already_there(table, self._silver[table])
        self._silver[table] += 1
        telemetry.commits.labels(table).inc()

    # What the fold asks for

    def _read_quantities(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        chosen = (pl.col("symbol") == symbol) & pl.col("first_trade_id").is_between(first, last)
        return (
            self._lake.scan(TRADES).filter(chosen).select("first_trade_id", pl.col("quantity").to_physical()).collect()
        )

    def _recall(self, symbol: str, opened: int) -> None:
        self.books.recalled.add(symbol)
        recall_days(self._lake, self._ledgers[symbol], opened, self.books.unit.candles)

    def record(self, discrepancies: list[Row]) -> None:
        """Store differences from the exchange that stayed, with the next batch; from any thread."""
        self.books.record(discrepancies)


def _exact(column: str) -> Column:
    return sql.col(column).cast("decimal(19,0)") * sql.lit("0.00000001").cast("decimal(8,8)")


def _received(folded: Folded) -> list[int]:
    singles = [trade.received_at for trade, _ in folded.singles]
    return singles + [int(frame["received_at"].min()) for frame in folded.frames]  # type: ignore[arg-type]  # not empty


def _traded(folded: Folded) -> list[tuple[str, int]]:
    rows = [row for frame in folded.frames for row in frame.select("symbol", "traded_at").iter_rows()]
    return rows + [(trade.symbol, trade.traded_at) for trade, _ in folded.singles]
