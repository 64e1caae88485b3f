"""News through the whole engine: one story through several feeds is linked, none of its items is lost."""

import json

import msgspec
import pytest

from tapehouse.catalog import NEWS, REJECTED
from tapehouse.market.context import Version
from tapehouse.ports import Batch
from tapehouse.producers import newsapi, rss
from tapehouse.streaming.rows import bronze_context

AT = 1_790_000_000_000_000
TITLE = "Circle and Tether freeze hacker wallet after massive exchange heist"


def entry(number=1, feed="https://one.example/rss", title=TITLE, link="https://one.example/heist", **more) -> bytes:
    return json.dumps({"feed": feed, "id": f"id-{number}", "title": title, "link": link, **more}).encode()


ELSEWHERE = entry(2, "https://two.example/rss", "Circle, Tether freeze hacker wallet after massive exchange heist")
ARTICLE = json.dumps(
    {
        "title": "Heist",
        "url": "https://www.one.example/heist?utm_source=newsapi",
        "publishedAt": None,
        "delay_hours": 24,
    }
).encode()


def batch(*frames, source=rss.SOURCE, received_at=AT) -> Batch:
    return Batch(list(frames), [received_at] * len(frames), "news", source)


@pytest.fixture
def run(lake, start_engine):
    """Start the engine, give it batches, and end it; the lake is what stays."""

    def feed(*batches: Batch):
        engine = start_engine(lake)
        engine.fold(batches)
        engine.close()
        rows = lake.scan(NEWS).sort("known_at").collect().to_dicts()
        return [(row["source"], row["key"], json.loads(row["fields"])) for row in rows]

    return feed


def test_the_same_story_through_feeds_and_newsapi_is_linked_and_every_item_kept(run):
    rows = run(batch(entry()), batch(ELSEWHERE), batch(ARTICLE, source=newsapi.SOURCE))
    assert [(source, key) for source, key, _ in rows] == [
        ("rss:one.example/rss", "id-1"),
        ("rss:two.example/rss", "id-2"),
        ("newsapi", "https://www.one.example/heist?utm_source=newsapi"),
    ]
    assert {fields["story"] for _, _, fields in rows} == {"rss:one.example/rss id-1"}


def test_a_restart_between_two_items_of_a_story_links_them_as_well(run):
    run(batch(entry()))
    assert [fields["story"] for _, _, fields in run(batch(ELSEWHERE, received_at=AT + 1))] == [
        "rss:one.example/rss id-1"
    ] * 2


def test_the_same_feeds_again_after_a_restart_write_nothing(run):
    everything = batch(entry()), batch(ELSEWHERE), batch(ARTICLE, source=newsapi.SOURCE)
    assert run(*everything) == run(*everything)


def test_an_edited_headline_is_a_new_version_of_the_same_story(run):
    run(batch(entry()), batch(ELSEWHERE))
    rows = run(batch(entry(2, "https://two.example/rss", "Nothing was stolen after all"), received_at=AT + 1))
    assert [(key, fields["story"]) for _, key, fields in rows] == [
        (key, "rss:one.example/rss id-1") for key in ("id-1", "id-2", "id-2")
    ]
    assert rows[-1][2]["title"] == "Nothing was stolen after all"


def test_one_id_in_two_feeds_is_two_items_and_two_stories(run):
    rows = run(batch(entry(), entry(feed="https://two.example/rss", title="Another story", link="")))
    assert [(source, key, fields["story"]) for source, key, fields in rows] == [
        (source, "id-1", f"{source} id-1") for source in ("rss:one.example/rss", "rss:two.example/rss")
    ]


def test_a_story_that_is_stored_under_a_key_alone_keeps_its_name(lake, run):
    run(batch())
    told = rss.feed_entry(entry(), AT)
    before = Version(msgspec.structs.replace(told, fields={**told.fields, "story": "id-1"}), AT, entry())
    lake.append(NEWS, bronze_context(NEWS, [before]), writer="before", batch=0)
    rows = run(batch(entry(), ELSEWHERE, received_at=AT + 1))
    assert [(key, fields["story"]) for _, key, fields in rows] == [("id-1", "id-1"), ("id-2", "id-1")]


def test_an_answer_that_is_no_feed_is_refused_whole_with_the_reason(lake, run):
    assert run(batch(b"<html>one moment</html>")) == []
    (refused,) = lake.scan(REJECTED).collect().to_dicts()
    assert (refused["topic"], refused["payload"]) == ("news", b"<html>one moment</html>")
    assert refused["reason"] == "not a feed: no entry could be read in this answer"
