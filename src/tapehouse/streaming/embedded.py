"""The embedded engine: takes the tape into ledgers, candles and the live view, and hands what is new to the lake."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import polars as pl

from tapehouse import telemetry
from tapehouse.catalog import TRADES
from tapehouse.market.coverage import Ranges
from tapehouse.market.events import Rejected
from tapehouse.market.ledger import Check, Ledger
from tapehouse.market.windows import MINUTE, SECOND
from tapehouse.ports import Batch, Hole, Lake
from tapehouse.streaming.commits import Committer, Unit
from tapehouse.streaming.context import ContextAudience
from tapehouse.streaming.fold import Fold, Folded
from tapehouse.streaming.holes import Holes
from tapehouse.streaming.quantities import Quantities
from tapehouse.streaming.recovery import Recovered, recall_days
from tapehouse.streaming.rows import Row
from tapehouse.streaming.view import LiveView, SymbolHealth

COVERAGE_EVERY = 10 * SECOND
"""Time between two writings of the ranges held; holes are written with the next commit."""
UNHURRIED = 2 * SECOND
"""Time between two commits while few messages come."""
HURRIED_ROWS = 250
"""So many rows waiting make the next commit come after the shorter interval."""
MOST_DISPUTES = 10_000
"""Candles that differ from the exchange's and wait to be looked into at most."""
MOST_ROWS = 200_000
"""Rows that wait for a commit at most; then the tape is no longer read, and fills, and the producers wait."""


_overdue = cache(telemetry.windows_overdue.labels)


class EmbeddedEngine:
    """One thread calls `fold` with what it reads from the tape, and `commit_when_due`; `close` commits the rest.

    `now` gives microseconds UTC and never goes back. `audience` hears of the market's context before it is committed.
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
        audience: ContextAudience | None = None,
    ) -> None:
        self.holes = Holes()
        self.disputes: deque[Check] = deque(maxlen=MOST_DISPUTES)
        self._discrepancies: deque[Row] = deque()
        self._lake = lake
        self._view = view
        self._audience = audience
        self._now = now
        self._hurried = int(commit_interval * SECOND)
        self._ledgers = recovered.ledgers
        self._recalled: set[str] = set()
        self._received_to = recovered.known_at
        self._quantities = Quantities(self._read_quantities)
        self._fold = Fold(self._ledgers, self._quantities.between, self._recall, recovered.context)
        self._committer = Committer(lake, keep_payload=keep_payload, now=now)
        self._unit = Unit()
        self._held: dict[str, Ranges] = {}
        self._opened: list[Hole] = []
        self._committed_at = self._covered_at = now()
        self._checked: Counter[str] = Counter()
        self._agreed: Counter[str] = Counter()
        self._unproved: dict[str, int] = {}
        self._resume(recovered)

    @property
    def ready(self) -> bool:
        """Tell whether more can be folded before the lake has taken what waits."""
        return self._unit.rows < MOST_ROWS

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
        self._checked[symbol] += checked
        self._agreed[symbol] += agreed
        self._show_health([symbol])

    def commit_when_due(self) -> None:
        """Hand what waits to the lake when it is time and the lake is free; raise what a commit before ended in."""
        now = self._now()
        if not self._committer.idle:
            return
        waits = self._hurried if self._unit.rows >= HURRIED_ROWS else UNHURRIED
        if now - self._committed_at >= waits:
            self.commit()

    def commit(self) -> None:
        """Hand what waits to the lake, as soon as it has taken what it was given before."""
        self._committer.wait()
        self._committed_at = self._now()
        self._view.committed_at = self._committer.committed_at
        if self._opened or self._committed_at - self._covered_at >= COVERAGE_EVERY:
            self._cover()
        while self._discrepancies:
            self._unit.discrepancies.append(self._discrepancies.popleft())
        if not self._unit.is_empty():
            unit, self._unit = self._unit, Unit()
            self._committer.submit(unit)

    def close(self) -> None:
        """Commit everything, with the ranges held, and end."""
        self._committer.wait()
        self._cover()
        self.commit()
        self._committer.close()

    def record(self, discrepancies: Sequence[Row]) -> None:
        """Store differences from the exchange that stayed, with the next commit; from any thread."""
        self._discrepancies.extend(discrepancies)

    # From one step to the next

    def _resume(self, recovered: Recovered) -> None:
        self._fold.last.update(recovered.last)
        self._fold.last_traded_at.update({symbol: trade.traded_at for symbol, trade in recovered.last.items()})
        self._view.attach(self._ledgers, recovered.last)
        for hole in recovered.holes:
            times = {hole.first_trade_id - 1: hole.after, hole.last_trade_id + 1: hole.before}
            missing = self._ledgers[hole.symbol].coverage.missing()
            self.holes.update(hole.symbol, missing, times.get, (hole.after, hole.before))
        for symbol, first, last in recovered.unsaid:  # else a later start would take them for missing
            self._held.setdefault(symbol, Ranges()).add(first, last)
        for ledger in self._ledgers.values():
            self._unit.candles += ledger.settle(self._now())
            ledger.trim()
        self._show_health(self._ledgers)

    def _follow(self, folded: Folded) -> None:
        symbols = folded.symbols()
        candles = []
        for symbol in symbols:
            ledger = self._ledgers[symbol]
            candles += ledger.settle(self._now())
            self._find_holes(symbol, folded)
            self._verify(ledger)
        self._unit.add(folded)
        if folded.versions and self._audience is not None:
            self._audience.publish(folded.versions)
        self._unit.candles += candles
        self._received_to = max(self._received_to, folded.received_to())
        for symbol, ranges in folded.held.items():
            held = self._held.setdefault(symbol, Ranges())
            for first, last in ranges:
                held.add(first, last)
        self._count(folded)
        chunks = [frame.drop("payload") for frame in folded.frames]
        singles = [[trade for trade, _ in folded.singles]] if folded.singles else []
        self._view.publish([*singles, *chunks], candles)
        self._show_health(symbols)
        if candles or self._recalled:
            for symbol in symbols | self._recalled:
                self._ledgers[symbol].trim()
            self._recalled.clear()

    def _find_holes(self, symbol: str, folded: Folded) -> None:
        ledger = self._ledgers[symbol]
        missing = ledger.coverage.missing()
        if missing or self.holes.of(symbol):
            known = self._fold.last_traded_at.get(symbol, ledger.horizon)
            between = (known, max(ledger.horizon, known) + MINUTE)
            self._opened += self.holes.update(
                symbol, missing, lambda trade_id: folded.times.get((symbol, trade_id)), between
            )

    def _verify(self, ledger: Ledger) -> None:
        for check in ledger.checks():
            self._checked[ledger.symbol] += 1
            if check.differences:
                telemetry.candles_verified.labels("differ").inc()
                self.disputes.append(check)
            else:
                telemetry.candles_verified.labels("agree").inc()
                self._agreed[ledger.symbol] += 1

    def _cover(self) -> None:
        """Put the ranges newly held, and the holes newly found as far as they still are, into the unit.

        They are known as of the newest message folded, not as of now: recovery reads again what was received later, and
        a message can wait on the tape for as long as the disk hangs.
        """
        self._unit.known_at = self._received_to
        for symbol, ranges in self._held.items():
            self._unit.coverage += [(symbol, first, last, "held") for first, last in ranges]
        for hole in self._opened:
            still = self._ledgers[hole.symbol].coverage.held.missing(hole.first_trade_id, hole.last_trade_id)
            self._unit.coverage += [(hole.symbol, first, last, "missing") for first, last in still]
        self._held.clear()
        self._opened.clear()
        self._covered_at = self._now()

    def _read_quantities(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        self._committer.wait()
        chosen = (pl.col("symbol") == symbol) & pl.col("first_trade_id").is_between(first, last)
        columns = "first_trade_id", pl.col("quantity").to_physical()
        committed = self._lake.scan(TRADES).filter(chosen).select(columns).collect()
        waiting = self._unit.trades()
        return committed if waiting is None else committed.vstack(waiting.filter(chosen).select(columns))

    def _recall(self, symbol: str, opened: int) -> None:
        self._recalled.add(symbol)
        pending = [*self._committer.pending_candles(), *self._unit.candles]
        recall_days(self._lake, self._ledgers[symbol], opened, pending)

    # What is shown

    def _count(self, folded: Folded) -> None:
        for refused in folded.rejected:
            telemetry.messages_rejected.labels(_reason_class(refused.reason)).inc()
        if folded.other:
            telemetry.unknown_events.labels("binance").inc(len(folded.other))

    def _show_health(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            ledger, last = self._ledgers[symbol], self._fold.last.get(symbol)
            holes = self.holes.of(symbol)
            if self._unproved.get(symbol) != len(ledger.unproved):
                self._unproved[symbol] = len(ledger.unproved)
                _overdue(symbol).set(len(ledger.unproved))
            self._view.set_health(
                symbol,
                SymbolHealth(
                    last_trade_id=ledger.coverage.last,
                    last_traded_at=last.traded_at if last else 0,
                    last_received_at=last.received_at if last else 0,
                    missing_trades=sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in holes),
                    holes=len(holes),
                    windows_overdue=len(ledger.unproved),
                    checked_candles=self._checked[symbol],
                    agreeing_candles=self._agreed[symbol],
                ),
            )


def _reason_class(reason: str) -> str:
    """Return one of a few words for a reason, so that the metric's labels stay few."""
    for word in ("binary", "zero", "time", "decimal", "id", "symbol", "window", "aggregate", "nested"):
        if word in reason:
            return word
    return "malformed"
