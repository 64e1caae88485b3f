"""The follower: the present of a platform whose tables another process writes.

It folds the same tape with the same code as the engines and commits nothing. What is settled is said by the lake: its
revisions are taken over as they come, and until then the follower's own judgement stands in for the next of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec
import polars as pl

from tapehouse import telemetry
from tapehouse.catalog import TRADES
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.market.windows import INTERVALS, kept_from
from tapehouse.ports import Batch, Lake
from tapehouse.streaming.bookkeeping import Bookkeeping
from tapehouse.streaming.commits import Unit
from tapehouse.streaming.fold import Fold
from tapehouse.streaming.followed_view import NOT_STORED, FollowedView
from tapehouse.streaming.quantities import Quantities
from tapehouse.streaming.recovery import Recovered, recall_days

MOST_RECENT = 500_000
"""Newest trades whose quantities are remembered until the lake surely has them: aggregates are reduced by them."""


class Follower:
    """One thread calls `fold` with what it reads from the tape, and `take_over` with what the lake has settled.

    `now` gives microseconds UTC and never goes back.
    """

    def __init__(self, lake: Lake, view: FollowedView, recovered: Recovered, *, now: Callable[[], int]) -> None:
        self._lake = lake
        self._view = view
        self._ledgers = recovered.ledgers
        recovered.signals.read_from(lake)
        self._quantities = Quantities(self._read_quantities)
        self._recent: deque[pl.DataFrame] = deque()
        self._fold = Fold(self._ledgers, self._quantities.between, self._recall, recovered.context)
        self._view.attach(self._ledgers, recovered.last)
        self._view.confirm(row for of in self._ledgers.values() for name in INTERVALS for row in of.rows(name))
        self._books = Bookkeeping(recovered, self._fold, now)
        self._let_go()
        self._show_health(self._ledgers)

    def fold(self, batches: Iterable[Batch]) -> None:
        """Take batches in order; everything that follows from them is in the view when this returns."""
        self._quantities.forget()
        with telemetry.fold_seconds.time():
            folded = self._fold.take(batches)
        candles = self._books.follow(folded)
        if folded.versions:
            self._view.context.publish(folded.versions)
        chunks = [frame.drop("payload") for frame in folded.frames]
        singles = [[trade for trade, _ in folded.singles]] if folded.singles else []
        self._view.publish([*singles, *chunks], [row for row in candles if self._is_ours_to_judge(row)])
        symbols = folded.symbols()
        self._show_health(symbols)
        self._books.foresee(self._view)
        if candles or self._books.recalled:
            self._books.trim(symbols)
        self._remember(self._let_go())

    def take_over(self, rows: Sequence[CandleRow], signals: Sequence[Signal] = ()) -> None:
        """Show revisions that the lake has now."""
        self._view.publish([], self._view.confirm(rows))
        self._view.signals.publish(signals)

    def count_verified(self, symbol: str, checked: int, agreed: int) -> None:
        """Begin the tally of verified candles with what was verified before."""
        self._books.count_verified(symbol, checked, agreed)
        self._show_health([symbol])

    def _is_ours_to_judge(self, row: CandleRow) -> bool:
        """Tell whether a window is wholly at hand, not recalled from a lake that may have read further than we."""
        return row.opened_at >= kept_from(row.interval, self._ledgers[row.symbol].horizon)

    def _let_go(self) -> Unit:
        """Return what an engine would commit now; nobody commits it here."""
        self._books.cover(0)
        self._books.disputes.clear()
        unit = self._books.take_unit()
        self._view.signals.publish(msgspec.structs.replace(signal, known_at=NOT_STORED) for signal in unit.signals)
        return unit

    def _remember(self, unit: Unit) -> None:
        trades = unit.trades()
        if trades is not None:
            self._recent.append(trades.select("symbol", "first_trade_id", pl.col("quantity").to_physical()))
        while sum(frame.height for frame in self._recent) > MOST_RECENT and len(self._recent) > 1:
            self._recent.popleft()

    def _read_quantities(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        chosen = (pl.col("symbol") == symbol) & pl.col("first_trade_id").is_between(first, last)
        columns = "first_trade_id", pl.col("quantity").to_physical()
        stored = self._lake.scan(TRADES).filter(chosen).select(columns).collect()
        recent = [frame.filter(chosen).select(columns) for frame in self._recent]
        return pl.concat([stored, *recent]).unique("first_trade_id")

    def _recall(self, symbol: str, opened: int) -> None:
        self._books.recalled.add(symbol)
        recall_days(self._lake, self._ledgers[symbol], opened)

    def _show_health(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            self._view.set_health(symbol, self._books.health(symbol))
