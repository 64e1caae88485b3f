"""Which symbols are the largest: those that are compared where nobody names any."""

from decimal import Decimal

from tapehouse.api.encoding import to_time
from tapehouse.api.queries import Queries
from tapehouse.market.coins import DOLLAR_QUOTES, base_of, quote_of
from tapehouse.market.windows import DAY, opened_at
from tapehouse.streaming.view import LiveView

_BEFORE_ANY_VOLUME = ("BTC", "ETH")
_NOTHING = Decimal(0)


class Largest:
    """Puts the symbols in order, looking at what was traded at most once in a quarter of an hour.

    Belongs on a thread: it may read the lake.
    """

    def __init__(self, view: LiveView, queries: Queries) -> None:
        self._view = view
        self._queries = queries
        self._known: tuple[int, list[str], list[str]] = (-1, [], [])
        """A quarter of an hour, the symbols of then as they are held, and in their order."""

    def first(self, count: int, now: int, besides: str | None = None) -> list[str]:
        """Return the largest symbols but one, the largest first; `now` is in microseconds.

        By what they traded in dollars in the stored hours of the last day. Volumes in other currencies cannot be
        compared with these: those symbols come last, as do those that traded nothing; bitcoin's and ether's come first
        among them, then they go by name.
        """
        quarter, symbols = opened_at(now, "15m"), self._view.symbols()
        if self._known[:2] != (quarter, symbols):
            volumes = self._queries.quote_volumes(to_time(now - DAY))
            in_order = sorted(symbols, key=lambda symbol: _size(symbol, volumes.get(symbol, _NOTHING)))
            self._known = quarter, symbols, in_order
        return [symbol for symbol in self._known[2] if symbol != besides][:count]


def _size(symbol: str, volume: Decimal) -> tuple[Decimal, int, str]:
    base = base_of(symbol)
    rank = _BEFORE_ANY_VOLUME.index(base) if base in _BEFORE_ANY_VOLUME else len(_BEFORE_ANY_VOLUME)
    return (-volume if quote_of(symbol) in DOLLAR_QUOTES else _NOTHING), rank, symbol
