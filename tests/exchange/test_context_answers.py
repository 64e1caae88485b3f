import json
from xml.etree.ElementTree import fromstring

import httpx
import pytest

from tapehouse.exchange.context.feeds import ITEMS
from tapehouse.exchange.context.stories import OUTLETS
from tapehouse.market.windows import DAY

RECORDED_COIN = "5-coingecko/coingecko_it_gets_market_data_for_a_coin.jsonl"
RECORDED_INDEX = "6-fng/fng_2018-02-01_2021-12-31.json"
RECORDED_ARTICLES = "7-news/newsapi_everything_bitcoin_2020-08.json"
KEY = {"x-api-key": "any"}


@pytest.fixture
async def context(exchange, asking):
    """A client of the stand-ins beside the exchange."""
    async with asking(exchange) as client:
        yield client


async def markets(context: httpx.AsyncClient, **asked) -> list[dict]:
    answer = await context.get("/coingecko/api/v3/coins/markets", params={"vs_currency": "usd", **asked})
    return answer.json()


async def test_a_coin_has_the_fields_of_a_recorded_one(context, recordings):
    first = json.loads((recordings / RECORDED_COIN).read_text().splitlines()[0])
    assert [set(row) for row in await markets(context, ids="bitcoin")] == [set(first["body"][0])]


async def test_a_coin_costs_what_the_exchange_says(context):
    quoted = (await context.get("/api/v3/ticker/price", params={"symbol": "BTCUSDT"})).json()
    assert (await markets(context, ids="bitcoin"))[0]["current_price"] == float(quoted["price"])


async def test_coins_are_ranked_by_what_they_are_worth_together(context):
    rows = await markets(context)
    worth = [row["market_cap"] for row in rows]
    assert worth == sorted(worth, reverse=True)
    assert [row["market_cap_rank"] for row in rows] == [1, 2, 3]


async def test_the_list_of_coins_has_more_than_one_for_a_symbol(context):
    rows = (await context.get("/coingecko/api/v3/coins/list")).json()
    assert [row["id"] for row in rows if row["symbol"] == "btc"] == ["bitcoin", "bridged-bitcoin"]


async def test_without_a_currency_coins_are_refused_as_recorded(context, recordings):
    recorded = json.loads((recordings / RECORDED_COIN).read_text().splitlines()[1])
    refused = await context.get("/coingecko/api/v3/coins/markets")
    assert (refused.status_code, refused.json()) == (recorded["status"], recorded["body"])


async def test_a_bad_key_is_refused_and_any_other_taken(context):
    path = "/coingecko/api/v3/ping"
    assert (await context.get(path, headers={"x-cg-demo-api-key": "bad"})).status_code == 401
    assert (await context.get(path, headers={"x-cg-demo-api-key": "good"})).status_code == 200


async def test_a_chart_has_three_columns_of_one_length(context):
    chart = (await context.get("/coingecko/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=1")).json()
    assert len(chart["prices"]) == len(chart["market_caps"]) == len(chart["total_volumes"]) > 1


async def test_an_index_row_has_the_fields_of_a_recorded_one(context, recordings):
    recorded = json.loads((recordings / RECORDED_INDEX).read_text())
    told = (await context.get("/fng/", params={"limit": "2"})).json()["data"]
    assert [list(row) for row in told] == [list(recorded[0])] * 2


async def test_the_index_has_every_day_but_the_three_that_are_missing(context, begins_at):
    told = (await context.get("/fng/", params={"limit": "0"})).json()["data"]
    days = [int(row["timestamp"]) * 1_000_000 // DAY for row in told]
    assert days[0] == begins_at // DAY
    missing = set(range(days[-1], days[0])) - set(days)
    assert sorted(missing) == [17635, 17636, 17637]  # 14 to 16 April 2018


async def test_classes_of_the_index_are_those_of_the_recorded_values(context, recordings):
    recorded = {
        row["value"]: row["value_classification"] for row in json.loads((recordings / RECORDED_INDEX).read_text())
    }
    told = (await context.get("/fng/", params={"limit": "0"})).json()["data"]
    compared = [row for row in told if row["value"] in recorded]
    assert len(compared) > 1000
    assert [row["value_classification"] for row in compared] == [recorded[row["value"]] for row in compared]


@pytest.mark.parametrize("name", [*OUTLETS, "somebody-else"])
async def test_a_feed_is_well_formed_and_newest_first(context, name):
    answer = await context.get(f"/feeds/{name}")
    root = fromstring(answer.content)
    items = [element for element in root.iter() if element.tag.rpartition("}")[2] in ("item", "entry")]
    assert len(items) == ITEMS


async def test_an_article_has_the_fields_of_a_recorded_one(context, recordings):
    recorded = json.loads((recordings / RECORDED_ARTICLES).read_text())
    told = (await context.get("/newsapi/v2/everything", params={"q": "bitcoin"}, headers=KEY)).json()
    assert (list(told), list(told["articles"][0])) == (list(recorded), list(recorded["articles"][0]))


async def test_articles_are_a_day_late(context, begins_at):
    told = (await context.get("/newsapi/v2/everything", params={"q": "a"}, headers=KEY)).json()
    newest = told["articles"][0]["publishedAt"]
    assert newest.startswith("2026-03-04")
    assert begins_at // DAY == 20517  # 5 March 2026


@pytest.mark.parametrize(
    ("headers", "asked", "status", "code"),
    [
        ({}, {"q": "x"}, 401, "apiKeyMissing"),
        ({"x-api-key": "bad"}, {"q": "x"}, 401, "apiKeyInvalid"),
        (KEY, {}, 400, "parametersMissing"),
        (KEY, {"q": "a", "page": "2"}, 426, "maximumResultsReached"),
    ],
)
async def test_articles_are_refused_with_a_code(context, headers, asked, status, code):
    refused = await context.get("/newsapi/v2/everything", params=asked, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/feeds/ledger-daily", "/fng/?limit=0", "/coingecko/api/v3/coins/list"])
async def test_who_holds_an_answer_is_told_that_it_has_not_changed(context, path):
    first = await context.get(path)
    again = await context.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_feed_not_modified_since_its_own_time_is_not_sent_again(context):
    first = await context.get("/feeds/ledger-daily")
    since = {"If-Modified-Since": first.headers["last-modified"]}
    assert (await context.get("/feeds/ledger-daily", headers=since)).status_code == 304
    since = {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert (await context.get("/feeds/ledger-daily", headers=since)).status_code == 200
