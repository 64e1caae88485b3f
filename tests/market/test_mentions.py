"""Coins are found by whole words, and words that mean other things too only where a coin is meant."""

import re

import pytest
from hypothesis import given, strategies as st

from tapehouse.market.coins import COINS, NOT_COINS
from tapehouse.market.mentions import MOST_MENTIONS, CoinFinder, mentions


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("Bitcoin slides as ether holds", ["BTC", "ETH"]),
        ("Bitcoin's rally, and a bitcoin-backed loan", ["BTC"]),
        ("BTC and $ETH lead; XRP (Ripple) follows", ["BTC", "ETH", "XRP"]),
        ("Shiba  Inu burns more tokens", ["SHIB"]),
        ("BTCUSDT breaks out, SOL/USDT and LINK-USD follow", ["BTC", "SOL", "LINK"]),
        ("BITCOIN TUMBLES", ["BTC"]),
        ("Solana: what next?", ["SOL"]),
    ],
)
def test_names_and_tickers_are_found_as_whole_words(text, tickers):
    assert mentions(text).tickers == tickers


@pytest.mark.parametrize(
    "text",
    [
        "Bitcoiners meet at bitcoin.org",  # a word and an address that begin with it
        "Untethered ambitions in Ethernet cables",
        "ONE more reason to LINK up NEAR you",
        "One link near the end",
        "OP-ED: WHY GAS IS HOT",
        "Avalanche of liquidations hits the market",
        "ETF Optimism Lifts Markets",
        "Optimism Returns to Wall Street",
        "The maker of chips sees demand flow",
        "A ripple effect through banks",
        "B\u0131tco\u0130n",  # letters that match an i without regard to case
        "",
    ],
)
def test_a_word_that_is_no_coin_here_is_not_tagged(text):
    assert mentions(text).tickers == []


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("NEAR token gains", ["NEAR"]),
        ("Traders pile into $LINK", ["LINK"]),
        ("Harmony (ONE) is exploited", ["ONE"]),
        ("Avalanche network halts for an hour", ["AVAX"]),
        ("Optimism's token unlock: what OP holders should know", ["OP"]),
        ("Memecoin PEPE doubles", ["PEPE"]),
        ("$OP unlock weighs on Optimism", ["OP"]),
        ("GASUSDT listed", ["GAS"]),
    ],
)
def test_a_word_counts_where_something_says_that_a_coin_is_meant(text, tickers):
    assert mentions(text).tickers == tickers


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("Bitcoin Cash rises", ["BCH"]),
        ("Ethereum Classic miners leave", ["ETC"]),
        ("Bitcoin Magazine names an editor", []),
        ("Wrapped Bitcoin moves to a new custodian", ["WBTC"]),
    ],
)
def test_the_longest_name_takes_what_lies_in_it(text, tickers):
    assert mentions(text).tickers == tickers


FOLLOWED = CoinFinder(("BTCUSDT", "JTOUSDT", "NOTUSDT", "1000SATSUSDT", "1INCHUSDT", "AUSDT", "FDUSDUSDT"))


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("Jito (JTO) doubles", ["JTO"]),
        ("JTOUSDT is listed, JTO/BTC and JTO-USD follow", ["JTO"]),
        ("JTO token unlock", ["JTO"]),
        ("What $JTO holders know, and why JTO fell", ["JTO"]),
        ("Notcoin (NOT) is NOT a coin", ["NOT"]),
        ("1INCH network votes, (1000SATS) waits, $1INCH", ["1INCH", "1000SATS"]),
        ("Vaulta (A) trades as AUSDT", ["A"]),
        ("(FDUSD) keeps its peg", ["FDUSD"]),
    ],
)
def test_the_base_of_a_followed_symbol_is_found_with_care(text, tickers):
    assert FOLLOWED(text).tickers == tickers
    assert "JTO" not in mentions(text.replace("$JTO", "it")).tickers


@pytest.mark.parametrize(
    "text",
    [
        "It is NOT so, JTO",
        "A token, A network and A whale",
        "NOT TOKENS BUT SHARES",  # all in capitals
        "AJTOUSDT and JTOUSDTX",
        "jto token",
        "ABC (ABC) and ABCUSDT",  # followed by nobody
        "(2024) and $20 and $1000",
    ],
)
def test_what_may_be_a_word_and_has_no_sign_is_not_tagged_though_it_is_followed(text):
    assert FOLLOWED(text).tickers == []


def test_a_pair_that_fits_a_followed_pattern_is_found_whatever_its_base():
    find = CoinFinder(("*USDT", "BTCEUR"))
    assert find("WIFUSDT, NEWUSDT and NEW/USDT but OLDEUR, OLD/EUR, EUR/USD, (NEW) or NEW token").tickers == [
        "WIF",
        "NEW",
    ]
    assert CoinFinder(("*",))("OLDEUR and EUR/USD").tickers == ["OLD", "EUR"]


def test_a_pair_is_read_as_its_base_is_told_elsewhere():
    assert mentions("BTCFDUSD, ETHTUSD and SOLBUSD").tickers == ["BTC", "ETH", "SOL"]


def test_a_pinned_coin_is_told_by_its_id():
    find = CoinFinder(("JTOUSDT",), {"JTO": "jito-governance-token", "MATIC": "polygon-ecosystem-token"})
    told = find("Jito (JTO), MATIC and BTC")
    assert told.coins == ["jito-governance-token", "polygon-ecosystem-token", "bitcoin"]


def test_coins_are_told_by_their_coingecko_id_and_unknown_cashtags_by_ticker_alone():
    told = mentions("$NEWCOIN and Bitcoin, for $20")
    assert told.tickers == ["NEWCOIN", "BTC"]
    assert told.coins == ["bitcoin"]


def test_a_list_of_everything_is_cut():
    assert len(mentions(" ".join(f"${coin.ticker}" for coin in COINS)).tickers) == MOST_MENTIONS


def test_the_list_of_coins_has_each_ticker_coin_and_name_once():
    names = [name.casefold() for coin in COINS for name in (*coin.names, *coin.words)]
    for listed in ([coin.ticker for coin in COINS], [coin.coin for coin in COINS]):
        assert len(listed) == len(set(listed))
    assert {name for name in names if names.count(name) > 1} <= {"tron"}
    assert not {name.casefold() for name in NOT_COINS} & set(names)


@given(st.text(max_size=200))
def test_any_text_is_read_and_only_what_stands_in_it_is_found(text):
    for ticker in mentions(text).tickers:
        known = next((coin for coin in COINS if coin.ticker == ticker), None)
        written = [ticker] if known is None else [ticker, *known.names, *known.words]
        plain = re.sub(r"\s+", " ", text).casefold()
        assert any(name.casefold() in plain for name in written)
