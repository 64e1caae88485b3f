import json
from xml.etree.ElementTree import fromstring

import httpx
import pytest

from tapehouse.exchange.context.faults import HUGE, Fault

INDEX = "/fng/?limit=0"
FEED = "/feeds/ledger-daily"


@pytest.fixture
async def context(exchange, asking):
    """A client of the stand-ins beside the exchange."""
    async with asking(exchange) as client:
        yield client


def lay(exchange, kind: str, on: str = "fear_greed", **more) -> None:
    exchange.context_faults.lay(Fault(on=on, kind=kind, **more))


async def test_a_refusal_has_its_status_and_when_to_come_back(exchange, context):
    lay(exchange, "status", status=429, retry_after=30)
    refused = await context.get(INDEX)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")


async def test_a_fault_for_so_many_requests_is_over_after_them(exchange, context):
    lay(exchange, "status", status=500, requests=2)
    assert [(await context.get(INDEX)).status_code for _ in range(3)] == [500, 500, 200]


async def test_a_fault_of_one_feed_leaves_the_others_alone(exchange, context):
    lay(exchange, "status", on="feeds/ledger-daily", status=410)
    assert [(await context.get(path)).status_code for path in (FEED, "/feeds/coin-wire")] == [410, 200]


async def test_a_cut_body_ends_before_its_length(exchange, context):
    lay(exchange, "cut_body")
    with pytest.raises(httpx.RemoteProtocolError):
        await context.get(INDEX)


async def test_a_truncated_answer_is_no_json(exchange, context):
    lay(exchange, "truncated")
    answer = await context.get(INDEX)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("path", [INDEX, FEED])
async def test_another_charset_than_declared_is_not_the_declared_one(exchange, context, path):
    lay(exchange, "wrong_charset", on="feeds" if path == FEED else "fear_greed")
    answer = await context.get(path)
    assert "utf-8" in answer.headers["content-type"]
    with pytest.raises(UnicodeDecodeError):
        answer.content.decode()


async def test_a_bomb_is_small_on_the_wire_and_huge_unpacked(exchange, context):
    lay(exchange, "gzip_bomb")
    unpacked = 0
    async with context.stream("GET", INDEX) as answer:
        async for piece in answer.aiter_bytes():
            unpacked += len(piece)
        assert answer.num_bytes_downloaded * 500 < unpacked == HUGE


async def test_a_huge_answer_goes_on_after_its_end(exchange, context):
    lay(exchange, "huge", on="feeds")
    read = 0
    async with context.stream("GET", FEED) as answer:
        assert "content-length" not in answer.headers
        async for piece in answer.aiter_bytes():
            read += len(piece)
            if read > 10_000_000:
                break
    assert read > 10_000_000


async def test_a_dripping_answer_is_whole_in_the_end(exchange, context):
    whole = (await context.get("/fng/")).content
    lay(exchange, "slow_drip", pause=0.001)
    assert (await context.get("/fng/")).content == whole


async def test_a_ring_of_redirects_has_no_end(exchange, context):
    lay(exchange, "redirect_ring")
    with pytest.raises(httpx.TooManyRedirects):
        await context.get(INDEX, follow_redirects=True)


async def test_who_follows_a_permanent_redirect_is_served_there(exchange, context):
    lay(exchange, "moved", on="feeds")
    moved = await context.get(FEED)
    assert moved.status_code == 301
    answer = await context.get(moved.headers["location"])
    assert fromstring(answer.content).tag == "rss"


async def test_a_page_comes_in_place_of_the_answer(exchange, context):
    lay(exchange, "html")
    answer = await context.get(INDEX)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


async def test_an_echo_repeats_the_address_and_the_key_of_the_question(exchange, context):
    lay(exchange, "echo", on="newsapi")
    answer = await context.get("/newsapi/v2/everything?q=a-word", headers={"x-api-key": "the-key"})
    assert answer.status_code == 200
    assert all(told in answer.json()["error"] for told in ("a-word", "the-key"))


async def test_faults_are_laid_and_cleared_over_the_control_and_counted(context):
    order = {"context": {"on": "newsapi", "kind": "status", "status": 403}}
    assert (await context.post("/_exchange/faults", json=order)).status_code == 200
    assert (await context.get("/newsapi/v2/everything")).status_code == 403
    await context.post("/_exchange/faults", json={"clear": True})
    assert (await context.get("/newsapi/v2/everything")).status_code == 401
    counts = (await context.get("/_exchange")).json()["context"]
    assert counts == {"newsapi": 2, "newsapi 403": 1, "newsapi 401": 1}


@pytest.mark.parametrize("fault", [{"on": "nobody", "kind": "html"}, {"on": "feeds", "kind": "status", "status": 200}])
async def test_an_unknown_upstream_or_a_refusal_that_is_none_is_not_taken(exchange, context, fault):
    assert (await context.post("/_exchange/faults", json={"context": fault})).status_code == 422
    assert exchange.context_faults.met("feeds", "nobody") is None
