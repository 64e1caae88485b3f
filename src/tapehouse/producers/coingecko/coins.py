"""Which coins of CoinGecko the followed symbols are about. One ticker may name many coins: then it has to be pinned."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice

import msgspec

from tapehouse.market.coins import base_of, coins_named

MOST_NOTES = 10
MOST_COINS = 1_000
"""Coins that are asked for, at most."""

_base = lru_cache(4096)(base_of)  # asked for each symbol with every question


class ListedCoin(msgspec.Struct):
    """One coin of `/coins/list`."""

    id: str
    symbol: str


_LISTED = msgspec.json.Decoder(list[ListedCoin])


class Coins:
    """The coins of the symbols that `followed` gives now. `pinned` says which coin a ticker names, before all else."""

    def __init__(self, followed: Callable[[], Iterable[str]], pinned: Mapping[str, str]) -> None:
        self._followed = followed
        self._pinned = coins_named(pinned)
        self._listed: dict[str, list[str]] | None = None

    def ids(self) -> list[str]:
        """Return the ids of the coins that are known, each once, in the order of the symbols; of too many the first."""
        return self._known()[:MOST_COINS]

    def needs_list(self) -> bool:
        """Tell whether a ticker is followed that only the list of all coins can explain."""
        return self._listed is None and any(ticker not in self._pinned for ticker in self._tickers())

    def learn(self, body: bytes) -> None:
        """Take an answer of `/coins/list`; raise msgspec.MsgspecError when it is none."""
        listed: dict[str, list[str]] = defaultdict(list)
        for coin in _LISTED.decode(body):
            listed[coin.symbol.upper()].append(coin.id)
        self._listed = dict(listed)

    def notes(self) -> tuple[str, ...]:
        """Say what is not followed, and what to do."""
        return (*self._beyond(), *islice(self._unclear(), MOST_NOTES))

    def _known(self) -> list[str]:
        found = (self._coin(ticker) for ticker in self._tickers())
        return list(dict.fromkeys(coin for coin in found if coin))

    def _beyond(self) -> Iterable[str]:
        known = len(self._known())
        if known > MOST_COINS:
            yield f"CoinGecko is asked for the first {MOST_COINS} of {known} coins: name the symbols that matter first."

    def _unclear(self) -> Iterable[str]:
        for ticker in self._tickers():
            named = (self._listed or {}).get(ticker, [])
            if ticker in self._pinned or self._listed is None or len(named) == 1:
                continue
            if named:
                which = ", ".join(sorted(named)[:5])
                yield f"{ticker} names {len(named)} coins ({which} ...): pin one with TAPEHOUSE_COINGECKO_COINS."
            else:
                yield f"{ticker} names no coin of CoinGecko."

    def _coin(self, ticker: str) -> str | None:
        if ticker in self._pinned:
            return self._pinned[ticker]
        named = (self._listed or {}).get(ticker, [])
        return named[0] if len(named) == 1 else None

    def _tickers(self) -> list[str]:
        return list(dict.fromkeys(_base(symbol) for symbol in self._followed() if not symbol.startswith("*")))
