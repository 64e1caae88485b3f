"""Changes of signals, told to those clients of the live socket who listen to them."""

from tapehouse.api import messages
from tapehouse.api.audience import Audience
from tapehouse.api.clients import offer
from tapehouse.market.signals import Signal
from tapehouse.streaming.view import LiveView


class SignalChanges:
    """Tells what has changed since it told last."""

    def __init__(self, view: LiveView, audience: Audience) -> None:
        self._view = view
        self._audience = audience
        self._told = view.signals.sequence

    def tell(self) -> None:
        """Tell every listener; where more has changed than is remembered, where things stand."""
        changes, self._told, lost = self._view.signals.since(self._told)
        if lost:
            for client in self._audience.of("signals"):
                client.fall_behind(lost)
            return
        by_symbol: dict[str, list[Signal]] = {}
        for signal in changes:
            by_symbol.setdefault(signal.symbol, []).append(signal)
        for symbol, signals in by_symbol.items():
            if listeners := self._audience.of("signals", symbol):
                offer(listeners, messages.signals(self._view.sequence, signals))
