"""Any bytes at all are sorted into trades, klines, other messages and refusals; none is lost and nothing raises."""

import gzip
import json

import pytest
from hypothesis import example, given, strategies as st

from tapehouse.ports import Batch
from tapehouse.producers.binance.decode import Messages, concatenate, decode_rest, decode_stream

TRADE = {"e": "trade", "E": 1723161254531, "s": "BTCUSDT", "t": 3716230411, "p": "61784.01000000", "q": "0.00045000",
         "T": 1723161254530, "m": True, "M": True}  # fmt: skip
KLINE = {"e": "kline", "E": 1723161254531, "s": "BTCUSDT", "k": {
    "t": 1723161240000, "T": 1723161299999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "1", "c": "1", "h": "1",
    "l": "1", "v": "2", "n": 2, "x": True, "q": "2", "V": "1", "Q": "1", "B": "0"}}  # fmt: skip


def framed(message: object, stream: str = "btcusdt@trade") -> bytes:
    return json.dumps({"stream": stream, "data": message}).encode()


def batch(*frames: bytes, **about) -> Batch:
    return Batch(frames=list(frames), received_at=list(range(1, len(frames) + 1)), **about)


def payloads(messages: Messages) -> list[bytes]:
    """The bytes of everything that came out."""
    return [
        *messages.payloads,
        *(payload for _, payload, _ in messages.klines),
        *(other.payload for other in messages.other),
        *(refused.payload for refused in messages.rejected),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TRADE, "k", "data"]), inner),
    max_leaves=12,
)
mutated = st.builds(lambda changed: framed(TRADE | changed), st.dictionaries(st.sampled_from(list(TRADE)), json_values))
any_frame = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(framed),
    mutated,
    st.sampled_from([framed(TRADE), framed(KLINE), framed(TRADE)[:-5], framed(TRADE) + b"}"]),
)


@given(st.lists(any_frame, max_size=6), st.data())
@example([b"[" * 100_000, b'{"data":' * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000], None)
@example([b"\xff\xfe", b"\x00", b"", b'"\\ud800"', b'{"data":{"e":"\xc3"}}', b"1" * 5000], None)
def test_any_bytes_at_all_as_frames_are_sorted_and_none_is_lost(frames, data):
    binary = tuple(data.draw(st.sets(st.sampled_from(range(len(frames)))))) if data and frames else ()
    messages = decode_stream(batch(*frames, binary=binary))
    assert sorted(payloads(messages)) == sorted(frames)
    assert len(messages.trades) == len(messages.payloads) == len(messages.received_at)
    assert all(0 < len(refused.reason) <= 200 for refused in messages.rejected)
    assert {refused.payload for refused in messages.rejected} >= {frames[place] for place in binary}


@given(st.lists(any_frame, max_size=6), st.sampled_from(["trades", "aggTrades"]))
def test_any_bytes_at_all_as_rows_of_an_answer_are_trades_or_refused(rows, shape):
    trades, rejected = decode_rest(batch(*rows, shape=shape, symbol="BTCUSDT"))
    assert sorted([*(row for _, row in trades), *(refused.payload for refused in rejected)]) == sorted(rows)


def test_messages_are_sorted_by_what_they_are():
    frames = [
        framed(TRADE),
        framed(KLINE, "btcusdt@kline_1m"),
        framed({"e": "depthUpdate", "u": 1}),
        framed({"e": "serverShutdown", "E": 1}, "!serverShutdown"),
        b'{"result":null,"id":1}',
        framed(TRADE | {"p": 61784.01}),
        framed(KLINE | {"k": {}}),
        framed(TRADE | {"unknown": {"field": [1]}, "X": "MARKET"}),
    ]
    messages = decode_stream(batch(*frames))
    assert messages.payloads == [frames[0], frames[7]]
    assert messages.received_at == [1, 8]
    assert [payload for _, payload, _ in messages.klines] == [frames[1]]
    assert [other.event for other in messages.other] == ["depthUpdate", "serverShutdown", ""]
    assert [(refused.topic, refused.payload) for refused in messages.rejected] == [
        ("crypto-prices", frames[5]),
        ("klines", frames[6]),
    ]


def test_a_binary_message_is_refused_though_it_reads_like_a_trade():
    messages = decode_stream(batch(framed(TRADE), framed(TRADE), binary=(1,)))
    assert len(messages.trades) == 1
    assert [refused.reason for refused in messages.rejected] == ["a binary message"]


@pytest.mark.parametrize("missing", ["E", "s", "t", "p", "q", "T", "m"])
def test_a_trade_without_one_of_its_fields_is_refused(missing):
    fields = {name: value for name, value in TRADE.items() if name != missing}
    [refused] = decode_stream(batch(framed(fields))).rejected
    assert f"`{missing}`" in refused.reason


def test_batches_joined_keep_their_order():
    parts = [decode_stream(batch(framed(TRADE | {"t": n}), framed(KLINE), b"x")) for n in (3, 1, 2)]
    whole = concatenate(parts)
    assert [trade.t for trade in whole.trades] == [3, 1, 2]
    assert (len(whole.klines), len(whole.rejected)) == (3, 3)
    assert concatenate(parts[:1]) is parts[0]


@pytest.mark.recordings
def test_every_message_of_a_recording_is_read_and_each_trade_becomes_what_it_says(recordings):
    with gzip.open(recordings / "1-binance-ws" / "hftbacktest_spot_btcusdt_20240808.gz", "rt") as lines:
        told = [line.strip().split(" ", 1) for line in lines]
    frames = [text.encode() for _, text in told if text.startswith('{"stream"')]
    stamps = [int(stamp) // 1000 for stamp, text in told if text.startswith('{"stream"')]
    messages = decode_stream(Batch(frames=frames, received_at=stamps))
    assert len(payloads(messages)) == len(frames)
    assert all(b'"btcusdt@bookTicker"' in refused.payload for refused in messages.rejected)
    assert len(messages.trades) == 9757
    for message, frame, at in zip(messages.trades, messages.payloads, messages.received_at, strict=True):
        fields, trade = json.loads(frame)["data"], message.to_trade(at)
        assert (trade.first_trade_id, trade.traded_at) == (fields["t"], fields["T"] * 1000)
        assert f"{trade.price // 10**8}.{trade.price % 10**8:08d}" == fields["p"]
        assert f"{trade.quantity // 10**8}.{trade.quantity % 10**8:08d}" == fields["q"]
        assert trade.taker_side == ("sell" if fields["m"] else "buy")
