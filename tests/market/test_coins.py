"""Which asset a pair is a price of."""

import pytest

from tapehouse.market.coins import COINS, QUOTES, base_of, quote_of


@pytest.mark.parametrize(
    ("symbol", "base"),
    [
        ("BTCUSDT", "BTC"),
        ("ETHBTC", "ETH"),
        ("BTCFDUSD", "BTC"),
        ("BNBUSD", "BNB"),
        ("USDCUSDT", "USDC"),
        ("BTC", "BTC"),
        ("1INCH", "1INCH"),
        ("1INCHUSDT", "1INCH"),
        ("SOLBRL", "SOL"),
    ],
)
def test_a_pair_is_a_price_of_its_base(symbol, base):
    assert base_of(symbol) == base
    assert quote_of(symbol) == symbol[len(base) :]


@pytest.mark.parametrize("quote", QUOTES)
def test_every_listed_coin_is_the_base_of_its_pairs(quote):
    assert [base_of(coin.ticker + quote) for coin in COINS] == [coin.ticker for coin in COINS]
