"""Feeds and NewsAPI polled over real sockets: politely, and whatever the other side does."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tapehouse.errors import ConfigError
from tapehouse.exchange.context.faults import Fault
from tapehouse.exchange.main import ExchangeOptions, running_exchange
from tapehouse.producers import newsapi, rss
from tapehouse.producers.fetching import MOST_AT_ONCE
from tapehouse.producers.news_sources import (
    LARGEST_FEED,
    feeds,
    left_out_notes,
    newsapi_source,
    rss_source,
    secrets_of,
)
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Clock
from tapehouse.settings import Settings

KEY = "marked-key-5up3r53cr3t"
OUTLETS = ("ledger-daily", "block-herald", "coin-wire", "chain-gazette")


def feed(*titles: str) -> bytes:
    items = "".join(f"<item><title>{title}</title><guid>{title}</guid></item>" for title in titles)
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{items}</channel></rss>'.encode()


class Web:
    """A server that gives what `pages` says of a path: (status, headers, body); it knows what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.at_once = self.most_at_once = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(request.decode().split("\r\n"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, lines: list[str], writer: asyncio.StreamWriter) -> None:
        path = lines[0].split()[1]
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        self.asked.append((path, headers))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.002)  # what a question takes: others come meanwhile
        self.at_once -= 1
        status, more, body = self.pages.get(path, (404, {}, b""))
        if more.get("ETag") and headers.get("if-none-match") == more["ETag"].lower():
            status, body = 304, b""
        head = "".join(f"{name}: {value}\r\n" for name, value in {**more, "Content-Length": len(body)}.items())
        writer.write(f"HTTP/1.1 {status} Because\r\n{head}\r\n".encode() + body)
        await writer.drain()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    web = Web()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    web.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield web
    server.close()


@pytest.fixture
def polled(tmp_path):
    """Poll feeds while a block lasts; the state is the test's, so a second block is a restart."""

    @asynccontextmanager
    async def poll(tape, *addresses: str, interval: float = 0.05) -> AsyncIterator[PolledSource]:
        source = PolledSource(rss.SOURCE, feeds(addresses, interval), tmp_path, clock=Clock())
        async with running(source, tape):
            yield source

    return poll


@asynccontextmanager
async def running(source: PolledSource, tape) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run(tape))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await source.close()


@pytest.fixture
async def exchange():
    async with running_exchange(ExchangeOptions(rate=1.0)) as exchange:
        yield exchange


def titles(frames) -> list[str]:
    return [rss.feed_entry(frame, Clock().now()).fields["title"] for frame in frames]


async def test_two_hundred_feeds_are_asked_few_at_a_time_and_not_for_what_is_held(web, polled, reading, eventually):
    for number in range(200):
        web.pages[f"/{number}"] = (200, {"ETag": f'"v{number}"'}, feed(f"title {number}"))
    async with polled(reading.tape, *(f"{web.url}/{number}" for number in range(200))):
        await reading.until(lambda frames: len(frames) == 200)
        await eventually(lambda: min(Counter(path for path, _ in web.asked).values()) >= 3)
    assert web.most_at_once <= MOST_AT_ONCE
    first = dict(reversed(web.asked))
    assert not any("if-none-match" in headers for headers in first.values())
    again = [headers for path, headers in web.asked if headers is not first[path]]
    assert all("if-none-match" in headers for headers in again)
    assert len(reading.frames) == 200


async def test_of_a_feed_that_changed_only_what_is_new_goes_on(web, polled, reading, eventually):
    web.pages["/feed"] = (200, {}, feed("two", "one"))
    async with polled(reading.tape, f"{web.url}/feed"):
        await reading.until(lambda frames: len(frames) == 2)
        web.pages["/feed"] = (200, {}, feed("three", "two", "one"))
        await reading.until(lambda frames: len(frames) == 3)
        asked = len(web.asked)
        await eventually(lambda: len(web.asked) > asked + 2)
    assert titles(reading.frames) == ["one", "two", "three"]


async def test_a_feed_of_more_entries_than_are_taken_says_so_until_it_has_fewer(web, tmp_path, reading, eventually):
    web.pages["/feed"] = (200, {}, feed(*(f"title {number}" for number in range(rss.MOST_ENTRIES + 3))))
    often = settings(tmp_path, rss_feeds=(f"{web.url}/feed",)).model_copy(update={"rss_interval": 0.05})
    source = rss_source(often, Clock())
    async with running(source, reading.tape):
        await reading.until(lambda frames: len(frames) == rss.MOST_ENTRIES)
        (note,) = source.status().notes
        assert (note.startswith(f"only the first {rss.MOST_ENTRIES} entries"), "/feed (3 more)" in note) == (True, True)
        web.pages["/feed"] = (200, {}, feed("title 0"))
        await eventually(lambda: source.status().notes == ())


def test_feeds_that_tell_more_than_is_taken_are_named_and_the_rest_counted():
    told = feeds([f"https://{name}.example/rss" for name in "abcde"], 1.0)
    assert left_out_notes(told) == ()
    for each in told[:4]:
        each.left_out = 7
    named = ", ".join(f"{name}.example/rss (7 more)" for name in "abc")
    assert left_out_notes(told) == (f"only the first {rss.MOST_ENTRIES} entries are taken of {named} and 1 more",)


@pytest.mark.parametrize("status", [301, 308])
async def test_a_feed_that_has_moved_is_asked_at_its_new_address_after_a_restart_too(
    web, polled, reading, eventually, status
):
    web.pages["/old"] = (status, {"Location": "/new"}, b"")
    web.pages["/new"] = (200, {}, feed("title"))
    async with polled(reading.tape, f"{web.url}/old"):
        await eventually(lambda: len(web.asked) >= 4)
    async with polled(reading.tape, f"{web.url}/old"):
        await eventually(lambda: len(web.asked) >= 6)
    assert [path for path, _ in web.asked].count("/old") == 1
    assert all(rss.feed_entry(frame, 1).source.endswith("/old") for frame in reading.frames)


async def test_a_feed_that_is_gone_is_never_asked_again(web, polled, reading, eventually):
    web.pages |= {"/gone": (410, {}, b""), "/other": (200, {}, feed("title"))}
    addresses = f"{web.url}/gone", f"{web.url}/other"
    for _ in range(2):
        asked = len(web.asked)
        async with polled(reading.tape, *addresses) as source:
            await eventually(lambda asked=asked: len(web.asked) > asked + 4)
            assert any("gone" in note for note in source.status().notes)
    assert Counter(path for path, _ in web.asked)["/gone"] == 1


async def test_a_feed_that_asks_us_to_wait_is_waited_for_and_the_others_go_on(web, polled, reading, eventually):
    web.pages |= {"/busy": (429, {"Retry-After": "600"}, b""), "/other": (200, {}, feed("title"))}
    async with polled(reading.tape, f"{web.url}/busy", f"{web.url}/other") as source:
        await eventually(lambda: len(web.asked) > 5)
        states = {poll.name.rpartition("/")[2]: poll.state for poll in source.status().connections}
    assert states == {"busy": "limited", "other": "open"}
    assert Counter(path for path, _ in web.asked)["/busy"] == 1


async def test_feeds_as_publishers_write_them_are_stored_to_the_last_entry(exchange, polled, reading):
    async with polled(reading.tape, *(f"{exchange.rest_url}/feeds/{name}" for name in OUTLETS), interval=60):
        frames = await reading.until(lambda frames: len(frames) == 80)
    told = [rss.feed_entry(frame, Clock().now()) for frame in frames]
    assert len({(item.source, item.key) for item in told}) == 80
    assert all("<" not in str(item.fields["summary"]) and "alert" not in str(item.fields["summary"]) for item in told)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 403},
        {"kind": "cut_body"},
        {"kind": "gzip_bomb"},
        {"kind": "huge"},
        {"kind": "redirect_ring"},
        {"kind": "html"},
    ],
    ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}".strip(),
)
async def test_a_feed_in_trouble_says_so_and_slows_no_other(exchange, polled, reading, eventually, fault):
    exchange.context_faults.lay(Fault(on="feeds/ledger-daily", **fault))
    addresses = [f"{exchange.rest_url}/feeds/{name}" for name in OUTLETS[:2]]
    async with polled(reading.tape, *addresses) as source:
        await eventually(lambda: source.status().connections[0].failures >= 1)
        await eventually(lambda: source.status().connections[1].fresh)
        assert source.status().connected
        assert source.status().last_error
    whole = [frame for frame in reading.frames if not frame.startswith(b"{")]
    assert len(whole) == (fault["kind"] == "html")


async def test_feeds_that_drip_do_not_keep_the_others_waiting(exchange, polled, reading, eventually):
    dripping = [f"{exchange.rest_url}/feeds/drip-{number}" for number in range(2 * MOST_AT_ONCE)]
    for address in dripping:
        exchange.context_faults.lay(Fault(on=f"feeds/{address.rpartition('/')[2]}", kind="slow_drip", drip=1))
    async with polled(reading.tape, *dripping, f"{exchange.rest_url}/feeds/ledger-daily", interval=600) as source:
        await eventually(lambda: source.status().connections[-1].fresh)
        assert {poll.state for poll in source.status().connections[:-1]} == {"connecting"}
        assert {poll.failures for poll in source.status().connections} == {0}


async def test_a_token_in_the_address_of_a_feed_is_told_to_nobody_when_the_feed_repeats_it(web, reading, tmp_path):
    token, address = "marked%2Dtoken-1", f"{web.url}/feed?format=xml&token=marked%2Dtoken-1&q=cryptocurrency"
    page = b"<html>no feed at %s, for cryptocurrency</html>"
    web.pages[address.removeprefix(web.url)] = (200, {}, page % address.encode() + b" marked-token-1")
    source = rss_source(settings(tmp_path, rss_feeds=(address,)), Clock())
    async with running(source, reading.tape):
        (frame,) = await reading.until(lambda frames: len(frames) == 1)
        status = repr(source.status())
    assert b"cryptocurrency</html> ***" in frame
    told = [status, frame.decode(), *(path.read_text() for path in tmp_path.iterdir())]
    assert not [text for text in told if token in text or "marked-token" in text]


def test_only_what_looks_secret_in_an_address_is_hidden():
    addresses = [
        "https://reader:hunter2hunter2@a.example/feed",
        "https://b.example/feed?outputType=xml&q=cryptocurrency&keyword=ethereum-news&key=short",
        "https://c.example/feed?api_key=abcdefgh&id=0123456789abcdef&since=1234567890123456",
    ]
    assert secrets_of(addresses) == ["0123456789abcdef", "hunter2hunter2", "abcdefgh"]


@pytest.mark.parametrize("kind", ["wrong_charset", "truncated"])
async def test_a_feed_that_is_spoilt_is_salvaged(exchange, polled, reading, kind):
    exchange.context_faults.lay(Fault(on="feeds", kind=kind))
    async with polled(reading.tape, f"{exchange.rest_url}/feeds/ledger-daily", interval=60):
        assert titles(await reading.until(lambda frames: len(frames) >= 5))


async def test_a_feed_too_large_to_be_one_is_not_taken_apart(web, polled, reading, eventually):
    web.pages["/feed"] = (200, {}, feed("x" * LARGEST_FEED))
    async with polled(reading.tape, f"{web.url}/feed") as source:
        await eventually(lambda: "larger than" in source.status().last_error)
    assert reading.frames == []


async def test_feeds_with_one_path_are_told_apart_without_their_secrets(web):
    names = [each.name for each in feeds([f"{web.url}/feed?key=one", f"{web.url}/feed?key=two"] * 2, 60)]
    assert len(names) == len(set(names)) == 2
    assert not any("key" in name or "one" in name for name in names)


# NewsAPI


def settings(tmp_path, **more) -> Settings:
    return Settings(_env_file=None, state=tmp_path, newsapi_interval=1, **more)


async def test_newsapi_is_asked_with_the_key_in_the_header_alone(web, tmp_path, reading):
    body = b'{"status":"ok","totalResults":1,"articles":[{"title":"T","url":"https://e.com/1","publishedAt":null}]}'
    path = "/everything?q=bitcoin+OR+ethereum+OR+cryptocurrency&language=en&sortBy=publishedAt&pageSize=100"
    web.pages = {path.replace("+", plus): (200, {}, body) for plus in ("+", "%20")}
    source = newsapi_source(settings(tmp_path, newsapi_url=web.url, newsapi_key=KEY), Clock())
    async with running(source, reading.tape):
        (frame,) = await reading.until(lambda frames: len(frames) == 1)
        assert "24 hours" in source.status().notes[0]
        assert source.status().requests_a_day == 100
    (asked, headers), *_ = web.asked
    assert headers["x-api-key"] == KEY
    assert KEY not in asked
    assert newsapi.article(frame, 1).fields["delay_hours"] == 24


async def test_a_key_newsapi_does_not_know_is_explained_and_told_to_nobody(exchange, tmp_path, reading, eventually):
    key = f"bad-{KEY}"
    source = newsapi_source(settings(tmp_path, newsapi_url=f"{exchange.rest_url}/newsapi/v2", newsapi_key=key), Clock())
    async with running(source, reading.tape):
        await eventually(lambda: source.status().connections[0].failures == 1)
        status = source.status()
    assert "NEWSAPI_KEY is not a key NewsAPI knows" in status.last_error
    assert status.state == "circuit_open"
    assert KEY not in repr(status)
    assert not any(KEY in path.read_text() for path in tmp_path.iterdir())


async def test_articles_of_the_stand_in_are_stored_and_told_a_day_late(exchange, tmp_path, reading):
    given = {"newsapi_url": f"{exchange.rest_url}/newsapi/v2", "newsapi_key": KEY, "newsapi_query": "bitcoin OR the"}
    async with running(newsapi_source(settings(tmp_path, **given), Clock()), reading.tape):
        frames = await reading.until(lambda frames: len(frames) > 0)
    told = [newsapi.article(frame, Clock().now()) for frame in frames]
    assert all(item.received_at - item.observed_at >= 24 * 3_600_000_000 for item in told)


async def test_newsapi_that_has_had_enough_is_left_alone_for_an_hour(exchange, tmp_path, reading, eventually):
    exchange.context_faults.lay(Fault(on="newsapi", kind="status", status=429))
    given = {"newsapi_url": f"{exchange.rest_url}/newsapi/v2", "newsapi_key": KEY}
    source = newsapi_source(settings(tmp_path, **given), Clock())
    async with running(source, reading.tape):
        await eventually(lambda: source.status().state == "limited")
        (poll,) = source.status().connections
    assert poll.next_at - Clock().now() > 3_500_000_000
    assert "rateLimited" in poll.last_error


async def test_that_newsapi_may_have_had_more_than_an_answer_holds_is_said(web, tmp_path, reading, eventually):
    def found(first: int) -> bytes:
        articles = [
            {"title": f"T {n}", "url": f"https://e.com/{n}", "publishedAt": None} for n in range(first, first + 100)
        ]
        return json.dumps({"status": "ok", "totalResults": 5000, "articles": articles}).encode()

    path = "/everything?q=bitcoin&language=en&sortBy=publishedAt&pageSize=100"
    web.pages[path] = (200, {}, found(0))
    given = {"newsapi_url": web.url, "newsapi_key": KEY, "newsapi_plan": "paid", "newsapi_query": "bitcoin"}
    source = newsapi_source(settings(tmp_path, **given), Clock())
    async with running(source, reading.tape):
        await reading.until(lambda frames: len(frames) == 100)
        assert source.status().notes == ()
        web.pages[path] = (200, {}, found(50))
        await reading.until(lambda frames: len(frames) == 150)
        assert source.status().notes == ()
        web.pages[path] = (200, {}, found(150))
        await reading.until(lambda frames: len(frames) == 250)
        await eventually(lambda: "TAPEHOUSE_NEWSAPI_QUERY" in "".join(source.status().notes))


def test_newsapi_without_a_key_says_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="NEWSAPI_KEY"):
        newsapi_source(settings(tmp_path, newsapi_key=None), Clock())


async def test_the_feeds_of_the_settings_are_one_source(web, tmp_path, reading):
    web.pages["/feed"] = (200, {}, feed("title"))
    async with running(rss_source(settings(tmp_path, rss_feeds=(f"{web.url}/feed",)), Clock()), reading.tape):
        assert titles(await reading.until(lambda frames: len(frames) == 1)) == ["title"]
