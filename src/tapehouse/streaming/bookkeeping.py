"""What follows from what a fold took: settled windows, holes, checks, the ranges held; gathered into one unit.

Both engines keep their books here, so that a tape means the same in both profiles (law 5).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import cache

import structlog

from tapehouse import telemetry
from tapehouse.market.coverage import Ranges
from tapehouse.market.ledger import CandleRow, Check, Ledger
from tapehouse.market.windows import MINUTE, SECOND
from tapehouse.ports import Hole
from tapehouse.streaming.commits import Unit
from tapehouse.streaming.fold import Fold
from tapehouse.streaming.folded import Folded
from tapehouse.streaming.holes import Holes
from tapehouse.streaming.recovery import Recovered
from tapehouse.streaming.verification import Finding
from tapehouse.streaming.view import LiveView, SymbolHealth

MOST_DISPUTES = 10_000
"""Candles that differ from the exchange's and wait to be looked into at most; a start finds the others again."""

FORESEE_EVERY = SECOND
"""Time between two looks at the open windows of symbols that are watched."""

log = structlog.get_logger(__name__)
_overdue = cache(telemetry.windows_overdue.labels)


class Bookkeeping:
    """The books of the symbols that are followed, and the unit that is to be committed next.

    One thread keeps them; `record` may be called from any. `now` gives microseconds UTC and never goes back.
    """

    def __init__(self, recovered: Recovered, fold: Fold, now: Callable[[], int]) -> None:
        self.holes = Holes()
        self.disputes: deque[Check] = deque(recovered.disputes)
        self.unit = Unit()
        self.opened: list[Hole] = []
        self.recalled: set[str] = set()
        self._ledgers = recovered.ledgers
        self._signals = recovered.signals
        self._fold = fold
        self._now = now
        self._foreseen_at = 0
        self._held: dict[str, Ranges] = {}
        self._findings: deque[Finding] = deque()
        self._corrections: deque[Finding] = deque()
        self._checked: Counter[str] = Counter()
        self._agreed: Counter[str] = Counter()
        self._resume(recovered)

    def follow(self, folded: Folded) -> list[CandleRow]:
        """Take note of what a fold took; return the candles that are new."""
        candles = []
        for symbol in folded.symbols() | self._correct():
            ledger = self._ledgers[symbol]
            candles += ledger.settle(self._now())
            self._find_holes(symbol, folded)
            self._verify(ledger)
        self.unit.add(folded)
        self.unit.candles += candles
        for symbol, ranges in folded.held.items():
            held = self._held.setdefault(symbol, Ranges())
            for first, last in ranges:
                held.add(first, last)
        _count(folded)
        return candles

    def trim(self, symbols: Iterable[str]) -> None:
        """Let the ledgers forget what cannot change by itself any more."""
        for symbol in {*symbols, *self.recalled}:
            self._ledgers[symbol].trim()
        self.recalled.clear()

    def cover(self, known_at: int) -> None:
        """Put the ranges newly held, and the holes newly found as far as they still are, into the unit.

        `known_at` is a time of receipt (microseconds) of which everything before is in the books: recovery reads again
        what was received later.
        """
        self.unit.known_at = known_at
        for symbol, ranges in self._held.items():
            self.unit.coverage += [(symbol, first, last, "held") for first, last in ranges]
        for hole in self.opened:
            still = self._ledgers[hole.symbol].coverage.held.missing(hole.first_trade_id, hole.last_trade_id)
            self.unit.coverage += [(hole.symbol, first, last, "missing") for first, last in still]
        self._held.clear()
        self.opened.clear()

    def take_unit(self) -> Unit:
        """Return what is to be committed, with the differences recorded and the signals that follow from it.

        Call it when the lake holds every unit taken before. What comes later goes into a new unit.
        """
        while self._findings:
            self.unit.discrepancies += self._findings.popleft().rows
        unit, self.unit = self.unit, Unit()
        versions = [version for part in unit.parts for version in part.versions]
        unit.signals = self._signals.derive(unit.candles, versions, self._ledgers, self._now())
        return unit

    def foresee(self, view: LiveView) -> None:
        """Show now and then what the open windows of the symbols that are watched would say if they ended now."""
        now = self._now()
        if now - self._foreseen_at >= FORESEE_EVERY:
            self._foreseen_at = now
            for symbol in view.watched() & self._ledgers.keys():
                view.signals.foresee(symbol, self._signals.foresee(self._ledgers[symbol]), view.horizon)

    def record(self, finding: Finding) -> None:
        """Store what was found about a candle that differs, with the next unit; from any thread.

        Where the candle is to be corrected, that and its record come together, with the next fold.
        """
        (self._findings if finding.corrected is None else self._corrections).append(finding)

    def unheard(self) -> dict[str, list[int]]:
        """Return the 1m windows by symbol whose kline is still to be asked for, in order; from any thread."""
        of_symbols = {symbol: ledger.unheard() for symbol, ledger in self._ledgers.copy().items()}
        return {symbol: windows for symbol, windows in of_symbols.items() if windows}

    def count_verified(self, symbol: str, checked: int, agreed: int) -> None:
        """Begin the tally of verified candles with what earlier runs verified."""
        self._checked[symbol] += checked
        self._agreed[symbol] += agreed

    def health(self, symbol: str) -> SymbolHealth:
        """Return how far a symbol's data can be trusted."""
        ledger, last = self._ledgers[symbol], self._fold.last.get(symbol)
        holes = self.holes.of(symbol)
        outlook = self.holes.not_offered.outlook(holes)
        _overdue(symbol).set(len(ledger.unproved))
        return SymbolHealth(
            last_trade_id=ledger.coverage.last,
            last_traded_at=last.traded_at if last else 0,
            last_received_at=last.received_at if last else 0,
            missing_trades=sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in holes),
            holes=len(holes),
            windows_overdue=len(ledger.unproved),
            checked_candles=self._checked[symbol],
            agreeing_candles=self._agreed[symbol],
            uncompared_candles=len(ledger.uncompared),
            trades_not_offered=outlook.not_offered,
            trades_left_to_backfill=outlook.left_to_backfill,
            backfill_from=outlook.backfill_from,
            backfill_to=outlook.backfill_to,
        )

    def _resume(self, recovered: Recovered) -> None:
        self._fold.last.update(recovered.last)
        self._fold.last_traded_at.update({symbol: trade.traded_at for symbol, trade in recovered.last.items()})
        for hole in recovered.holes:
            times = {hole.first_trade_id - 1: hole.after, hole.last_trade_id + 1: hole.before}
            missing = self._ledgers[hole.symbol].coverage.missing()
            self.holes.update(hole.symbol, missing, times.get, (hole.after, hole.before))
        for symbol, first, last in recovered.unsaid:  # else a later start would take them for missing
            self._held.setdefault(symbol, Ranges()).add(first, last)
        for ledger in self._ledgers.values():
            self.unit.candles += ledger.settle(self._now())
            ledger.trim()

    def _find_holes(self, symbol: str, folded: Folded) -> None:
        ledger = self._ledgers[symbol]
        missing = ledger.coverage.missing()
        if missing or self.holes.of(symbol):
            known = self._fold.last_traded_at.get(symbol, ledger.horizon)
            between = (known, max(ledger.horizon, known) + MINUTE)
            self.opened += self.holes.update(
                symbol, missing, lambda trade_id: folded.times.get((symbol, trade_id)), between
            )

    def _correct(self) -> set[str]:
        """Put what bronze gives in place of candles that were wrong; return their symbols, to be settled."""
        symbols = set()
        while self._corrections:
            finding = self._corrections.popleft()
            check = finding.check
            ledger = self._fold.at_hand(check.symbol, check.opened_at)
            row = ledger.row("1m", check.opened_at)
            if finding.corrected is not None and row is not None and row.revision == check.revision:
                ledger.restore([(check.opened_at, finding.corrected)])
                self._findings.append(finding)
                symbols.add(check.symbol)
        return symbols

    def _verify(self, ledger: Ledger) -> None:
        """Count each window once, by what its last comparison came to."""
        for check in ledger.checks():
            agrees = not check.differences
            telemetry.candles_verified.labels("agree" if agrees else "differ").inc()
            self._checked[ledger.symbol] += check.agreed_before is None
            self._agreed[ledger.symbol] += agrees - bool(check.agreed_before)
            if not agrees:
                self._dispute(check)

    def _dispute(self, check: Check) -> None:
        if len(self.disputes) < MOST_DISPUTES:
            self.disputes.append(check)
            return
        telemetry.disputes_put_off.inc()
        log.warning("dispute_put_off", symbol=check.symbol, opened_at=check.opened_at, until="the next start")


def _count(folded: Folded) -> None:
    for refused in folded.rejected:
        telemetry.messages_rejected.labels(_reason_class(refused.reason)).inc()
    if folded.other:
        telemetry.unknown_events.labels("binance").inc(len(folded.other))


def _reason_class(reason: str) -> str:
    """Return one of a few words for a reason, so that the metric's labels stay few."""
    for word in ("binary", "zero", "time", "decimal", "id", "symbol", "window", "aggregate", "nested"):
        if word in reason:
            return word
    return "malformed"
