"""The embedded engine: takes the tape into ledgers, candles and the live view, and hands what is new to the lake."""

from collections.abc import Callable, Iterable, Sequence

import polars as pl

from tapehouse import telemetry
from tapehouse.catalog import TRADES
from tapehouse.market.events import Rejected
from tapehouse.market.windows import SECOND
from tapehouse.ports import Batch, Lake
from tapehouse.streaming.bookkeeping import Bookkeeping
from tapehouse.streaming.commits import Committer
from tapehouse.streaming.fold import Fold
from tapehouse.streaming.folded import Folded
from tapehouse.streaming.holes import Holes
from tapehouse.streaming.quantities import Quantities
from tapehouse.streaming.recovery import Recovered, recall_days
from tapehouse.streaming.view import LiveView

COVERAGE_EVERY = 10 * SECOND
"""Time between two writings of the ranges held; holes are written with the next commit."""
UNHURRIED = 2 * SECOND
"""Time between two commits while few messages come."""
LOAD = 250
"""So many messages a second or more are load, under which commits come after the shorter interval."""
LOOK_TAKES = SECOND * 3 // 40
"""Under load, the look whether a commit is due comes with a fold, each 50 to 75 ms: so much sooner it counts as due."""
MOST_ROWS = 200_000
"""Rows that wait for a commit at most; then the tape is no longer read, and fills, and the producers wait."""


class EmbeddedEngine:
    """One thread calls `fold` with what it reads from the tape, and `commit_when_due`; `close` commits the rest.

    `now` gives microseconds UTC and never goes back.
    """

    def __init__(
        self,
        lake: Lake,
        view: LiveView,
        recovered: Recovered,
        *,
        now: Callable[[], int],
        keep_payload: bool = True,
        commit_interval: float = 0.25,
    ) -> None:
        self._lake = lake
        self._view = view
        self._now = now
        self._hurried = max(0, int(commit_interval * SECOND) - LOOK_TAKES)
        self._ledgers = recovered.ledgers
        self._received_to = recovered.known_at
        self._quantities = Quantities(self._read_quantities)
        self._fold = Fold(self._ledgers, self._quantities.between, self._recall, recovered.context)
        self._committer = Committer(lake, keep_payload=keep_payload, now=now)
        self._view.attach(self._ledgers, recovered.last)
        self._books = Bookkeeping(recovered, self._fold, now)
        self._committed_at = self._covered_at = now()
        self._show_health(self._ledgers)

    @property
    def ready(self) -> bool:
        """Tell whether more can be folded before the lake has taken what waits."""
        return self._books.unit.rows < MOST_ROWS

    @property
    def holes(self) -> Holes:
        """The holes of each symbol; they may be read from any thread."""
        return self._books.holes

    @property
    def books(self) -> Bookkeeping:
        """What is known of the candles beside their rows: which differ, and of which no kline has come."""
        return self._books

    def fold(self, batches: Iterable[Batch]) -> None:
        """Take batches in order; everything that follows from them is in the view when this returns."""
        self._quantities.forget()
        with telemetry.fold_seconds.time():
            self._follow(self._fold.take(batches))

    def fold_columns(self, columns: pl.DataFrame) -> None:
        """Take single trades as columns (`streaming.columns.TRADE_COLUMNS`): what a back-fill brings."""
        folded = Folded()
        self._fold.take_columns(columns, folded)
        self._follow(folded)

    def refuse(self, rejected: Sequence[Rejected]) -> None:
        """Keep what another reader refused."""
        if rejected:
            self._follow(Folded(rejected=list(rejected)))

    def count_verified(self, symbol: str, checked: int, agreed: int) -> None:
        """Begin the tally of verified candles with what earlier runs verified."""
        self._books.count_verified(symbol, checked, agreed)
        self._show_health([symbol])

    def commit_when_due(self) -> None:
        """Hand what waits to the lake when it is time and the lake is free; raise what a commit before ended in."""
        if not self._committer.idle:
            return
        waited = self._now() - self._committed_at
        is_load = self._books.unit.rows * SECOND >= LOAD * waited
        if waited >= (self._hurried if is_load else max(self._hurried, UNHURRIED)):
            self.commit()

    def commit(self) -> None:
        """Hand what waits to the lake, as soon as it has taken what it was given before."""
        self._committer.wait()
        self._committed_at = self._now()
        self._view.committed_at = self._committer.committed_at
        if self._books.opened or self._committed_at - self._covered_at >= COVERAGE_EVERY:
            self._cover()
        unit = self._books.take_unit()
        self._view.signals.publish(unit.signals)
        if not unit.is_empty():
            self._committer.submit(unit)

    def close(self) -> None:
        """Commit everything, with the ranges held, and end."""
        self._committer.wait()
        self._cover()
        self.commit()
        self._committer.close()

    def _follow(self, folded: Folded) -> None:
        symbols = folded.symbols()
        candles = self._books.follow(folded)
        self._view.context.publish(folded.versions)
        self._received_to = max(self._received_to, folded.received_to())
        chunks = [frame.drop("payload") for frame in folded.frames]
        singles = [[trade for trade, _ in folded.singles]] if folded.singles else []
        self._view.publish([*singles, *chunks], candles)
        self._show_health(symbols)
        self._books.foresee(self._view)
        if candles or self._books.recalled:
            self._books.trim(symbols)

    def _cover(self) -> None:
        """Put the ranges held into the unit, as of the newest message folded.

        Not as of now: a message can wait on the tape for as long as the disk hangs.
        """
        self._books.cover(self._received_to)
        self._covered_at = self._now()

    def _read_quantities(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        self._committer.wait()
        chosen = (pl.col("symbol") == symbol) & pl.col("first_trade_id").is_between(first, last)
        columns = "first_trade_id", pl.col("quantity").to_physical()
        committed = self._lake.scan(TRADES).filter(chosen).select(columns).collect()
        waiting = self._books.unit.trades()
        return committed if waiting is None else committed.vstack(waiting.filter(chosen).select(columns))

    def _recall(self, symbol: str, opened: int) -> None:
        self._books.recalled.add(symbol)
        pending = [*self._committer.pending_candles(), *self._books.unit.candles]
        told = [*self._committer.pending_klines(), *self._books.unit.klines()]
        recall_days(self._lake, self._ledgers[symbol], opened, pending, told)

    def _show_health(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            self._view.set_health(symbol, self._books.health(symbol))
