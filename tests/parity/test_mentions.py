"""Both engines tag the same items of news with the same coins: what is followed comes from the settings of both."""

import json

from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.producers.context import context_route
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.spark import SparkEngine
from tapehouse.streaming.view import LiveView
from tapehouse.tape.codec import Record, to_batches
from tapehouse.tape.messages import to_messages

AT = 1_790_000_000_000_000
SYMBOLS, PINS = ("BTCUSDT", "JTOUSDT", "*FDUSD"), {"JTO": "jito-governance-token"}
TITLES = ("Jito (JTO) doubles", "Bitcoin and NEWFDUSD", "NEW token", "NEW/USDT", "What JTO holders know", "JTO falls")


def test_a_tape_of_news_is_tagged_alike_by_both_engines(tmp_path):
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.create()
    feed = "https://a.example/rss"
    frames = [json.dumps({"feed": feed, "id": title, "title": title}).encode() for title in TITLES]
    told = Batch(frames, [AT] * len(frames), "news", "rss")
    messages = to_messages((told, routed) for routed in context_route(told))
    from_kafka = to_batches(Record(each.value, each.headers, each.timestamp) for each in messages)
    one = EmbeddedEngine(lake, LiveView(), recover(lake, SYMBOLS, pins=PINS), now=lambda: AT)
    other = SparkEngine(lake, recover(lake, SYMBOLS, pins=PINS), now=lambda: AT)
    in_process, on_cluster = one._fold.take([told]).versions, other._fold.take(from_kafka).versions
    assert in_process == on_cluster
    tickers = [version.observation.fields["tickers"] for version in in_process]
    assert tickers == [["JTO"], ["BTC", "NEW"], [], [], ["JTO"], []]
