"""Changes of the market's context, told to those clients of the live socket who listen to them."""

from collections.abc import Mapping, Sequence

from tapehouse.api import messages
from tapehouse.api.audience import Audience
from tapehouse.api.clients import offer
from tapehouse.api.context_rows import by_symbol, coins, whole_market
from tapehouse.api.standing import DAYS, STORIES
from tapehouse.market.context import Kind, Version
from tapehouse.streaming.view import LiveView

CHANNELS = ("market", "sentiment", "news")


class ContextChanges:
    """Tells what has changed since it told last; `pins` name the coins of tickers."""

    def __init__(self, view: LiveView, audience: Audience, pins: Mapping[str, str]) -> None:
        self._view = view
        self._audience = audience
        self._pins = pins
        self._told = view.context.sequence

    def tell(self) -> None:
        """Tell every listener; where more has changed than is remembered, where things stand."""
        changes, self._told, lost = self._view.context.since(self._told)
        if lost:
            for client in {client for channel in CHANNELS for client in self._audience.of(channel)}:
                client.fall_behind(lost)
            return
        self._tell_market(_of_kind("market_data", changes))
        sequence = self._view.sequence
        if days := _of_kind("sentiment", changes)[-DAYS:]:
            offer(self._audience.of("sentiment"), messages.sentiment(sequence, days))
        if stories := _of_kind("news", changes)[-STORIES:]:
            offer(self._audience.of("news"), messages.news(sequence, stories))

    def _tell_market(self, changes: Sequence[Version]) -> None:
        if not changes or not self._audience.of("market"):
            return
        sequence, known = self._view.sequence, coins(self._view.context.newest("market_data"))
        changed = {change.observation.key for change in changes}
        for symbol, coin in by_symbol(known.values(), self._view.symbols(), self._pins):
            listeners = self._audience.of("market", symbol)
            if listeners and coin.observation.key in changed:
                offer(listeners, messages.market(sequence, [(symbol, coin)], None))
        if (whole := whole_market(changes)) is not None:
            offer(self._audience.of("market"), messages.market(sequence, [], whole))


def _of_kind(kind: Kind, changes: Sequence[Version]) -> list[Version]:
    """Return the changes of a kind, by what they are as of."""
    chosen = [change for change in changes if change.observation.kind == kind]
    return sorted(chosen, key=lambda change: change.observation.observed_at)
