"""The symbols the generator lists, with ticks, steps and prices like the exchange's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tapehouse.errors import ConfigError
from tapehouse.exchange.tapes import Pair

MOST_SYMBOLS = 2000
_QUOTES = ("USDT", "USDC", "BTC", "ETH", "EUR")

_KNOWN = (  # base, price, decimals of the price, decimals of the quantity, lot
    ("BTC", 61837.64, 2, 5, 1),
    ("ETH", 2684.31, 2, 4, 5),
    ("BNB", 512.7, 2, 3, 4),
    ("SOL", 154.12, 2, 3, 8),
    ("XRP", 0.6035, 4, 1, 9),
    ("DOGE", 0.10311, 5, 0, 12),
    ("ADA", 0.3412, 4, 1, 15),
    ("TRX", 0.1276, 4, 1, 40),
    ("AVAX", 22.14, 2, 2, 10),
    ("LINK", 10.42, 2, 2, 12),
    ("DOT", 4.715, 3, 2, 20),
    ("LTC", 61.22, 2, 3, 20),
    ("BCH", 351.4, 1, 3, 4),
    ("NEAR", 4.105, 3, 1, 5),
    ("UNI", 6.012, 3, 2, 10),
    ("ATOM", 4.918, 3, 2, 10),
    ("ETC", 18.94, 2, 2, 6),
    ("FIL", 3.611, 3, 2, 20),
    ("PEPE", 0.00000814, 8, 0, 90_000),
    ("SHIB", 0.00001391, 8, 0, 40_000),
)


@dataclass(frozen=True)
class Listing:
    """A symbol and its scale: `price`, `tick` and `step` in units of 10^-8; `lot` steps are the smallest trade."""

    symbol: str
    base: str
    quote: str
    price: int
    tick: int
    step: int
    lot: int
    fame: int

    def pair(self, status: Literal["TRADING", "BREAK"]) -> Pair:
        """Return what the exchange says of it."""
        return Pair(self.symbol, self.base, self.quote, self.tick, self.step, status)


def listings(wanted: int | str | Sequence[str]) -> list[Listing]:
    """Return so many symbols (the known ones first), or exactly those named (in a list, or separated by commas)."""
    if isinstance(wanted, str):
        wanted = int(wanted) if wanted.isdigit() else [name.strip() for name in wanted.split(",")]
    if isinstance(wanted, int):
        if not 1 <= wanted <= MOST_SYMBOLS:
            raise ConfigError(f"{wanted} symbols: give 1 to {MOST_SYMBOLS}")
        names = [f"{base}USDT" for base in _bases(wanted)]
    else:
        names = [name.upper() for name in wanted]
    if len(set(names)) < len(names) or not all(name.isascii() and name.isalnum() for name in names):
        raise ConfigError("symbols must be letters and digits, each named once")
    return [_listing(name, place) for place, name in enumerate(names)]


def _bases(count: int) -> list[str]:
    known = [row[0] for row in _KNOWN[:count]]
    return known + [f"COIN{number}" for number in range(len(known) + 1, count + 1)]


def _listing(symbol: str, place: int) -> Listing:
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "USDT")
    base = symbol.removesuffix(quote) or symbol
    known = {row[0]: row for row in _KNOWN}
    _, price, price_places, quantity_places, lot = known.get(base, ("", 1.0 + place % 97 / 10, 4, 1, 10))
    tick = 10 ** (8 - price_places)
    return Listing(
        symbol=symbol,
        base=base,
        quote=quote,
        price=round(price * 10**price_places) * tick,
        tick=tick,
        step=10 ** (8 - quantity_places),
        lot=lot,
        fame=max(100 - place, 1),
    )
