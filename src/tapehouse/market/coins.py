"""The coins that headlines are searched for: ticker, CoinGecko's id, and the names people write.

A ticker or a name that is also an everyday word ("ONE", "LINK", "Avalanche") is marked as one; `mentions` then asks
for more than the word itself.
"""

from collections.abc import Mapping

import msgspec


class Coin(msgspec.Struct, frozen=True):
    """A coin by its ticker, its id on CoinGecko, names that mean nothing else, and names that are words as well."""

    ticker: str
    coin: str
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    ticker_is_word: bool = False


COINS = (
    Coin("BTC", "bitcoin", ("Bitcoin", "Bitcoins", "XBT")),
    Coin("ETH", "ethereum", ("Ethereum", "Ether", "Ethers")),
    Coin("USDT", "tether", ("Tether",)),
    Coin("BNB", "binancecoin", ("Binance Coin", "BNB Chain", "Build and Build")),
    Coin("SOL", "solana", ("Solana",)),
    Coin("USDC", "usd-coin", ("USD Coin",)),
    Coin("XRP", "ripple", ("Ripple", "XRP Ledger")),
    Coin("DOGE", "dogecoin", ("Dogecoin",)),
    Coin("TRX", "tron", (), ("Tron", "TRON")),
    Coin("ADA", "cardano", ("Cardano",)),
    Coin("TON", "the-open-network", ("Toncoin", "The Open Network"), ticker_is_word=True),
    Coin("AVAX", "avalanche-2", (), ("Avalanche",)),
    Coin("SHIB", "shiba-inu", ("Shiba Inu", "Shibarium")),
    Coin("DOT", "polkadot", ("Polkadot",), ticker_is_word=True),
    Coin("LINK", "chainlink", ("Chainlink",), ticker_is_word=True),
    Coin("BCH", "bitcoin-cash", ("Bitcoin Cash",)),
    Coin("BSV", "bitcoin-cash-sv", ("Bitcoin SV",)),
    Coin("LTC", "litecoin", ("Litecoin",)),
    Coin("NEAR", "near", ("NEAR Protocol",), ticker_is_word=True),
    Coin("MATIC", "matic-network", ()),
    Coin("POL", "polygon-ecosystem-token", ("Polygon Labs", "Polygon PoS"), ("Polygon",), ticker_is_word=True),
    Coin("UNI", "uniswap", ("Uniswap",), ticker_is_word=True),
    Coin("ICP", "internet-computer", ("Internet Computer Protocol",), ("Internet Computer",)),
    Coin("DAI", "dai", ()),
    Coin("ETC", "ethereum-classic", ("Ethereum Classic",), ticker_is_word=True),
    Coin("APT", "aptos", ("Aptos",), ticker_is_word=True),
    Coin("XLM", "stellar", ("Stellar Lumens",), ("Stellar",)),
    Coin("XMR", "monero", ("Monero",)),
    Coin("ZEC", "zcash", ("Zcash",)),
    Coin("HBAR", "hedera-hashgraph", ("Hedera",)),
    Coin("FIL", "filecoin", ("Filecoin",), ticker_is_word=True),
    Coin("ATOM", "cosmos", ("Cosmos Hub",), ("Cosmos",), ticker_is_word=True),
    Coin("ARB", "arbitrum", ("Arbitrum",), ticker_is_word=True),
    Coin("OP", "optimism", ("OP Mainnet",), ("Optimism",), ticker_is_word=True),
    Coin("VET", "vechain", ("VeChain",), ticker_is_word=True),
    Coin("MKR", "maker", ("MakerDAO",), ("Maker",)),
    Coin("AAVE", "aave", ("Aave",)),
    Coin("INJ", "injective-protocol", ("Injective Protocol",), ("Injective",)),
    Coin("SUI", "sui", ("Sui Network",), ("Sui",)),
    Coin("SEI", "sei-network", ("Sei Network",), ("Sei",)),
    Coin("TIA", "celestia", ("Celestia",)),
    Coin("ALGO", "algorand", ("Algorand",), ticker_is_word=True),
    Coin("GRT", "the-graph", (), ("The Graph",)),
    Coin("FTM", "fantom", ("Fantom",)),
    Coin("THETA", "theta-token", ("Theta Network",), ticker_is_word=True),
    Coin("SAND", "the-sandbox", ("The Sandbox",), ticker_is_word=True),
    Coin("MANA", "decentraland", ("Decentraland",), ticker_is_word=True),
    Coin("AXS", "axie-infinity", ("Axie Infinity",)),
    Coin("XTZ", "tezos", ("Tezos",)),
    Coin("EOS", "eos", ()),
    Coin("FLOW", "flow", (), ("Flow",), ticker_is_word=True),
    Coin("CRV", "curve-dao-token", ("Curve Finance", "Curve DAO"), ("Curve",)),
    Coin("COMP", "compound-governance-token", ("Compound Finance",), ("Compound",), ticker_is_word=True),
    Coin("LDO", "lido-dao", ("Lido",)),
    Coin("RENDER", "render-token", ("Render Network",), ("Render",), ticker_is_word=True),
    Coin("STX", "blockstack", (), ("Stacks",)),
    Coin("IMX", "immutable-x", ("ImmutableX", "Immutable X"), ("Immutable",)),
    Coin("PEPE", "pepe", ("Pepecoin",), ("Pepe",), ticker_is_word=True),
    Coin("WIF", "dogwifcoin", ("dogwifhat",)),
    Coin("BONK", "bonk", (), ("Bonk",), ticker_is_word=True),
    Coin("FLOKI", "floki", ("Floki",)),
    Coin("HYPE", "hyperliquid", ("Hyperliquid",), ticker_is_word=True),
    Coin("ENA", "ethena", ("Ethena",)),
    Coin("WLD", "worldcoin-wld", ("Worldcoin",)),
    Coin("TAO", "bittensor", ("Bittensor",), ticker_is_word=True),
    Coin("KAS", "kaspa", ("Kaspa",)),
    Coin("CRO", "crypto-com-chain", ("Cronos",)),
    Coin("OKB", "okb", ()),
    Coin("LEO", "leo-token", (), ticker_is_word=True),
    Coin("ONE", "harmony", ("Harmony ONE",), ("Harmony",), ticker_is_word=True),
    Coin("GALA", "gala", ("Gala Games",), ("Gala",), ticker_is_word=True),
    Coin("APE", "apecoin", ("ApeCoin",), ticker_is_word=True),
    Coin("CHZ", "chiliz", ("Chiliz",)),
    Coin("DASH", "dash", (), ("Dash",), ticker_is_word=True),
    Coin("NEO", "neo", (), ("Neo",), ticker_is_word=True),
    Coin("GAS", "gas", (), ticker_is_word=True),
    Coin("QNT", "quant-network", ("Quant Network",), ("Quant",)),
    Coin("RUNE", "thorchain", ("THORChain",), ticker_is_word=True),
    Coin("LUNA", "terra-luna-2", (), ticker_is_word=True),
    Coin("LUNC", "terra-luna", ("Terra Luna Classic", "Luna Classic")),
    Coin("CAKE", "pancakeswap-token", ("PancakeSwap",), ticker_is_word=True),
    Coin("DYDX", "dydx-chain", ("dYdX",)),
    Coin("JUP", "jupiter-exchange-solana", (), ("Jupiter",)),
    Coin("PYTH", "pyth-network", ("Pyth Network",), ("Pyth",)),
    Coin("ENS", "ethereum-name-service", ("Ethereum Name Service",)),
    Coin("TRUMP", "official-trump", ("Official Trump",), ticker_is_word=True),
    Coin("TWT", "trust-wallet-token", ()),
    Coin("MASK", "mask-network", ("Mask Network",), ticker_is_word=True),
    Coin("HOT", "holotoken", (), ticker_is_word=True),
    Coin("WBTC", "wrapped-bitcoin", ("Wrapped Bitcoin",)),
    Coin("STETH", "staked-ether", ("Lido Staked Ether",)),
)
"""The larger coins, by hand. A ticker that is neither listed nor followed is found as a cashtag (`$XYZ`) only."""

NOT_COINS = (
    "Bitcoin Magazine",
    "Ethereum World News",
    "Flow Traders",
    "Ripple effect",
    "Ripple effects",
    "Trust Wallet",
)
"""Names that hold a coin's name and are not about it."""

DOLLARS = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD")
"""What a symbol is quoted in that is worth a dollar."""
_BY_TICKER = {coin.ticker: coin.coin for coin in COINS}


def coin_traded(symbol: str, pins: Mapping[str, str]) -> str | None:
    """Return the coin, by its id on CoinGecko, whose price in dollars a symbol tells; None where it tells none.

    `pins` name the coin of tickers, before the coins listed here do.
    """
    quote = next((quote for quote in DOLLARS if symbol.endswith(quote) and symbol != quote), None)
    if quote is None:
        return None
    return coin_named(symbol.removesuffix(quote), pins)


def coin_named(ticker: str, pins: Mapping[str, str]) -> str | None:
    """Return the coin, by its id on CoinGecko, that a ticker names: by a pin, else as listed here."""
    return pins.get(ticker) or _BY_TICKER.get(ticker)


def coins_named(pins: Mapping[str, str]) -> dict[str, str]:
    """Return the coin, by its id on CoinGecko, that each ticker names: pinned, or else listed here."""
    return {**_BY_TICKER, **pins}


_STABLE = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD1", "USDS", "USDP", "DAI", "EURI", "AEUR")
_OTHERS = (
    "USD",
    "BTC",
    "ETH",
    "BNB",
    "EUR",
    "GBP",
    "TRY",
    "BRL",
    "JPY",
    "AUD",
    "ARS",
    "PLN",
    "MXN",
    "ZAR",
    "UAH",
    "RUB",
)
QUOTES = (*_STABLE, *_OTHERS)
"""What pairs are quoted in: the end of a symbol, those that end in another one first."""

DOLLAR_QUOTES = frozenset({*DOLLARS, "USD1", "USDS", "USDP", "DAI"})
"""What pairs are quoted in that is worth a dollar, whether or not CoinGecko's price of a coin is held against them."""

_TICKERS = frozenset(coin.ticker for coin in COINS)


def base_of(symbol: str) -> str:
    """Return what a pair is a price of: `BTC` of `BTCUSDT`; a ticker as it is. A listed coin is preferred."""
    bases = [symbol.removesuffix(quote) for quote in QUOTES if symbol.endswith(quote) and symbol != quote]
    return next((base for base in bases if base in _TICKERS), bases[0] if bases else symbol)


def quote_of(symbol: str) -> str:
    """Return what a pair is a price in: `USDT` of `BTCUSDT`; nothing of what is no pair."""
    return symbol.removeprefix(base_of(symbol))
