"""The coins behind the exchange's symbols, as CoinGecko knows them: ids, names, supplies; and their namesakes."""

from collections.abc import Iterable
from dataclasses import dataclass

from tapehouse.exchange.tapes import Pair

_KNOWN = (  # symbol, id, name, coins in circulation, most there can be
    ("BTC", "bitcoin", "Bitcoin", 19_890_000, 21_000_000),
    ("ETH", "ethereum", "Ethereum", 120_700_000, None),
    ("BNB", "binancecoin", "BNB", 139_200_000, 200_000_000),
    ("SOL", "solana", "Solana", 541_000_000, None),
    ("XRP", "ripple", "XRP", 59_400_000_000, 100_000_000_000),
    ("DOGE", "dogecoin", "Dogecoin", 150_700_000_000, None),
    ("ADA", "cardano", "Cardano", 36_100_000_000, 45_000_000_000),
    ("TRX", "tron", "TRON", 94_700_000_000, None),
    ("AVAX", "avalanche-2", "Avalanche", 422_000_000, 720_000_000),
    ("LINK", "chainlink", "Chainlink", 678_000_000, 1_000_000_000),
    ("DOT", "polkadot", "Polkadot", 1_610_000_000, None),
    ("LTC", "litecoin", "Litecoin", 76_200_000, 84_000_000),
    ("BCH", "bitcoin-cash", "Bitcoin Cash", 19_900_000, 21_000_000),
    ("NEAR", "near", "NEAR Protocol", 1_240_000_000, None),
    ("UNI", "uniswap", "Uniswap", 600_500_000, 1_000_000_000),
    ("ATOM", "cosmos", "Cosmos Hub", 469_000_000, None),
    ("ETC", "ethereum-classic", "Ethereum Classic", 152_700_000, 210_700_000),
    ("FIL", "filecoin", "Filecoin", 680_000_000, None),
    ("PEPE", "pepe", "Pepe", 420_690_000_000_000, 420_690_000_000_000),
    ("SHIB", "shiba-inu", "Shiba Inu", 589_000_000_000_000, None),
)
_OTHER_SUPPLY = 1_000_000_000


@dataclass(frozen=True)
class Coin:
    """A coin: its symbol in capitals, its id, how many there are (`most`: can ever be), and the pair it trades in."""

    symbol: str
    id: str
    name: str
    supply: int
    most: int | None
    pair: str


def coins_of(pairs: Iterable[Pair]) -> list[Coin]:
    """Return the coin of each base, in the order of the pairs."""
    known = {row[0]: row for row in _KNOWN}
    coins: dict[str, Coin] = {}
    for pair in pairs:
        other = (pair.base, pair.base.lower(), pair.base.capitalize(), _OTHER_SUPPLY, None)
        symbol, coin_id, name, supply, most = known.get(pair.base, other)
        coins.setdefault(symbol, Coin(symbol, coin_id, name, supply, most, pair.symbol))
    return list(coins.values())


def listed(coins: Iterable[Coin]) -> list[dict[str, str]]:
    """Return what `/coins/list` has: each coin, and another that took the same symbol."""
    rows = []
    for coin in coins:
        symbol = coin.symbol.lower()
        rows.append({"id": f"bridged-{coin.id}", "symbol": symbol, "name": f"Bridged {coin.name}"})
        rows.append({"id": coin.id, "symbol": symbol, "name": coin.name})
    return sorted(rows, key=lambda row: row["id"])
