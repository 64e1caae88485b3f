"""CoinGecko's answers, letter by letter: cut into items, and the one step from an item to an observation.

Each kind of answer is a source of its own, so that a row says only what was told: `coingecko` (`/coins/markets`),
`coingecko_price` (`/simple/price`, the newest figures of the same coins), `coingecko_global` (`/global`) and
`coingecko_history` (`/coins/{id}/market_chart`, one key a coin and moment). Amounts are in US dollars.

{"id":"bitcoin","symbol":"btc","name":"Bitcoin","current_price":70187,"market_cap":1381651251183,"market_cap_rank":1,
 "price_change_percentage_24h":3.12502,"max_supply":21000000,"last_updated":"2024-04-07T16:49:31.736Z", ...}
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

import msgspec

from tapehouse.market.context import Observation, Value
from tapehouse.market.windows import DAY, SECOND

MARKETS, PRICES, GLOBAL, HISTORY = "coingecko", "coingecko_price", "coingecko_global", "coingecko_history"
EARLIEST = 1_230_768_000 * SECOND
"""Nothing is told of a coin before 2009 (microseconds)."""
MOST_DIGITS = 60
LONGEST_ID = 200
MOST_SHARES = 50
"""Coins whose part of the whole market is kept, at most; CoinGecko tells ten."""

Amount = Decimal
"""A JSON number, read with every digit it was written with."""
Told = Annotated[datetime, msgspec.Meta(tz=True)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MarketCoin(msgspec.Struct):
    """One coin of `/coins/markets`; what CoinGecko does not know of it is null."""

    id: str
    symbol: str
    name: str
    current_price: Amount | None
    market_cap: Amount | None
    last_updated: Told | None
    market_cap_rank: int | None = None
    fully_diluted_valuation: Amount | None = None
    total_volume: Amount | None = None
    high_24h: Amount | None = None
    low_24h: Amount | None = None
    price_change_24h: Amount | None = None
    price_change_percentage_24h: Amount | None = None
    market_cap_change_24h: Amount | None = None
    market_cap_change_percentage_24h: Amount | None = None
    circulating_supply: Amount | None = None
    total_supply: Amount | None = None
    max_supply: Amount | None = None
    ath: Amount | None = None
    ath_change_percentage: Amount | None = None
    ath_date: Told | None = None
    atl: Amount | None = None
    atl_change_percentage: Amount | None = None
    atl_date: Told | None = None

    def to_observation(self, received_at: int) -> Observation:
        """Return what is told; raise ValueError when it cannot be true."""
        told = msgspec.structs.asdict(self)
        fields = {name: _value(name, value) for name, value in told.items()}
        return _observation(MARKETS, _identity(self.id), _microseconds(self.last_updated), received_at, fields)


class CoinPrice(msgspec.Struct):
    """One coin of `/simple/price`, its id put beside what is told of it."""

    id: str
    usd: Amount | None
    usd_market_cap: Amount | None = None
    usd_24h_vol: Amount | None = None
    usd_24h_change: Amount | None = None
    last_updated_at: int | None = None  # seconds

    def to_observation(self, received_at: int) -> Observation:
        """Return what is told, under the names that `/coins/markets` has for it; raise ValueError as above."""
        told = {
            "current_price": self.usd,
            "market_cap": self.usd_market_cap,
            "total_volume": self.usd_24h_vol,
            "price_change_percentage_24h": self.usd_24h_change,
        }
        fields = {name: _value(name, value) for name, value in told.items()}
        observed_at = None if self.last_updated_at is None else self.last_updated_at * SECOND
        return _observation(PRICES, _identity(self.id), observed_at, received_at, fields)


class GlobalMarket(msgspec.Struct):
    """What `/global` has under `data`: the market as a whole, and each big coin's part of it in percent."""

    total_market_cap: dict[str, Amount]  # by currency
    total_volume: dict[str, Amount]
    market_cap_percentage: dict[str, Amount]  # by the coin's symbol
    updated_at: int  # seconds
    market_cap_change_percentage_24h_usd: Amount | None = None
    active_cryptocurrencies: int | None = None
    markets: int | None = None

    def to_observation(self, received_at: int) -> Observation:
        """Return what is told; raise ValueError when it cannot be true."""
        told: dict[str, object] = {
            "total_market_cap": self.total_market_cap.get("usd"),
            "total_volume": self.total_volume.get("usd"),
            "market_cap_change_percentage_24h": self.market_cap_change_percentage_24h_usd,
            "active_cryptocurrencies": self.active_cryptocurrencies,
            "markets": self.markets,
        }
        shares = list(self.market_cap_percentage.items())[:MOST_SHARES]
        told |= {f"market_cap_percentage_{symbol}": share for symbol, share in shares}
        fields = {name: _value(name, value) for name, value in told.items()}
        return _observation(GLOBAL, "global", self.updated_at * SECOND, received_at, fields)


class HistoryPoint(msgspec.Struct):
    """One moment of a coin's `/market_chart`, put together from its three lists."""

    id: str
    at: int  # milliseconds
    price: Amount | None
    market_cap: Amount | None = None
    total_volume: Amount | None = None

    def to_observation(self, received_at: int) -> Observation:
        """Return what is told; its key is the coin and the moment. Raise ValueError when it cannot be true."""
        told = {"current_price": self.price, "market_cap": self.market_cap, "total_volume": self.total_volume}
        fields = {name: _value(name, value) for name, value in told.items()} | {"id": self.id}
        at = _plausible(self.at * 1000, received_at)
        key = f"{_identity(self.id)}/{(_EPOCH + timedelta(microseconds=at)).isoformat(timespec='milliseconds')}"
        return _observation(HISTORY, key, at, received_at, fields)


def market_coin(frame: bytes, received_at: int) -> Observation:
    """Read an item of `/coins/markets`; raise msgspec.MsgspecError or ValueError when it is none."""
    return _MARKET_COIN.decode(frame).to_observation(received_at)


def coin_price(frame: bytes, received_at: int) -> Observation:
    """Read an item of `/simple/price`; raise as `market_coin` does."""
    return _COIN_PRICE.decode(frame).to_observation(received_at)


def global_market(frame: bytes, received_at: int) -> Observation:
    """Read what `/global` tells; raise as `market_coin` does."""
    return _GLOBAL.decode(frame).to_observation(received_at)


def history_point(frame: bytes, received_at: int) -> Observation:
    """Read a point of a `/market_chart`; raise as `market_coin` does."""
    return _HISTORY.decode(frame).to_observation(received_at)


_MARKET_COIN = msgspec.json.Decoder(MarketCoin)
_COIN_PRICE = msgspec.json.Decoder(CoinPrice)
_GLOBAL = msgspec.json.Decoder(GlobalMarket)
_HISTORY = msgspec.json.Decoder(HistoryPoint)


# Cutting an answer into its items: each raises msgspec.MsgspecError when it cannot be cut


class _Global(msgspec.Struct):
    data: msgspec.Raw


class _Chart(msgspec.Struct):
    prices: list[tuple[int, msgspec.Raw]]
    market_caps: list[tuple[int, msgspec.Raw]] = []
    total_volumes: list[tuple[int, msgspec.Raw]] = []


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_BY_ID = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_WHOLE = msgspec.json.Decoder(_Global)
_CHART = msgspec.json.Decoder(_Chart)


def split_markets(body: bytes) -> list[bytes]:
    """Return the bytes of each coin of `/coins/markets`."""
    return [bytes(item) for item in _ITEMS.decode(body)]


def split_prices(body: bytes) -> list[bytes]:
    """Return each coin of `/simple/price` with its id in it."""
    return [msgspec.json.encode({"id": coin, **told}) for coin, told in _BY_ID.decode(body).items()]


def split_global(body: bytes) -> list[bytes]:
    """Return what `/global` has under `data`, as a list of one."""
    return [bytes(_WHOLE.decode(body).data)]


def split_chart(coin: str, body: bytes) -> list[bytes]:
    """Return each moment of a `/market_chart` that has a price, with the coin's id in it."""
    return [msgspec.json.encode(point) for point in _points(coin, _CHART.decode(body))]


def _points(coin: str, chart: _Chart) -> Iterator[dict[str, str | int | msgspec.Raw]]:
    market_caps, volumes = dict(chart.market_caps), dict(chart.total_volumes)
    nothing = msgspec.Raw(b"null")
    for at, price in chart.prices:
        told = {"price": price, "market_cap": market_caps.get(at, nothing), "total_volume": volumes.get(at, nothing)}
        yield {"id": coin, "at": at, **told}


def _observation(
    source: str, key: str, observed_at: int | None, received_at: int, fields: dict[str, Value]
) -> Observation:
    at = received_at if observed_at is None else _plausible(observed_at, received_at)
    return Observation("market_data", source, key, at, received_at, fields)


def _plausible(at: int, received_at: int) -> int:
    if not EARLIEST <= at <= received_at + DAY:
        raise ValueError(f"a time that cannot be true: {at} microseconds")
    return at


def _identity(coin: str) -> str:
    if not 0 < len(coin) <= LONGEST_ID:
        raise ValueError(f"an id of {len(coin)} characters")
    return coin


def _value(name: str, value: object) -> Value:
    """Return a field as it is stored: amounts and times as text."""
    if isinstance(value, Decimal):
        return _amount(name, value)
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int):
        return value
    raise ValueError(f"{name} is neither a number nor text")


def _amount(name: str, amount: Decimal) -> str:
    if not amount.is_finite() or len(amount.as_tuple().digits) > MOST_DIGITS or abs(amount.adjusted()) > MOST_DIGITS:
        raise ValueError(f"{name} is no decimal that can be true")
    if amount < 0 and "change" not in name:
        raise ValueError(f"{name} is a negative decimal")
    return f"{amount:f}"


def _microseconds(told: datetime | None) -> int | None:
    return None if told is None else (told - _EPOCH) // timedelta(microseconds=1)
