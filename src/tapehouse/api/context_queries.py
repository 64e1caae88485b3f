"""Questions about the market's context: the newest from memory, what was known before from the lake."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import polars as pl

from tapehouse.api.context_rows import by_symbol, coins
from tapehouse.api.encoding import to_microseconds, to_time
from tapehouse.catalog import CONTEXT_TABLES
from tapehouse.lake.history import latest_versions
from tapehouse.market.coins import base_of
from tapehouse.market.context import Kind, Version
from tapehouse.ports import Lake
from tapehouse.producers.coingecko.wire import HISTORY
from tapehouse.streaming.context_view import ContextView, versions_of

MOST_DAYS_READ = 400
"""Days of receipt that a search for stories goes back at most."""
MARKET_DAYS_READ = 31
"""Days of receipt in which a coin was told last at most: as far back as the platform itself remembers at its start."""


class ContextQueries:
    """Reads that may take milliseconds: call them on a thread, but for `market` without a time.

    `pins` name the coins of tickers, as they do where CoinGecko is asked.
    """

    def __init__(self, view: ContextView, lake: Lake, pins: Mapping[str, str] | None = None) -> None:
        self._view = view
        self._lake = lake
        self._pins = pins or {}

    def market(self, as_of: datetime | None = None) -> list[Version]:
        """Return the newest version of each coin, and of the whole market."""
        if as_of is None:
            return self._view.newest("market_data")
        known, wanted = self._remembered("market_data", as_of), set(map(_key, self._view.newest("market_data")))
        for day in self._days("market_data", as_of)[:MARKET_DAYS_READ]:
            known = _newest([*self._stored("market_data", [day], as_of), *known])
            if wanted <= set(map(_key, known)):
                break
        return known

    def coin(self, symbol: str) -> Version | None:
        """Return the coin of a symbol as it is now."""
        return dict(self.coins_of([symbol], self.market())).get(symbol)

    def coins_of(self, symbols: Iterable[str], versions: Iterable[Version]) -> Iterator[tuple[str, Version]]:
        """Give the coin of each symbol that has one among what `market` returned."""
        return by_symbol(coins(versions).values(), symbols, self._pins)

    def versions_of_coin(self, coin: str, limit: int, as_of: datetime | None = None) -> list[Version]:
        """Return the last `limit` versions of what was told of a coin, by what they are as of."""
        of_coin = (pl.col("key") == coin) | pl.col("key").str.starts_with(f"{coin}/")
        found = {_identity(v): v for v in self._remembered("market_data", as_of) if v.observation.key == coin}
        for day in self._days("market_data", as_of):
            rows = self._lake.scan(CONTEXT_TABLES["market_data"], dates=[day]).filter(of_coin).drop("payload")
            if as_of is not None:
                rows = rows.filter(pl.col("known_at") <= as_of)
            stored = rows.sort("observed_at").tail(limit).collect()
            found |= {_identity(version): version for version in versions_of("market_data", stored)}
            if len(found) >= limit:
                break
        return sorted(found.values(), key=_as_of)[-limit:]

    def sentiment(self, days: int, as_of: datetime | None = None) -> list[Version]:
        """Return the index of the last `days` days up to the newest that is held."""
        held = self._view.newest("sentiment")
        if as_of is not None:
            stored = self._stored("sentiment", None, as_of)
            held = sorted(_newest([*stored, *self._remembered("sentiment", as_of)]), key=_as_of)
        if not held:
            return []
        first = to_time(held[-1].observation.observed_at) - timedelta(days=days)
        return [version for version in held if to_time(version.observation.observed_at) > first]

    def news(
        self, limit: int, ticker: str | None = None, words: str = "", as_of: datetime | None = None
    ) -> list[Version]:
        """Return the last `limit` stories, by when they were published, that mention a ticker and hold every word."""
        wanted = _wanted(ticker, words.lower().split())
        remembered = self._remembered("news", as_of)
        found = [version for version in remembered if wanted(version)]
        seen = {_key(version) for version in remembered}
        days = iter(self._days("news", as_of)[:MOST_DAYS_READ])
        while len(found) < limit and (day := next(days, None)) is not None:
            stored = [v for v in self._stored("news", [day], as_of) if _key(v) not in seen]
            seen |= {_key(version) for version in stored}
            found += [version for version in stored if wanted(version)]
        return sorted(found, key=_as_of)[-limit:]

    def _remembered(self, kind: Kind, as_of: datetime | None) -> list[Version]:
        latest = None if as_of is None else to_microseconds(as_of)
        return [version for version in self._view.newest(kind) if latest is None or version.known_at <= latest]

    def _stored(self, kind: Kind, dates: list[str] | None, as_of: datetime | None) -> Iterator[Version]:
        """Read versions of all but the past of coins, each point of which is a key of its own."""
        told = latest_versions(self._lake, CONTEXT_TABLES[kind], pl.col("source") != HISTORY, dates=dates, as_of=as_of)
        return versions_of(kind, told)

    def _days(self, kind: Kind, as_of: datetime | None) -> list[str]:
        """Return the days of receipt that may hold what is asked, the newest first."""
        days = reversed(self._lake.dates(CONTEXT_TABLES[kind]))
        return [day for day in days if as_of is None or day <= as_of.date().isoformat()]


def _wanted(ticker: str | None, words: list[str]) -> Callable[[Version], bool]:
    def wanted(version: Version) -> bool:
        fields = version.observation.fields
        tickers = fields.get("tickers")
        if ticker is not None and not (isinstance(tickers, list) and ticker in tickers):
            return False
        text = f"{fields.get('title')}\n{fields.get('summary')}\n{fields.get('publisher')}".lower()
        return all(word in text for word in words)

    return wanted


def ticker_asked(symbol: str, symbols: list[str]) -> str | None:
    """Return the ticker meant by a symbol that is held, or by what one trades; None when there is no such."""
    name = symbol.upper()
    if name in symbols:
        return base_of(name)
    return name if name in map(base_of, symbols) else None


def _newest(versions: list[Version]) -> list[Version]:
    """Return the version known last of each key."""
    newest: dict[tuple[str, str], Version] = {}
    for version in versions:
        known = newest.get(_key(version))
        if known is None or version.known_at > known.known_at:
            newest[_key(version)] = version
    return list(newest.values())


def _key(version: Version) -> tuple[str, str]:
    return version.observation.source, version.observation.key


def _identity(version: Version) -> tuple[str, str, int]:
    return *_key(version), version.known_at


def _as_of(version: Version) -> tuple[int, int, str, str]:
    return version.observation.observed_at, version.known_at, *_key(version)
