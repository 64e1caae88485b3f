"""Each wire message becomes the domain's value letter by letter, or is refused with a reason."""

import json

import msgspec
import pytest

from tapehouse.market.windows import DAY
from tapehouse.producers.binance.wire import (
    LARGEST_TRADE_ID,
    AggregateTrade,
    HistoricalTrade,
    KlineMessage,
    StreamMessage,
    TradeMessage,
    rest_kline,
    to_microseconds,
)

AT = 1_723_161_254_530
RECEIVED = AT * 1000


def trade_message(**changed) -> TradeMessage:
    fields = {"E": AT + 1, "s": "BTCUSDT", "t": 5, "p": "61784.01", "q": "0.00045", "T": AT, "m": True}
    return TradeMessage(**fields | changed)


def kline_message(**changed) -> KlineMessage:
    fields = {"t": 1_723_161_240_000, "i": "1m", "f": 10, "L": 12, "o": "1", "h": "3", "l": "1", "c": "2", "v": "6",
              "q": "12.5", "n": 3, "V": "2", "Q": "4.00000001", "x": True}  # fmt: skip
    frame = json.dumps({"data": {"e": "kline", "s": "BTCUSDT", "k": fields | changed}}).encode()
    return msgspec.json.decode(frame, type=StreamMessage).data


def test_a_trade_keeps_every_digit_and_both_times():
    trade = trade_message().to_trade(RECEIVED)
    assert (trade.price, trade.quantity, trade.taker_side) == (6_178_401_000_000, 45_000, "sell")
    assert (trade.traded_at, trade.event_at, trade.received_at) == (AT * 1000, AT * 1000 + 1000, RECEIVED)
    assert (trade.first_trade_id, trade.last_trade_id, trade.source) == (5, 5, "stream")


def test_when_the_buyer_was_not_the_maker_he_took():
    assert trade_message(m=False).to_trade(RECEIVED).taker_side == "buy"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"t": -1}, "ids out of range"),
        ({"t": LARGEST_TRADE_ID + 1}, "ids out of range"),
        ({"p": "0.00000000"}, "zero"),
        ({"q": "0"}, "zero"),
        ({"p": "NaN"}, "not a decimal"),
        ({"q": "-1"}, "not a decimal"),
        ({"T": 0}, "time out of range"),
        ({"E": 2**62}, "time out of range"),
        ({"T": AT + 90_000_000, "E": AT + 90_000_000}, "more than a day after it was received"),
        ({"E": AT + 90_000_000}, "a day away from its event time"),
    ],
)
def test_a_trade_that_cannot_be_true_is_refused(changed, reason):
    with pytest.raises(ValueError, match=reason):
        trade_message(**changed).to_trade(RECEIVED)


def test_times_are_told_apart_by_their_size():
    assert to_microseconds(AT) == to_microseconds(AT * 1000) == AT * 1000
    for absurd in (-1, 0, 1_230_767_999_999, 4_102_444_800_000, 4_102_444_800_000_000, 2**70):
        with pytest.raises(ValueError, match="time out of range"):
            to_microseconds(absurd)


def test_rows_of_rest_answers_become_trades_without_an_event_time():
    single = HistoricalTrade(id=7, price="2", qty="3", time=AT, isBuyerMaker=False).to_trade("BTCUSDT", RECEIVED)
    several = AggregateTrade(a=1, p="2", q="3", f=7, l=9, T=AT, m=True).to_trade("BTCUSDT", RECEIVED)
    assert (single.first_trade_id, single.last_trade_id, single.taker_side) == (7, 7, "buy")
    assert (several.first_trade_id, several.last_trade_id, several.taker_side) == (7, 9, "sell")
    assert single.event_at is several.event_at is None
    assert single.source == several.source == "rest"


def test_an_aggregate_whose_ids_run_backwards_is_refused():
    with pytest.raises(ValueError, match=r"ids out of range: 9\.\.7"):
        AggregateTrade(a=1, p="2", q="3", f=9, l=7, T=AT, m=True).to_trade("BTCUSDT", RECEIVED)


def test_a_kline_tells_volumes_exactly_and_its_ids():
    kline = kline_message().to_kline(RECEIVED)
    assert (kline.opened_at, kline.interval, kline.close, kline.has_ids) == (
        1_723_161_240_000_000,
        "1m",
        2 * 10**8,
        True,
    )
    assert (kline.candle.quote_volume, kline.candle.taker_buy_quote_volume) == (125 * 10**15, 400_000_001 * 10**8)
    assert (kline.candle.trades, kline.candle.first_trade_id, kline.candle.last_trade_id) == (3, 10, 12)


def test_a_minute_of_a_coin_that_is_worth_little_may_trade_more_than_any_one_trade_can():
    kline = kline_message(v="123456789012345.00", q="99999999999999.99999999").to_kline(RECEIVED)
    assert kline.candle.volume == 123_456_789_012_345 * 10**8
    assert kline.candle.quote_volume == 9_999_999_999_999_999_999_999 * 10**8


def test_a_kline_without_trades_is_flat_and_has_no_candle():
    kline = kline_message(n=0, f=-1, L=-1, v="0", q="0").to_kline(RECEIVED)
    assert (kline.candle, kline.close, kline.has_ids) == (None, 2 * 10**8, True)


@pytest.mark.parametrize(
    "changed",
    [{"i": "2m"}, {"t": 1_723_161_240_001}, {"n": -1}, {"f": -1}, {"f": 13}, {"L": LARGEST_TRADE_ID + 1}, {"o": "x"}],
)
def test_a_kline_that_cannot_be_true_is_refused(changed):
    with pytest.raises(ValueError, match=r"not a|larger"):
        kline_message(**changed).to_kline(RECEIVED)


def test_a_rest_kline_has_a_count_and_no_ids():
    row = json.dumps([AT // 60_000 * 60_000, "1", "3", "1", "2", "6", 0, "12.5", 3, "2", "4", "0"]).encode()
    kline = rest_kline("BTCUSDT", "1m", row, RECEIVED)
    assert (kline.has_ids, kline.candle.trades, kline.candle.first_trade_id) == (False, 3, -1)


@pytest.mark.parametrize("row", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000])
def test_a_row_that_is_no_kline_is_refused(row):
    with pytest.raises(ValueError, match="not a kline"):
        rest_kline("BTCUSDT", "1m", row, RECEIVED + DAY)
