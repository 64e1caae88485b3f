"""What a producer refuses of polled sources is what the engine refuses: a dead letter, with the reason."""

import json

import pytest

from tapehouse.catalog import CONTEXT_TOPICS, DEAD_LETTERS, REJECTED
from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.producers.context import MODELS, READERS, context_route
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView
from tapehouse.tape.codec import Record, to_batches
from tapehouse.tape.messages import Message, to_messages

AT = 1_790_000_000_000_000
ENTRY = b'{"feed": "https://a.example/rss", "id": "1", "title": "Bitcoin climbs"}'
GATEWAY = b"<!doctype html><html>one moment</html>"
MISSING = b'{"error": "Missing parameter ids"}'
COIN = json.dumps(
    {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "current_price": 7, "market_cap": 7, "last_updated": None}
).encode()
ANSWERS = (
    Batch([ENTRY, GATEWAY], [AT, AT + 1], "news", "rss"),
    Batch([MISSING, COIN], [AT + 2, AT + 3], "market_data", "coingecko"),
    Batch(
        [b'{"value": "2_8", "value_classification": "Fear", "timestamp": "1640908800"}'],
        [AT],
        "sentiment",
        "fear_greed",
    ),
    Batch([COIN], [AT], "market_data", "bloomberg"),
)


def messages(*answers: Batch) -> list[Message]:
    return list(to_messages((batch, routed) for batch in answers for routed in context_route(batch)))


def test_what_can_be_read_is_on_its_topic_and_the_rest_among_the_dead_letters():
    told = messages(*ANSWERS)
    assert [(each.topic, each.value) for each in told if each.topic != DEAD_LETTERS] == [
        ("news", ENTRY),
        ("market-data", COIN),
    ]
    dead = [(dict(each.headers)["topic"], each.value) for each in told if each.topic == DEAD_LETTERS]
    assert dead == [
        (b"news", GATEWAY),
        (b"market-data", MISSING),
        (b"sentiment", ANSWERS[2].frames[0]),
        (b"market-data", COIN),
    ]


def test_a_dead_letter_has_the_key_and_headers_of_the_others_and_the_reason():
    good, dead = messages(ANSWERS[0])
    assert (dead.key, good.key) == (b"rss", b"rss")
    reason = b"not a feed: no entry could be read in this answer"
    assert dead.headers == [
        *(("shape", b"news"), ("received_at", b"%d" % (AT + 1)), ("symbol", b"rss")),
        *(("reason", reason), ("topic", b"news")),
    ]


def test_a_dead_letter_is_brought_to_the_refused_messages_with_the_same_reason(tmp_path):
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.create()
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"]), now=lambda: AT)
    told = messages(*ANSWERS)
    engine.fold(to_batches(Record(each.value, each.headers, each.timestamp) for each in told))
    engine.close()
    dead = [(dict(each.headers), each.value) for each in told if each.topic == DEAD_LETTERS]
    refused = lake.scan(REJECTED).collect().to_dicts()
    assert sorted((row["topic"], row["reason"], row["payload"]) for row in refused) == sorted(
        (headers["topic"].decode(), headers["reason"].decode(), value) for headers, value in dead
    )


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("frame", [b"{}", b"null", b"", b"\xff\xfe", b"{" * 9999, b'"\\ud800"', b"\x00" * 50])
def test_no_bytes_at_all_break_the_route(source, frame):
    for shape, topic in CONTEXT_TOPICS.items():
        (routed,) = context_route(Batch([frame], [AT], shape, source))
        assert (routed.topic, routed.frame) == (topic, frame)
        assert routed.reason.encode()


def test_every_source_that_is_read_has_a_model_to_publish():
    assert MODELS.keys() == READERS.keys()
