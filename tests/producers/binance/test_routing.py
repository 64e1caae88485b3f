"""Where a frame belongs: trades and klines to their topics with the ids they tell of, everything else refused."""

import json

import pytest
from hypothesis import given, strategies as st

from tapehouse.ports import Batch, Routed
from tapehouse.producers.binance.routing import NOT_ASKED_FOR, UNKNOWN_EVENT, binance_route

NOW = 1_723_161_300_000_000
KLINE = {"t": 1723161240000, "i": "1m", "f": 7, "L": 9, "o": "1", "c": "2", "h": "2", "l": "1", "v": "3", "n": 3}
route = binance_route(["BTCUSDT", "*EUR"])


def stream(event: dict) -> bytes:
    return json.dumps({"stream": "s", "data": event}).encode()


def trade(symbol: str = "BTCUSDT", **fields: object) -> bytes:
    event = {"e": "trade", "E": 1723161254531, "s": symbol, "t": 5, "p": "61784.01", "q": "0.5", "T": 1723161254530}
    return stream({**event, "m": True, "M": True, **fields})


def kline(*, closed: bool, **fields: object) -> bytes:
    candle = {**KLINE, "q": "5", "V": "1", "Q": "2", "x": closed, **fields}
    return stream({"e": "kline", "E": 1723161300000, "s": "BTCUSDT", "k": candle})


def routed(frame: bytes, **of_batch: object) -> Routed:
    (found,) = route(Batch([frame], [NOW], **of_batch))
    assert (found.frame, found.received_at) == (frame, NOW)
    return found


def test_a_trade_belongs_to_its_topic_with_its_id_and_time():
    found = routed(trade())
    assert (found.topic, found.symbol, found.ids, found.reason) == ("crypto-prices", "BTCUSDT", (5, 5), "")
    assert found.traded_at == 1723161254530000


def test_a_closed_kline_tells_to_which_id_trades_exist_and_an_open_one_does_not():
    closed, opened = routed(kline(closed=True)), routed(kline(closed=False))
    assert (closed.topic, closed.symbol, closed.told_to, closed.traded_at) == ("klines", "BTCUSDT", 9, NOW)
    assert (opened.topic, opened.symbol, opened.told_to, opened.reason) == ("klines", "BTCUSDT", -1, "")


def test_rows_of_rest_answers_carry_the_symbol_they_were_asked_for():
    row = b'{"id":5,"price":"1","qty":"2","time":1723161254530,"isBuyerMaker":true}'
    aggregate = b'{"a":1,"p":"1","q":"2","f":5,"l":8,"T":1723161254530,"m":true}'
    single, several = (
        routed(row, shape="trades", symbol="BTCUSDT"),
        routed(aggregate, shape="aggTrades", symbol="BTCUSDT"),
    )
    assert (single.topic, single.symbol, single.ids) == ("crypto-prices", "BTCUSDT", (5, 5))
    assert (several.topic, several.symbol, several.ids) == ("crypto-prices", "BTCUSDT", (5, 8))


@pytest.mark.parametrize(
    ("frame", "topic", "reason"),
    [
        (b"rubbish", "crypto-prices", "JSON"),
        (b"\xff\xfe", "crypto-prices", ""),
        (trade(p="NaN"), "crypto-prices", "NaN"),
        (trade(q="0"), "crypto-prices", "zero"),
        (trade(t="5"), "crypto-prices", "int"),
        (trade("DOGEUSDT"), "crypto-prices", NOT_ASKED_FOR),
        (trade("dogeEUR"), "crypto-prices", NOT_ASKED_FOR),
        (kline(closed=True, o="-1"), "klines", "-1"),
        (kline(closed=True, t="x"), "klines", "int"),
        (stream({"e": "bookTicker"}), "crypto-prices", UNKNOWN_EVENT),
        (b'{"result":null,"id":1}', "crypto-prices", UNKNOWN_EVENT),
    ],
)
def test_what_cannot_be_or_is_not_known_is_refused_with_the_reason(frame, topic, reason):
    found = routed(frame)
    assert found.topic == topic
    assert found.reason
    assert reason in found.reason
    assert found.ids is None


def test_a_symbol_that_fits_a_pattern_is_asked_for():
    assert routed(trade("ETHEUR")).reason == ""


def test_a_binary_frame_is_refused_as_one_and_those_beside_it_are_not():
    found = list(route(Batch([trade(), trade(t=6), trade(t=7)], [NOW] * 3, binary=(1,))))
    assert [(each.ids, each.binary) for each in found if not each.reason] == [((5, 5), False), ((7, 7), False)]
    assert [each.binary for each in found if each.reason] == [True]


@given(
    st.lists(
        st.one_of(st.binary(max_size=30), st.sampled_from([trade(), kline(closed=True), b"{}", stream({"e": "x"})])),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["stream", "trades", "aggTrades", "klines"]),
    st.sets(st.integers(0, 7)),
)
def test_every_frame_of_a_batch_has_one_place_whatever_it_is(frames, shape, binary):
    places = tuple(sorted(place for place in binary if place < len(frames)))
    batch = Batch(frames, [NOW] * len(frames), shape, "BTCUSDT" if shape != "stream" else "", places)
    assert sorted(frames) == sorted(each.frame for each in route(batch))
