"""A record keeps what a batch knows of a frame, and what others put on a topic is read as far as it goes."""

from itertools import pairwise

from hypothesis import given, strategies as st

from tapehouse.ports import Batch
from tapehouse.tape.codec import LATEST, Record, headers_of, key_of, to_batches

times = st.integers(0, LATEST - 1)
shapes = st.sampled_from(
    ["stream", "trades", "aggTrades", "klines", "market_data", "sentiment", "news", "symbols", "status"]
)


@st.composite
def batches(draw) -> Batch:
    frames = draw(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
    received_at = draw(st.lists(times, min_size=len(frames), max_size=len(frames)))
    binary = tuple(sorted(draw(st.sets(st.sampled_from(range(len(frames)))))))
    symbol = draw(st.sampled_from(["", "BTCUSDT", "coingecko"]))
    return Batch(frames, received_at, draw(shapes), symbol, binary)


def records(batch: Batch) -> list[Record]:
    return [
        Record(frame, headers_of(batch.shape, at, symbol=batch.symbol, binary=place in batch.binary), at // 1000)
        for place, (frame, at) in enumerate(zip(batch.frames, batch.received_at, strict=True))
    ]


def one_by_one(batch: Batch) -> list[tuple]:
    return [
        (frame, at, batch.shape, batch.symbol, place in batch.binary)
        for place, (frame, at) in enumerate(zip(batch.frames, batch.received_at, strict=True))
    ]


@given(st.lists(batches(), max_size=5))
def test_every_frame_comes_back_as_it_was_with_all_that_was_known_of_it(appended):
    read = to_batches([record for batch in appended for record in records(batch)])
    assert [row for batch in appended for row in one_by_one(batch)] == [
        row for each in read for row in one_by_one(each)
    ]


@given(st.lists(batches(), max_size=5))
def test_neighbours_of_one_kind_are_one_batch(appended):
    read = to_batches([record for batch in appended for record in records(batch)])
    kinds = [(each.shape, each.symbol) for each in read]
    assert all(first != second for first, second in pairwise(kinds))


def test_what_a_stranger_wrote_is_a_frame_of_the_stream_received_when_kafka_says():
    strange = [
        Record(None, None, 7),
        Record(b"x", [("shape", b"\xff"), ("received_at", b"-1")], 7),
        Record(b"y", [("received_at", b"9" * 5000)], 7),
        Record(b"z", [("received_at", None)], -1),
    ]
    assert [Batch([b"", b"x", b"y", b"z"], [7000, 7000, 7000, 0])] == to_batches(strange)


def test_everything_about_a_symbol_has_one_key():
    assert key_of("BTCUSDT") == b"binance:BTCUSDT"


def test_a_refusal_says_why_and_where_it_would_have_gone():
    headers = dict(headers_of("stream", 5, refusal=("a binary message", "crypto-prices")))
    assert (headers["reason"], headers["topic"]) == (b"a binary message", b"crypto-prices")
