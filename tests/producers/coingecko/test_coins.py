"""Symbols become coins: well-known and pinned ones at once, others by the list, ambiguous ones only when pinned."""

import json

from tapehouse.producers.coingecko.coins import MOST_COINS, Coins

LIST = json.dumps(
    [
        {"id": "one-a", "symbol": "xyz", "name": "A"},
        {"id": "one-b", "symbol": "XYZ", "name": "B"},
        {"id": "only", "symbol": "qqq", "name": "Only"},
        {"id": "batcat", "symbol": "btc", "name": "A copy"},
    ]
).encode()


def coins(*symbols, **pinned) -> Coins:
    return Coins(lambda: symbols, pinned)


def test_well_known_coins_need_no_list_and_no_copy_takes_their_place():
    followed = coins("BTCUSDT", "ETHBTC", "BTCUSDC", "*USDT")
    assert followed.ids() == ["bitcoin", "ethereum"]
    assert not followed.needs_list()
    followed.learn(LIST)
    assert followed.ids() == ["bitcoin", "ethereum"]


def test_a_ticker_of_one_coin_is_found_in_the_list():
    followed = coins("QQQUSDT")
    assert (followed.ids(), followed.needs_list()) == ([], True)
    followed.learn(LIST)
    assert (followed.ids(), followed.needs_list(), followed.notes()) == (["only"], False, ())


def test_a_ticker_of_several_coins_is_not_guessed_and_the_person_is_told():
    followed = coins("XYZUSDT", "NONEUSDT")
    followed.learn(LIST)
    assert followed.ids() == []
    several, none = followed.notes()
    assert "XYZ names 2 coins (one-a, one-b" in several
    assert "TAPEHOUSE_COINGECKO_COINS" in several
    assert "NONE names no coin" in none


def test_a_pin_decides_before_everything_else():
    followed = coins("XYZUSDT", "BTCUSDT", XYZ="one-b", BTC="wrapped-bitcoin")
    assert followed.ids() == ["one-b", "wrapped-bitcoin"]
    assert not followed.needs_list()


def test_the_notes_are_few():
    followed = coins(*(f"A{number}USDT" for number in range(100)))
    followed.learn(b"[]")
    assert len(followed.notes()) == 10


def test_of_more_coins_than_are_asked_for_the_first_are_and_the_person_is_told():
    tickers = [f"C{number}" for number in range(MOST_COINS + 5)]
    followed = coins(*(f"{ticker}USDT" for ticker in tickers), **{ticker: ticker.lower() for ticker in tickers})
    assert followed.ids() == [ticker.lower() for ticker in tickers[:MOST_COINS]]
    assert followed.notes() == (
        "CoinGecko is asked for the first 1000 of 1005 coins: name the symbols that matter first.",
    )
