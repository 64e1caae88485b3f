"""The ledgers of the symbols that are followed: named ones from the start, those of a pattern when first heard of."""

from collections.abc import Iterable

from tapehouse.market.ledger import Ledger

MOST_SYMBOLS = 5000
"""Ledgers at most; Binance trades some 3,000 pairs in all."""


class Ledgers(dict[str, Ledger]):
    """A ledger a symbol; `wanted` are symbols, or patterns such as `*USDT`."""

    def __init__(self, wanted: Iterable[str]) -> None:
        super().__init__()
        self._suffixes = tuple(name[1:] for name in wanted if name.startswith("*"))
        for symbol in wanted:
            if not symbol.startswith("*"):
                self[symbol] = Ledger(symbol)

    def admit(self, symbol: str) -> Ledger | None:
        """Return the symbol's ledger, a new one where a pattern asks for it; None when nobody asked for it."""
        ledger = self.get(symbol)
        if ledger is None and len(self) < MOST_SYMBOLS and self._fits(symbol):
            ledger = self[symbol] = Ledger(symbol)
        return ledger

    def _fits(self, symbol: str) -> bool:
        return bool(self._suffixes) and symbol.isalnum() and symbol.isupper() and symbol.endswith(self._suffixes)
