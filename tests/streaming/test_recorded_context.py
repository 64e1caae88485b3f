"""Every recorded answer goes in, of coins, the index and news: stored or refused with a reason, and nothing raises."""

import json
from collections import Counter

import msgspec
import pytest

from tapehouse.catalog import MARKET_DATA, NEWS, REJECTED, SENTIMENT
from tapehouse.ports import Batch
from tapehouse.producers import fear_greed, newsapi, rss
from tapehouse.producers.coingecko import wire
from tapehouse.producers.coingecko.source import explain
from tapehouse.producers.context import context_route
from tapehouse.tape.codec import Record, to_batches
from tapehouse.tape.messages import to_messages

pytestmark = pytest.mark.recordings
RECEIVED = 1_790_000_000_000_000


def frames_of(uri: str, body: bytes) -> tuple[str, list[bytes]]:
    """Cut an answer as the one who asked for this address would; whole where it cannot be cut."""
    path = uri.partition("?")[0].partition("/api/v3/")[2].split("/")
    cuts = {
        "markets": (wire.MARKETS, wire.split_markets),
        "price": (wire.PRICES, wire.split_prices),
        "global": (wire.GLOBAL, wire.split_global),
        "market_chart": (wire.HISTORY, lambda told: wire.split_chart(path[1], told)),
        "range": (wire.HISTORY, lambda told: wire.split_chart(path[1], told)),
    }
    source, cut = cuts.get(path[-1], (wire.MARKETS, wire.split_markets))
    try:
        return source, [body] if explain(body) else cut(body)
    except msgspec.MsgspecError:
        return source, [body]


@pytest.fixture
def answers(recordings) -> list[tuple[str, list[bytes]]]:
    """Every recorded answer of CoinGecko, as (source, frames)."""
    folder, told = recordings / "5-coingecko", []
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            told.append(frames_of(record["uri"], json.dumps(record["body"]).encode()))
    for file in sorted(folder.glob("*.txt")):
        _method, path, _flag, body = file.read_text().split("\n", 3)
        told.append(frames_of(path, body.encode()))
    return told


def stored(lake, table) -> list[dict]:
    return lake.scan(table).collect().to_dicts()


def test_every_answer_of_coingecko_is_stored_or_refused(lake, start_engine, answers):
    assert len(answers) == 13
    for _ in range(2):
        engine = start_engine(lake)
        for source, frames in answers:
            engine.fold([Batch(frames, [RECEIVED] * len(frames), "market_data", source)])
        engine.close()
    rows = stored(lake, MARKET_DATA)
    assert Counter(row["source"] for row in rows) == {
        "coingecko": 2,
        "coingecko_price": 1,
        "coingecko_global": 1,
        "coingecko_history": len({frame for source, frames in answers if source == wire.HISTORY for frame in frames})
        - 1,
    }
    refused = stored(lake, REJECTED)
    errors = {json.dumps({"error": f"Missing parameter {name}"}) for name in ("date", "vs_currency", "ids")}
    whole = [row["payload"].decode() for row in refused]
    assert errors <= set(whole)
    assert len([text for text in set(whole) if "Missing parameter" not in text]) == 1  # /coins/{id}/history: not polled
    assert all(row["reason"] for row in refused)


def test_every_recorded_amount_keeps_its_digits(lake, start_engine, answers):
    chart = next(frames for source, frames in answers if source == wire.HISTORY and len(frames) > 100)
    engine = start_engine(lake)
    engine.fold([Batch(chart, [RECEIVED] * len(chart), "market_data", wire.HISTORY)])
    engine.close()
    for row in stored(lake, MARKET_DATA):
        written = row["payload"].decode()
        for amount in ("current_price", "market_cap", "total_volume"):
            assert json.loads(row["fields"])[amount] in written


def test_the_whole_history_of_fear_and_greed_is_stored_and_its_missing_days_stay_missing(
    lake, start_engine, recordings
):
    (file,) = (recordings / "6-fng").glob("*.json")
    rows = json.loads(file.read_text())
    frames = fear_greed.split(json.dumps({"name": "Fear and Greed Index", "data": rows}).encode())
    for _ in range(2):
        engine = start_engine(lake)
        engine.fold([Batch(frames, [RECEIVED] * len(frames), "sentiment", fear_greed.SOURCE)])
        engine.close()
    days = {row["key"]: json.loads(row["fields"])["value"] for row in stored(lake, SENTIMENT)}
    assert len(days) == len(stored(lake, SENTIMENT)) == len(rows) == 1427
    assert (min(days), max(days), days["2018-02-01"], days["2021-12-31"]) == ("2018-02-01", "2021-12-31", 30, 28)
    assert "2018-04-14" not in days
    assert stored(lake, REJECTED) == []


REFUSED = {
    "an item with neither a title nor a summary": 3,
    "not a feed: no entry could be read in this answer": 3,
}


def through_kafka(batch: Batch) -> list[Batch]:
    """Return a batch as the producer's route and the records on the topics make it."""
    messages = to_messages((batch, routed) for routed in context_route(batch))
    return to_batches(Record(each.value, each.headers, each.timestamp) for each in messages)


@pytest.mark.parametrize("path", [lambda batch: [batch], through_kafka], ids=["in process", "through Kafka"])
def test_every_recorded_feed_and_article_is_stored_or_refused(lake, start_engine, recordings, recorded_entries, path):
    feeds = [file for file in sorted((recordings / "7-rss").rglob("*")) if file.is_file()]
    frames = [frame for file in feeds for frame in rss.split(file.read_bytes(), f"https://feeds.example/{file.name}")]
    articles = newsapi.split((recordings / "7-news" / "newsapi_everything_bitcoin_2020-08.json").read_bytes(), 24)
    told = [(rss.SOURCE, frames), (newsapi.SOURCE, articles)]
    for _ in range(2):
        engine = start_engine(lake)
        for source, each in told:
            engine.fold(path(Batch(each, [RECEIVED] * len(each), "news", source)))
        engine.close()
    rows = stored(lake, NEWS)
    refused = list(
        {row["payload"]: row for row in stored(lake, REJECTED)}.values()
    )  # kept once a run, and there are two
    by_feed = {f"rss:feeds.example/{name}": count for name, count in recorded_entries.items()}
    assert Counter(row["source"] for row in rows) == {**by_feed, "newsapi": 20}
    assert Counter(row["reason"] for row in refused) == REFUSED
    assert {row["topic"] for row in refused} == {"news"}
    assert sorted(row["payload"] for row in [*rows, *refused]) == sorted([*frames, *articles])
