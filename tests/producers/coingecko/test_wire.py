"""CoinGecko's answers are cut into items with every digit, and an item becomes what it says or a reason."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from tapehouse.producers.coingecko import wire

RECEIVED = 1_712_508_600_000_000
COIN = {
    "id": "bitcoin",
    "symbol": "btc",
    "name": "Bitcoin",
    "image": "https://example.com/1.png",
    "current_price": 70187,
    "market_cap": None,
    "market_cap_rank": 1,
    "price_change_24h": -2126.88,
    "roi": {"times": 1.5},
    "last_updated": "2024-04-07T16:49:31.736Z",
}


def microseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def test_a_coin_is_told_as_of_when_it_was_updated():
    told = wire.market_coin(json.dumps(COIN).encode(), RECEIVED)
    assert (told.kind, told.source, told.key) == ("market_data", "coingecko", "bitcoin")
    assert told.observed_at == microseconds("2024-04-07T16:49:31.736")
    assert told.fields["current_price"] == "70187"
    assert told.fields["price_change_24h"] == "-2126.88"
    assert told.fields["market_cap"] is None
    assert told.fields["market_cap_rank"] == 1
    assert not told.fields.keys() & {"image", "roi"}
    assert not any(isinstance(value, float) for value in told.fields.values())


def test_a_coin_that_was_never_updated_is_as_of_its_receipt():
    told = wire.market_coin(json.dumps(COIN | {"last_updated": None}).encode(), RECEIVED)
    assert told.observed_at == RECEIVED


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("1.230e-05", "0.00001230"),
        ("123456789012345678901234567890.10", "123456789012345678901234567890.10"),
        ("1E+3", "1000"),
        ("0.1", "0.1"),
        ("null", None),
    ],
)
def test_a_price_keeps_every_digit_it_was_written_with(written, stored):
    (frame,) = wire.split_prices(f'{{"bitcoin": {{"usd": {written}, "last_updated_at": 1712508571}}}}'.encode())
    told = wire.coin_price(frame, RECEIVED)
    assert (told.source, told.key, told.fields["current_price"]) == ("coingecko_price", "bitcoin", stored)
    assert told.observed_at == 1_712_508_571_000_000


@pytest.mark.parametrize(
    "changed",
    [
        {"id": ""},
        {"id": "x" * 201},
        {"id": 1},
        {"current_price": -1},
        {"current_price": "70187 dollars"},
        {"current_price": True},
        {"current_price": [1]},
        {"market_cap_rank": 1.5},
        {"last_updated": "2024-04-07 16:49"},
        {"last_updated": "2034-04-07T16:49:31.736Z"},
        {"last_updated": "0001-01-01T00:00:00Z"},
    ],
)
def test_what_cannot_be_true_is_refused(changed):
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        wire.market_coin(json.dumps(COIN | changed).encode(), RECEIVED)


@pytest.mark.parametrize("missing", ["id", "symbol", "name", "current_price", "market_cap", "last_updated"])
def test_what_is_missing_is_refused_by_name(missing):
    without = {name: value for name, value in COIN.items() if name != missing}
    with pytest.raises(msgspec.ValidationError, match=missing):
        wire.market_coin(json.dumps(without).encode(), RECEIVED)


def test_the_coins_of_an_answer_are_the_very_bytes():
    body = b'[ {"id":"a",  "x":1.10} ,\n{"id":"b"}]'
    assert wire.split_markets(body) == [b'{"id":"a",  "x":1.10}', b'{"id":"b"}']


def test_the_whole_market_is_told_in_dollars_with_each_big_coins_part():
    data = {
        "total_market_cap": {"usd": 2.5, "eur": 1},
        "total_volume": {"usd": 1.25},
        "market_cap_percentage": {"btc": 52.25, "eth": 16},
        "updated_at": 1_712_508_571,
        "active_cryptocurrencies": 7362,
    }
    (frame,) = wire.split_global(json.dumps({"data": data}).encode())
    told = wire.global_market(frame, RECEIVED)
    assert (told.source, told.key, told.observed_at) == ("coingecko_global", "global", 1_712_508_571_000_000)
    assert told.fields["total_market_cap"] == "2.5"
    assert told.fields["market_cap_percentage_btc"] == "52.25"


def test_a_moment_of_the_past_has_a_key_of_its_own_and_is_put_together_by_its_time():
    chart = {"prices": [[1711843200000, 69702.5], [1711929600000, 1]], "market_caps": [[1711929600000, 7]]}
    first, second = (
        wire.history_point(each, RECEIVED) for each in wire.split_chart("ethereum", json.dumps(chart).encode())
    )
    assert first.key == "ethereum/2024-03-31T00:00:00.000+00:00"
    assert first.fields == {"id": "ethereum", "current_price": "69702.5", "market_cap": None, "total_volume": None}
    assert second.fields["market_cap"] == "7"
    assert first.source == "coingecko_history"


@pytest.mark.parametrize("cut", [wire.split_markets, wire.split_prices, wire.split_global])
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "Missing parameter ids"}', b"null", b"7"])
def test_an_answer_that_is_something_else_cannot_be_cut(cut, body):
    with pytest.raises(msgspec.MsgspecError):
        cut(body)
