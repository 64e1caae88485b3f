from tapehouse.producers.binance.rest import ExchangeInfo, ListedSymbol
from tapehouse.producers.binance.symbols import doubts, fitting, named, patterns

EXCHANGE = ExchangeInfo(
    symbols=[
        ListedSymbol("BTCUSDT", "TRADING"),
        ListedSymbol("ETHBTC", "TRADING"),
        ListedSymbol("LUNAUSDT", "BREAK"),
        ListedSymbol("ETHUSDT", "TRADING"),
    ]
)


def test_named_symbols_and_patterns_are_told_apart():
    wanted = ("BTCUSDT", "*BTC", "ETHUSDT")
    assert (named(wanted), patterns(wanted)) == (("BTCUSDT", "ETHUSDT"), ("*BTC",))


def test_a_pattern_takes_every_pair_that_ends_so_and_trades():
    assert fitting(("*USDT",), EXCHANGE) == ("BTCUSDT", "ETHUSDT")
    assert fitting(("*USDT", "*BTC"), EXCHANGE) == ("BTCUSDT", "ETHBTC", "ETHUSDT")
    assert fitting(("*",), EXCHANGE) == ("BTCUSDT", "ETHBTC", "ETHUSDT")


def test_named_symbols_fit_no_pattern():
    assert fitting(("LUNAUSDT", "BTCUSDT"), EXCHANGE) == ()


def test_what_will_bring_nothing_is_explained():
    unknown, halted, empty = doubts(("NOPEUSDT", "LUNAUSDT", "BTCUSDT", "*EUR", "*USDT"), EXCHANGE)
    assert "NOPEUSDT does not exist" in unknown
    assert "LUNAUSDT does not trade now (status BREAK)" in halted
    assert "no trading pair fits *EUR" in empty
