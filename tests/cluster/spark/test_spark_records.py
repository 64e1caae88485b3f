"""Of any records at all, a worker reads the trades of the stream, and gives the others back as they came."""

import json

import polars as pl
import pytest

from tapehouse.catalog import TRADES_TOPIC
from tapehouse.streaming.spark_records import decode
from tapehouse.tape.codec import headers_of

AT = 1_723_161_254_000_000
FIELDS = {"e": "trade", "E": 1723161254531, "s": "BTCUSDT", "t": 7, "p": "61784.01", "q": "0.5", "T": 1723161254530,
          "m": True, "M": True}  # fmt: skip

FRAMED = tuple(headers_of("stream", AT))


def usual(**changed) -> bytes:
    """A frame as the exchange writes it, to the letter."""
    return json.dumps({"stream": "btcusdt@trade", "data": FIELDS | changed}, separators=(",", ":")).encode()


def otherwise(**changed) -> bytes:
    """The same message with spaces in it."""
    return json.dumps({"stream": "btcusdt@trade", "data": FIELDS | changed}).encode()


def records(*payloads: bytes | None, headers=FRAMED) -> pl.DataFrame:
    rows = [
        {
            "topic": TRADES_TOPIC,
            "partition": 0,
            "offset": offset,
            "timestamp": AT // 1000,
            "headers": [{"key": key, "value": value} for key, value in headers],
            "payload": payload,
        }
        for offset, payload in enumerate(payloads)
    ]
    header = pl.List(pl.Struct({"key": pl.String, "value": pl.Binary}))
    return pl.DataFrame(
        rows,
        {
            "topic": pl.String,
            "partition": pl.Int32,
            "offset": pl.Int64,
            "timestamp": pl.Int64,
            "headers": header,
            "payload": pl.Binary,
        },
    )


@pytest.mark.parametrize(
    ("payloads", "trades"),
    [
        ([usual(t=1), usual(t=2)], [1, 2]),
        ([otherwise(t=1), usual(t=2), otherwise(t=3), usual(t=4)], [1, 2, 3, 4]),
        ([usual(t=1), b"", None, b"\xff", usual(t=5), b'{"result":null}'], [1, 5]),
        ([usual(t=1), usual(t=2, p="0"), usual(t=3)], [1, 3]),
        ([usual(t=1), otherwise(t=2, T=0), usual(t=3)], [1, 3]),
        ([otherwise(t=2**64), usual(t=3)], [3]),
        ([], []),
    ],
)
def test_trades_are_read_however_they_are_written_and_all_else_is_given_back(payloads, trades):
    columns, rest = decode(records(*payloads))
    told = columns.sort("offset").select("first_trade_id", "payload", "received_at").rows()
    assert told == [
        (json.loads(payload)["data"]["t"], payload, AT) for payload in payloads if is_among(payload, trades)
    ]
    assert sorted([*columns["offset"], *rest["offset"]]) == list(range(len(payloads)))
    assert rest.columns == records().columns


def is_among(payload: bytes | None, trades: list[int]) -> bool:
    return any(payload in (usual(t=number), otherwise(t=number)) for number in trades)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("shape", b"stream")],
        [("shape", b"stream"), ("received_at", b"\xff\xfe")],
        [("shape", b"stream"), ("received_at", b"\xff" * 30)],
        [("shape", b"stream"), ("received_at", b"17x")],
        [("shape", b"stream"), ("received_at", b"9" * 30)],
        [("shape", b"stream"), ("received_at", None)],
        [("shape", b"\xff"), ("received_at", b"1")],
        [*headers_of("stream", AT), ("binary", b"1")],
        headers_of("trades", AT, symbol="BTCUSDT"),
    ],
)
def test_records_whose_headers_say_something_else_are_left_to_the_driver(headers):
    odd = records(usual(t=1), headers=headers)
    columns, rest = decode(pl.concat([odd, records(usual(t=2))]))
    assert columns["first_trade_id"].to_list() == [2]
    assert rest.equals(odd)
