"""What happens is told to everyone who listens: each message is encoded once, and only when somebody wants it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from tapehouse.api import messages
from tapehouse.api.audience import Audience
from tapehouse.api.clients import offer
from tapehouse.api.context_changes import ContextChanges
from tapehouse.api.signal_changes import SignalChanges
from tapehouse.api.standing import Standing
from tapehouse.market.ledger import CandleRow
from tapehouse.streaming.view import LiveView, Update

HEALTH_EVERY = 1.0
PRICES_EVERY = 0.25
CONTEXT_EVERY = 0.25
SIGNALS_EVERY = 0.25
"""Seconds between two messages of those channels."""

Report = Callable[[Iterable[str]], dict[str, object]]
"""Makes the health report of some symbols."""


class Broadcast:
    """Follows the live view for as long as `run` runs."""

    def __init__(
        self, view: LiveView, standing: Standing, report: Report, audience: Audience, pins: Mapping[str, str]
    ) -> None:
        self._view = view
        self._standing = standing
        self._report = report
        self._audience = audience
        self._pins = pins
        self._traded: set[str] = set()

    async def run(self) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(_repeat(PRICES_EVERY, self._tell_prices))
            tasks.create_task(_repeat(HEALTH_EVERY, self._tell_health))
            tasks.create_task(_repeat(CONTEXT_EVERY, ContextChanges(self._view, self._audience, self._pins).tell))
            tasks.create_task(_repeat(SIGNALS_EVERY, SignalChanges(self._view, self._audience).tell))

    def health(self, symbols: Iterable[str]) -> str:
        """Make the health message of some symbols."""
        return messages.health(self._view.sequence, self._report(symbols))

    async def _follow(self) -> None:
        subscription = self._view.subscribe(asyncio.get_running_loop(), lambda: self._audience.interest)
        try:
            while True:
                updates, lost = await subscription.updates()
                if lost:
                    self._tell_behind(lost)
                for update in updates:
                    self._tell(update)
        finally:
            self._view.unsubscribe(subscription)

    def _tell(self, update: Update) -> None:
        self._traded.update(update.traded)
        for symbol, trades in update.trades.items():
            if listeners := self._audience.of("trades", symbol):
                offer(listeners, messages.trades(update.sequence, symbol, trades, update.skipped[symbol]))
        for (symbol, interval), rows in self._wanted_candles(update.candles).items():
            message = messages.candles(update.sequence, symbol, interval, rows, self._view.horizon)
            offer(self._audience.of("candles", symbol, interval), message)

    def _wanted_candles(self, candles: Iterable[CandleRow]) -> dict[tuple[str, str], list[CandleRow]]:
        wanted: dict[tuple[str, str], list[CandleRow]] = {}
        for row in candles:
            if self._audience.of("candles", row.symbol, row.interval):
                wanted.setdefault((row.symbol, row.interval), []).append(row)
        return wanted

    def _tell_behind(self, lost: int) -> None:
        for client in self._audience:
            client.fall_behind(lost)

    def _tell_prices(self) -> None:
        traded, self._traded = self._traded, set()
        listeners = self._audience.of("prices")
        if traded and listeners:
            offer(listeners, self._standing.prices(traded))

    def _tell_health(self) -> None:
        reports: dict[tuple[str, ...], str] = {}
        for client in self._audience.of("health"):
            symbols = client.wanted.symbols
            if symbols not in reports:
                reports[symbols] = self.health(symbols)
            client.offer(reports[symbols])


async def _repeat(seconds: float, tell: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        tell()
