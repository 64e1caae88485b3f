"""What is read as text without a JSON reader means the same to one; whatever might not is left to it."""

import gzip
import json

import polars as pl
import pytest
from hypothesis import example, given, settings, strategies as st

from tapehouse.ports import Batch
from tapehouse.producers.binance.decode import decode_stream
from tapehouse.producers.binance.plain import read_plain

TRADE = {"e": "trade", "E": 1723161254531, "s": "BTCUSDT", "t": 3716230411, "p": "61784.01000000", "q": "0.00045000",
         "T": 1723161254530, "m": True, "M": True}  # fmt: skip
LETTERS = ("E", "s", "t", "p", "q", "T", "m")
NAMES = ("event_at", "symbol", "first_trade_id", "price_text", "quantity_text", "traded_at", "buyer_is_maker")


def compact(fields: dict, stream: str = "btcusdt@trade") -> bytes:
    return json.dumps({"stream": stream, "data": fields}, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def read(*frames: bytes) -> list[dict]:
    times = pl.Series(range(1, len(frames) + 1), dtype=pl.Int64)
    return read_plain(pl.Series(frames, dtype=pl.Binary), times).to_dicts()


def fitting(value: object) -> object:
    return None if isinstance(value, int) and value >= 2**63 else value


USUAL = compact(TRADE)
values = {
    **{letter: st.integers(-(10**20), 10**20) | st.integers() | st.booleans() | st.none() for letter in "EtT"},
    **{letter: st.text(max_size=6) | st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,9})?") | st.floats() for letter in "pq"},
    "s": st.text(max_size=12) | st.sampled_from(["币安人生USDT", 'A"B', "A\\B", "\x00", "\ud800"]),
    "m": st.booleans() | st.integers(0, 1) | st.sampled_from(["true", None]),
    "M": st.booleans() | st.none(),
}
changed = st.fixed_dictionaries({}, optional=values).map(lambda fields: compact(TRADE | fields))
"""The usual form with other values."""
spliced = st.builds(
    lambda text, at, cut, put: text[:at] + put + text[at + cut :],
    changed,
    st.integers(0, len(USUAL)),
    st.integers(0, 4),
    st.sampled_from([b"", b" ", b"0", b"-", b'"', b"\\", b"\\u0041", b",", b"}", b"\n", b"\xff", b"e5", b'"s":"X",']),
)
"""The usual form with some bytes taken out and others put in."""


@settings(max_examples=500)
@given(st.lists(changed | spliced, min_size=1, max_size=8))
@example([USUAL + b"\n"])
@example([USUAL.replace(b":3716230411", b":03716230411")])
@example([USUAL.replace(b'"s"', b'"s":"ETHUSDT","s"')])
@example([b'{"stream":"x","data":' + USUAL])
def test_what_is_read_means_the_same_to_a_reader_of_json(frames):
    for row, frame in zip(read(*frames), frames, strict=True):
        assert row["payload"] == frame
        if row["symbol"] is not None:
            [message] = decode_stream(Batch([frame], [row["received_at"]])).trades
            told = {name: getattr(message, letter) for name, letter in zip(NAMES, LETTERS, strict=True)}
            assert {name: row[name] for name in NAMES} == {name: fitting(value) for name, value in told.items()}


@pytest.mark.parametrize("symbol", ["BTCUSDT", "1000SATSUSDT", "币安人生USDT"])
def test_a_trade_as_the_exchange_writes_it_is_read(symbol):
    [row] = read(compact(TRADE | {"s": symbol}, f"{symbol.lower()}@trade"))
    assert {name: row[name] for name in NAMES} == {
        "event_at": 1723161254531,
        "symbol": symbol,
        "first_trade_id": 3716230411,
        "price_text": "61784.01000000",
        "quantity_text": "0.00045000",
        "traded_at": 1723161254530,
        "buyer_is_maker": True,
    }
    assert row["received_at"] == 1


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps({"stream": "btcusdt@trade", "data": TRADE}).encode(),
        compact(dict(reversed(TRADE.items()))),
        compact(TRADE | {"X": "MARKET"}),
        compact(TRADE | {"t": -1}),
        USUAL[:-1],
        USUAL.replace(b"61784", b"6\\u0031784"),
        b"\xff" + USUAL,
        b"",
    ],
)
def test_another_form_is_left_to_the_reader_of_json(frame):
    [row, beside] = read(frame, USUAL)
    assert row["symbol"] is None
    assert beside["symbol"] == "BTCUSDT"


@pytest.mark.recordings
def test_every_trade_the_exchange_was_recorded_to_tell_is_in_the_usual_form(recordings):
    with gzip.open(recordings / "1-binance-ws" / "hftbacktest_spot_btcusdt_20240808.gz", "rb") as lines:
        frames = [line.strip().split(b" ", 1)[1] for line in lines if b'@trade"' in line]
    assert len(frames) == 9757
    assert all(row["symbol"] == "BTCUSDT" for row in read(*frames))
