"""The market's context as the API says it: columns and fields side by side, by the tables' names."""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from tapehouse.api.encoding import time_text
from tapehouse.market.coins import base_of, coin_named
from tapehouse.market.context import Value, Version, is_number
from tapehouse.producers.coingecko.wire import GLOBAL, MARKETS, PRICES

ATTRIBUTIONS = {
    "market_data": {"text": "Data provided by CoinGecko", "url": "https://www.coingecko.com/en/api"},
    "sentiment": {"text": "Crypto Fear & Greed Index by alternative.me", "url": "https://alternative.me/crypto/"},
}
"""What the upstreams ask to be shown where their data is."""
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""JSON's grammar of a number: no leading zero, and no digits but these ten."""


def version_fields(version: Version, *, exact_numbers: bool) -> dict[str, object]:
    """Return the columns and fields of a version; decimals as JSON numbers or, for a browser, as text."""
    told = version.observation
    fields: dict[str, object] = dict(told.fields)
    if exact_numbers:
        fields |= {name: _number(value) for name, value in told.fields.items() if is_number(told.kind, name)}
    return {
        **fields,
        "source": told.source,
        "key": told.key,
        "observed_at": time_text(told.observed_at),
        "received_at": time_text(told.received_at),
        "known_at": time_text(version.known_at),
    }


def _number(value: Value) -> object:
    """Return a number as JSON has it, None for what is none."""
    if not isinstance(value, str):
        return value
    return msgspec.Raw(value.encode()) if _NUMBER.fullmatch(value) else None


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


def by_symbol(
    versions: Iterable[Version], symbols: Iterable[str], pins: Mapping[str, str]
) -> Iterator[tuple[str, Version]]:
    """Give the coin of each symbol that has one: the one CoinGecko is asked for under its base.

    Where neither `pins` nor the coins listed here name one, it is the coin of that ticker that was told last: of
    namesakes no more than one is asked for.
    """
    by_id = {version.observation.key: version for version in versions}
    by_ticker = {ticker_of(version): version for version in sorted(by_id.values(), key=_told_last)}
    for symbol in symbols:
        ticker = base_of(symbol)
        named = coin_named(ticker, pins)
        coin = by_ticker.get(ticker) if named is None else by_id.get(named)
        if coin is not None:
            yield symbol, coin


def whole_market(versions: Iterable[Version]) -> Version | None:
    """Return what was told last of the market as a whole."""
    told = (version for version in versions if version.observation.source == GLOBAL)
    return max(told, key=lambda version: (version.observation.observed_at, version.known_at), default=None)


def _told_last(version: Version) -> tuple[int, float]:
    rank = version.observation.fields.get("market_cap_rank")
    return version.known_at, -rank if isinstance(rank, int) else float("-inf")
