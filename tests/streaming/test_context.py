"""Frames about the market's context: one row a version, whatever comes again, and every refusal with its reason."""

import json

import pytest

from tapehouse.catalog import MARKET_DATA, REJECTED, SENTIMENT
from tapehouse.ports import Batch
from tapehouse.producers.context import READERS
from tapehouse.streaming.context import Context
from tapehouse.streaming.recovery import recover

AT = 1_723_161_000_000_000


def coin(ident="bitcoin", price="61700.10", minute=0) -> bytes:
    known = {"id": ident, "symbol": ident[:3], "name": ident.title(), "market_cap": 7}
    text = json.dumps(known | {"last_updated": f"2024-08-08T23:{minute:02}:00.000Z"})
    return (text[:-1] + f', "current_price": {price}}}').encode()


def day(value=28, at=1_640_908_800, **more) -> bytes:
    told = {"value": str(value), "value_classification": "Fear", "timestamp": str(at)}
    return json.dumps(told | more).encode()


def answer(*frames, shape="market_data", source="coingecko", received_at=AT) -> Batch:
    return Batch(list(frames), [received_at] * len(frames), shape, source)


@pytest.fixture
def run(lake, start_engine):
    """Start the engine, give it answers, and end it; the lake is what stays."""

    def feed(*answers: Batch):
        engine = start_engine(lake)
        engine.fold(answers)
        engine.close()

    return feed


def rows(lake, table) -> list[dict]:
    return lake.scan(table).sort("known_at").collect().to_dicts()


def test_an_item_is_one_row_with_the_very_bytes_and_digits_it_came_with(lake, run):
    run(answer(coin(price="0.000012300")))
    (row,) = rows(lake, MARKET_DATA)
    assert (row["source"], row["key"]) == ("coingecko", "bitcoin")
    assert json.loads(row["fields"])["current_price"] == "0.000012300"
    assert row["payload"] == coin(price="0.000012300")
    assert row["observed_at"].isoformat() == "2024-08-08T23:00:00+00:00"
    assert row["date"] == row["received_at"].date()


def test_the_same_answer_twice_and_again_after_a_restart_is_one_row(lake, run):
    run(answer(coin()), answer(coin()))
    run(answer(coin(), received_at=AT + 9))
    assert len(rows(lake, MARKET_DATA)) == 1


def test_a_changed_item_is_a_new_version_and_the_old_one_stays(lake, run):
    run(answer(coin(price="1")))
    run(answer(coin(price="2", minute=1), received_at=AT + 60_000_000))
    run(answer(coin(price="1")))  # a cache that tells the past again
    first, second = rows(lake, MARKET_DATA)
    assert [json.loads(row["fields"])["current_price"] for row in (first, second)] == ["1", "2"]
    assert first["known_at"] < second["known_at"]


def test_recovery_knows_the_newest_version_of_each_key(lake, run):
    run(*(answer(coin(price=str(price), minute=price), received_at=AT + price) for price in range(5)))
    run(answer(coin(price="3", minute=3)), answer(coin(price="4", minute=4)), answer(coin("ethereum")))
    assert len(rows(lake, MARKET_DATA)) == 6


def test_a_day_of_the_index_is_upserted_and_the_time_to_the_next_changes_nothing(lake, run):
    waiting = [answer(day(time_until_update=str(left)), shape="sentiment", source="fear_greed") for left in (9, 8)]
    run(*waiting)
    run(answer(day(29), shape="sentiment", source="fear_greed"))
    told = rows(lake, SENTIMENT)
    assert [row["key"] for row in told] == ["2021-12-31"] * 2
    assert [json.loads(row["fields"])["value"] for row in told] == [28, 29]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"<!doctype html><html>one moment</html>", "malformed"),
        (b'{"error": "Missing parameter ids"}', "missing required field"),
        (coin(price="-1"), "negative"),
        (coin(price="1e999999"), "decimal"),
        (coin(price='"NaN"'), "decimal"),
        (coin().replace(b"2024-08", b"2124-08"), "time"),
        (coin().replace(b"T23:00:00.000Z", b""), "Invalid RFC3339"),
        (coin(ident=""), "id of 0"),
        (b"\xff\xfe", ""),
        (b"", ""),
        (b'{"image":' * 100_000, "nested"),
    ],
)
def test_what_cannot_be_read_is_kept_with_the_reason(lake, run, frame, reason):
    run(answer(frame, coin()))
    (refused,) = rows_of_rejected(lake)
    assert (refused["topic"], refused["payload"]) == ("market-data", frame)
    assert reason in refused["reason"]
    assert len(rows(lake, MARKET_DATA)) == 1


def rows_of_rejected(lake) -> list[dict]:
    return lake.scan(REJECTED).sort("received_at").collect().to_dicts()


def test_the_same_fault_at_every_poll_is_kept_once(lake, run):
    run(*[answer(b"gateway error", received_at=AT + poll) for poll in range(20)])
    assert len(rows_of_rejected(lake)) == 1


def test_a_source_nobody_can_read_is_refused(lake, run):
    run(answer(coin(), source="bloomberg"))
    assert "bloomberg" in rows_of_rejected(lake)[0]["reason"]


def test_a_source_tells_only_what_is_its_to_tell(lake, run):
    run(answer(coin(), shape="sentiment"))
    assert rows(lake, SENTIMENT) == rows(lake, MARKET_DATA) == []
    assert rows_of_rejected(lake)[0]["topic"] == "sentiment"


@pytest.mark.parametrize("source", READERS)
@pytest.mark.parametrize("frame", [b"{}", b"null", b"0", b'""', b"[]", b'{"id": 1}', b"{" * 9999, b"\x00" * 50])
def test_no_bytes_at_all_raise(source, frame):
    shape = "sentiment" if source == "fear_greed" else "market_data"
    versions, rejected = Context().take(answer(frame, shape=shape, source=source))
    assert (versions, len(rejected)) == ([], 1)


def test_new_versions_are_shown_before_they_are_committed(lake, start_engine):
    engine = start_engine(lake)
    engine.fold([answer(coin())])
    (shown,) = engine._view.context.newest("market_data")
    assert (shown.observation.key, rows(lake, MARKET_DATA)) == ("bitcoin", [])
    engine.close()
    assert len(rows(lake, MARKET_DATA)) == 1


def test_news_is_tagged_with_the_bases_of_the_symbols_that_are_set(lake):
    titles = ("Jito (JTO) doubles", "Of NEW/USDT", "Of the NEW token")
    feed = "https://a.example/rss"
    frames = [json.dumps({"feed": feed, "id": title, "title": title}).encode() for title in titles]
    context = recover(lake, ["JTOUSDT", "*USDT"], pins={"JTO": "jito-governance-token"}).context
    versions, _ = context.take(answer(*frames, shape="news", source="rss"))
    tagged = [(told.fields["tickers"], told.fields["coins"]) for told in (each.observation for each in versions)]
    assert tagged == [(["JTO"], ["jito-governance-token"]), (["NEW"], []), ([], [])]
