"""The market's context as the API says it: columns and fields side by side, by the tables' names."""

import re
from collections.abc import Iterable, Iterator

import msgspec

from tapehouse.api.encoding import time_text
from tapehouse.market.coins import base_of
from tapehouse.market.context import Value, Version
from tapehouse.producers.coingecko.wire import GLOBAL, MARKETS, PRICES

ATTRIBUTIONS = {
    "market_data": {"text": "Data provided by CoinGecko", "url": "https://www.coingecko.com/en/api"},
    "sentiment": {"text": "Crypto Fear & Greed Index by alternative.me", "url": "https://alternative.me/crypto/"},
}
"""What the upstreams ask to be shown where their data is."""
_TEXTS = frozenset({"id", "symbol", "name", "key", "source", "title", "summary", "publisher", "link", "story"})
_DECIMAL = re.compile(r"-?\d+(\.\d+)?")


def version_fields(version: Version, *, exact_numbers: bool) -> dict[str, object]:
    """Return the columns and fields of a version; decimals as JSON numbers or, for a browser, as text."""
    told = version.observation
    fields = {name: _said(name, value, exact_numbers=exact_numbers) for name, value in told.fields.items()}
    return {
        **fields,
        "source": told.source,
        "key": told.key,
        "observed_at": time_text(told.observed_at),
        "received_at": time_text(told.received_at),
        "known_at": time_text(version.known_at),
    }


def _said(name: str, value: Value, *, exact_numbers: bool) -> object:
    if exact_numbers and isinstance(value, str) and name not in _TEXTS and _DECIMAL.fullmatch(value):
        return msgspec.Raw(value.encode())
    return value


def ticker_of(version: Version) -> str:
    """Return the symbol a coin goes by, in capitals."""
    return str(version.observation.fields.get("symbol", "")).upper()


def coins(versions: Iterable[Version]) -> dict[str, Version]:
    """Return each coin as it is now, by id: what the markets say, with the price that was told since."""
    found: dict[str, Version] = {}
    prices: list[Version] = []
    for version in versions:
        if version.observation.source == MARKETS:
            found[version.observation.key] = version
        elif version.observation.source == PRICES:
            prices.append(version)
    for price in prices:
        told = price.observation
        known = found.get(told.key)
        if known is not None and known.observation.observed_at < told.observed_at:
            fields = known.observation.fields | {name: it for name, it in told.fields.items() if it is not None}
            newer = msgspec.structs.replace(known.observation, fields=fields, observed_at=told.observed_at)
            newer = msgspec.structs.replace(newer, received_at=told.received_at)
            found[told.key] = msgspec.structs.replace(known, observation=newer, known_at=price.known_at)
    return found


def by_symbol(versions: Iterable[Version], symbols: Iterable[str]) -> Iterator[tuple[str, Version]]:
    """Give the coin of each symbol that has one; of namesakes, the one that ranks first."""
    by_ticker: dict[str, Version] = {}
    for version in sorted(versions, key=_rank):
        by_ticker.setdefault(ticker_of(version), version)
    for symbol in symbols:
        if (coin := by_ticker.get(base_of(symbol))) is not None:
            yield symbol, coin


def whole_market(versions: Iterable[Version]) -> Version | None:
    """Return what was told last of the market as a whole."""
    return next((version for version in versions if version.observation.source == GLOBAL), None)


def _rank(version: Version) -> float:
    rank = version.observation.fields.get("market_cap_rank")
    return rank if isinstance(rank, int) else float("inf")
