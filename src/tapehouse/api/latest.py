"""The last price of every symbol as one answer, kept ready: a symbol is encoded again only when it has traded."""

from tapehouse.api.encoding import as_number, to_json
from tapehouse.api.rows import trade_fields
from tapehouse.market.events import Trade
from tapehouse.streaming.view import LiveView


class LatestPrices:
    """Makes the body of /prices/latest."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self._encoded: dict[str, tuple[Trade, bytes]] = {}

    def body(self) -> bytes:
        """Return the answer as it is now."""
        entries = [entry for symbol in self._view.symbols() if (entry := self._entry(symbol))]
        return b'{"prices":[' + b",".join(entries) + b"]}"

    def _entry(self, symbol: str) -> bytes:
        trade = self._view.last_trade(symbol)
        if trade is None:
            return b""
        known = self._encoded.get(symbol)
        if known is None or known[0] is not trade:
            known = self._encoded[symbol] = (trade, to_json(trade_fields(trade, as_number)))
        return known[1]
