"""Feeds as they are really written, and as nobody should write them: salvaged or refused with a reason."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from tapehouse.market.windows import DAY
from tapehouse.producers.rss import MOST_ENTRIES, feed_entry, feed_name, shown_address, split

NOW = 1_790_000_000_000_000  # 2026-09-21
ADDRESS = "https://www.example.com/news/feed?key=SECRET"


def read(body, address=ADDRESS, content_type="", received_at=NOW):
    """Return the observations of a feed and the reasons of what is refused."""
    told, refused = [], []
    for frame in split(body, address, content_type):
        try:
            told.append(feed_entry(frame, received_at))
        except ValueError as error:
            refused.append(str(error))
    return told, refused


def rss(*items, head='<?xml version="1.0" encoding="UTF-8"?>'):
    return f'{head}<rss version="2.0"><channel><title>T</title>{"".join(items)}</channel></rss>'.encode()


def item(title="Bitcoin rises", **parts):
    inside = "".join(f"<{name}>{text}</{name}>" for name, text in {"title": title, **parts}.items())
    return f"<item>{inside}</item>"


def one(**parts):
    (told,), refused = read(rss(item(**parts)))
    assert refused == []
    return told


NO_FEED = "not a feed: no entry could be read in this answer"
EMPTY = "an item with neither a title nor a summary"


@pytest.mark.recordings
def test_every_recorded_feed_is_stored_or_refused_with_a_reason(recordings, recorded_entries):
    folder = recordings / "7-rss"
    feeds = sorted(path for path in folder.rglob("*") if path.is_file())
    totals, reasons = {}, Counter()
    for feed in feeds:
        told, refused = read(feed.read_bytes(), f"https://example.com/{feed.name}")
        totals[feed.name] = len(told)
        assert len({told_item.key for told_item in told}) == len(told)
        reasons.update(refused)
    assert len(feeds) == 17
    assert {name: stored for name, stored in totals.items() if stored} == recorded_entries
    assert reasons == {NO_FEED: 3, EMPTY: 3}


@pytest.mark.recordings
def test_a_recorded_entry_of_coindesk_is_read_in_every_field(recordings):
    body = (recordings / "7-rss" / "coindesk_2026-09-25.xml").read_bytes()
    told, _ = read(body, "https://www.coindesk.com/rss/", received_at=NOW + 30 * DAY)
    newest = told[-1]
    assert (newest.kind, newest.source) == ("news", "rss:coindesk.com/rss")
    assert newest.key == "a0b4a6ba-5569-4fef-940c-e402f9698d89"
    assert newest.observed_at == int(datetime(2026, 9, 25, 14, 41, 53, tzinfo=UTC).timestamp()) * 1_000_000
    assert newest.fields["title"].startswith("Circle and Tether step in to freeze hacker wallet")
    assert newest.fields["summary"].startswith("The stablecoin issuer blacklisted a wallet")
    assert newest.fields["publisher"] == "coindesk.com"
    assert newest.fields["published"] == "2026-09-25T14:41:53+00:00"
    assert newest.fields["tickers"] == ["USDT", "USDC", "ETH"]
    assert newest.fields["coins"] == ["tether", "usd-coin", "ethereum"]
    assert newest.fields["tone"] == "negative"


def test_the_key_is_the_id_else_the_link_else_a_hash():
    assert one(guid="id-1", link="https://example.com/a").key == "id-1"
    assert one(link="https://example.com/a").key == "https://example.com/a"
    assert len(one().key) == 64
    assert one().key == one(description="of the title and the feed").key
    assert one(title="Another").key != one().key
    assert len(one(guid="x" * 5000).key) == 64


def test_an_empty_description_beside_the_real_one_does_not_take_its_place():
    told = one(**{"description": "What happened", "dc:description": "", "content:encoded": ""})
    assert told.fields["summary"] == "What happened"


@pytest.mark.parametrize(
    "reference", ["&#xD83D;&#xDE80;", "&#55357;", "&#x110000;", f"&#{'9' * 5000};", "&#xdfff", "&#0;"]
)
def test_a_number_that_is_no_character_costs_neither_its_entry_nor_the_feed(reference):
    told, refused = read(rss(item(title="One"), item(title=f"Two {reference} three"), item(title="&#x1F680; &#0065;")))
    titles = [each.fields["title"] for each in reversed(told)]
    assert (titles[0], titles[2], refused) == ("One", "\U0001f680 A", [])
    assert titles[1].startswith("Two ")
    assert titles[1].endswith("three")


def test_entries_come_oldest_first_and_not_without_end():
    told, _ = read(rss(*(item(title=f"Title {number}") for number in range(MOST_ENTRIES + 50))))
    assert len(told) == MOST_ENTRIES
    assert told[-1].fields["title"] == "Title 0"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Mon, 21 Sep 2026 10:00:00 GMT", datetime(2026, 9, 21, 10, tzinfo=UTC)),
        ("Mon, 21 Sep 2026 12:00:00 +0200", datetime(2026, 9, 21, 10, tzinfo=UTC)),
        ("Mon, 21 Sep 2026 06:00:00 EDT", datetime(2026, 9, 21, 10, tzinfo=UTC)),
        ("2026-09-21T10:00:00Z", datetime(2026, 9, 21, 10, tzinfo=UTC)),
        ("2026-09-21T05:00:00-05:00", datetime(2026, 9, 21, 10, tzinfo=UTC)),
    ],
)
def test_published_is_read_in_its_zone(written, meant):
    told = one(pubDate=written)
    assert told.observed_at == int(meant.timestamp()) * 1_000_000
    assert told.fields["published"] == meant.isoformat()


@pytest.mark.parametrize(
    ("written", "claimed"),
    [
        ("Tue, 21 Sep 2027 10:00:00 GMT", "2027-09-21T10:00:00+00:00"),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00+00:00"),
        ("last Tuesday", "last Tuesday"),
        ("Mon, 99 Sep 2026 10:00:00 GMT", "Mon, 99 Sep 2026 10:00:00 GMT"),
    ],
)
def test_where_published_cannot_be_it_is_taken_when_received_and_the_claim_is_kept(written, claimed):
    told = one(pubDate=written)
    assert told.observed_at == NOW
    assert told.fields["published"] == claimed


def test_an_item_without_a_time_is_of_when_it_was_received_and_is_the_same_at_every_poll():
    (frame,) = split(rss(item()), ADDRESS)
    first, later = feed_entry(frame, NOW), feed_entry(frame, NOW + 1)
    assert (first.observed_at, later.observed_at) == (NOW, NOW + 1)
    assert first.fields == later.fields
    assert first.fields["published"] == ""


def test_a_clock_that_is_a_little_ahead_is_believed():
    ahead = datetime.fromtimestamp(NOW / 1e6, UTC) + timedelta(minutes=5)
    assert one(pubDate=ahead.isoformat()).observed_at == NOW + 300_000_000


def test_html_becomes_text_and_what_could_run_is_gone():
    told = one(
        title="&lt;b&gt;Ether&lt;/b&gt; falls",
        description="<![CDATA[<p>One <a href='x'>two</a></p><script>alert(1)</script><img src=x onerror=alert(1)>]]>",
    )
    assert told.fields["title"] == "Ether falls"
    assert told.fields["summary"] == "One two"


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "data:text/html,x", "ftp://example.com/a", "https://[", "https://e.com/" + "a" * 3000],
)
def test_a_link_that_leads_to_no_page_is_left_out(link):
    assert one(guid="1", link=link).fields["link"] == ""


def test_nothing_but_title_link_summary_and_what_follows_from_them_is_kept():
    told = one(guid="1", author="a@example.com", category="Markets", **{"content:encoded": "the whole article"})
    assert set(told.fields) == {
        *("title", "link", "summary", "publisher", "published", "tickers", "coins", "sentiment", "tone"),
    }


def test_an_edited_headline_is_the_same_key_with_other_fields():
    first, edited = one(guid="1"), one(guid="1", title="Bitcoin falls")
    assert first.key == edited.key
    assert first.fields != edited.fields


def test_what_is_secret_in_an_address_travels_nowhere():
    address = "https://user:SECRET@www.example.com:8443/feed.xml?token=SECRET#SECRET"
    frames = split(rss(item(link="#part"), item(title="Two", link="story")), address)
    assert all(b"SECRET" not in frame for frame in frames)
    assert shown_address(address) == "https://www.example.com:8443/feed.xml"
    assert feed_name(address) == "example.com/feed.xml"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (rss(item(title="Zürich")), "text/xml"),
        (rss(item(title="Zürich"), head='<?xml version="1.0" encoding="ISO-8859-1"?>'), "text/xml; charset=us-ascii"),
        (rss(item(title="Zürich"), head="").decode().encode("latin-1"), "application/rss+xml; charset=ISO-8859-1"),
        (rss(item(title="Zürich"), head='<?xml version="1.0" encoding="latin-1"?>').decode().encode("latin-1"), ""),
        (rss(item(title="Zürich"), head="").decode().encode("latin-1"), "text/html; charset=no-such-charset"),
        (rss(item(title="Zürich"), head='<?xml version="1.0" encoding="utf-16"?>').decode().encode("utf-16"), ""),
    ],
)
def test_a_wrong_or_missing_charset_does_not_spoil_the_text(body, content_type):
    (told,), _ = read(body, content_type=content_type)
    assert told.fields["title"] == "Zürich"


def test_a_charset_that_only_the_server_tells_is_believed():
    body = rss(item(title="\u0411\u0438\u0442\u043a\u043e\u0438\u043d"), head="").decode().encode("koi8-r")
    (told,), _ = read(body, content_type='text/xml; charset="KOI8-R"')
    assert told.fields["title"] == "\u0411\u0438\u0442\u043a\u043e\u0438\u043d"


def test_what_can_be_read_of_a_feed_that_was_cut_off_is_kept():
    told, _ = read(rss(item(title="First", guid="1"), item(title="Second", guid="2"))[:-60])
    assert "First" in {told_item.fields["title"] for told_item in told}


def test_entities_that_grow_without_end_are_not_grown():
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 20))
    bomb = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY e0 "boom">{levels}]>'
    told, refused = read(rss(item(title="&e19;", description="text"), head=bomb))
    assert sum(len(str(told_item.fields)) for told_item in told) < 5_000
    assert told or refused


def test_a_file_of_the_machine_is_not_read_into_an_entry(tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    head = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY file SYSTEM "file://{tmp_path}/secret">]>'
    assert all(b"SECRET" not in frame for frame in split(rss(item(title="a &file; b"), head=head), ADDRESS))


@pytest.mark.parametrize(
    "body",
    [b"<html><body><h1>Sorry</h1></body></html>", b'{"error":"no"}', b"\x00\x01\x02", b"plain words", b"<rss"],
    ids=["html", "json", "binary", "text", "cut"],
)
def test_an_answer_that_is_no_feed_is_refused_whole(body):
    assert split(body, ADDRESS) == [body]
    assert read(body)[1] == [NO_FEED]


def test_a_feed_without_entries_tells_nothing_and_is_not_refused():
    assert split(rss(), ADDRESS) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [b"encoding='", b"?>", b"<!ENTITY a 'b'>"])
def test_a_declaration_without_end_is_not_looked_at_for_ever(piece):
    for prolog in (b"<?xml ", b"<?xml version='1.0'?>"):
        body = prolog + piece * 20_000
        assert split(body, ADDRESS) == [body]


@given(st.binary(max_size=300))
def test_any_bytes_at_all_are_read_or_refused(body):
    for answer in (body, rss(item()).replace(b"Bitcoin", body)):
        told, refused = read(answer)
        assert told or refused
        assert set(refused) <= {NO_FEED, EMPTY}


def test_a_frame_is_json_as_feedparser_gave_it():
    (frame,) = split(rss(item(guid="1", pubDate="Mon, 21 Sep 2026 12:00:00 +0200")), ADDRESS)
    assert json.loads(frame) == {
        "feed": "https://www.example.com/news/feed",
        "id": "1",
        "title": "Bitcoin rises",
        "published": "Mon, 21 Sep 2026 12:00:00 +0200",
        "published_parsed": [2026, 9, 21, 10, 0, 0, 0, 264, 0],
    }
