"""The market's context as users run it: beside the exchange, over kills, in failure, and without telling a secret."""

import json
import time
from collections.abc import Callable
from itertools import pairwise

import httpx
import pytest

from tapehouse.exchange.context.faults import Fault
from tapehouse.producers import fear_greed, newsapi, rss
from tapehouse.producers.coingecko import wire as coingecko
from tapehouse.settings import Settings

pytestmark = pytest.mark.slow

KEYS = {"COINGECKO_API_KEY": "marked-secret-of-coingecko", "NEWSAPI_KEY": "marked-secret-of-newsapi"}
TABLES = ("bronze/market_data", "bronze/sentiment", "bronze/news")
SYMBOLS = "BTCUSDT,ETHUSDT"


@pytest.fixture
def before(exchange, platform) -> Callable:
    """A platform before an exchange and the stand-ins beside it, which it polls all the time."""
    served = exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=20.0, history=60.0)

    def make(**settings: str):
        running = served.running
        chosen = {
            "TAPEHOUSE_SOURCES": "binance,coingecko,fear_greed,rss,newsapi",
            "TAPEHOUSE_COINGECKO_URL": running.coingecko_url,
            "TAPEHOUSE_COINGECKO_PLAN": "none",
            "TAPEHOUSE_COINGECKO_PER_MINUTE": "1000",
            "TAPEHOUSE_FEAR_GREED_URL": running.fear_greed_url,
            "TAPEHOUSE_NEWSAPI_URL": running.newsapi_url,
            "TAPEHOUSE_NEWSAPI_PLAN": "paid",
            "TAPEHOUSE_RSS_FEEDS": ",".join(running.feed_urls),
        }
        chosen |= {f"TAPEHOUSE_{name}_INTERVAL": "1" for name in ("COINGECKO", "COINGECKO_PRICE", "RSS", "NEWSAPI")}
        chosen["TAPEHOUSE_FEAR_GREED_INTERVAL"] = "5"  # it may be asked ten times a minute, over restarts too
        return platform(served, SYMBOLS, **chosen | KEYS | settings)

    make.exchange = served
    return make


def all_connected(health: dict) -> bool:
    return all(source["state"] == "connected" for source in health["sources"].values())


def all_told(health: dict) -> bool:
    """Tell whether each address has answered, but for those that a restart may not ask again for a minute."""
    polls = [poll for name in health["sources"] if name != "binance" for poll in health["sources"][name]["connections"]]
    return all(poll["last_message_at"] for poll in polls if poll["name"] not in ("global", "history", "list"))


def stored(tables, running, table: str, columns: str) -> list[tuple]:
    """Return what is stored, nothing where there is no such table yet."""
    return tables.rows(table, columns) if (running.lake / table / "_delta_log").exists() else []


def served(exchange) -> dict[str, set[tuple[str, str]]]:
    """Return what the stand-ins serve now, by table: the source and key of each thing told."""
    running, now = exchange.running, time.time_ns() // 1000

    def body(address: str, **params: str) -> bytes:
        return httpx.get(address, params=params, headers={"x-api-key": "key"}, timeout=20).raise_for_status().content

    news = [rss.feed_entry(frame, now) for address in running.feed_urls for frame in rss.split(body(address), address)]
    found = body(f"{running.newsapi_url}/everything", q=Settings.model_fields["newsapi_query"].default)
    news += [newsapi.article(frame, now) for frame in newsapi.split(found, 0)]
    days = [fear_greed.index_day(frame, now) for frame in fear_greed.split(body(running.fear_greed_url, limit="0"))]
    coins = [
        coingecko.market_coin(frame, now)
        for frame in coingecko.split_markets(body(f"{running.coingecko_url}/coins/markets", vs_currency="usd"))
    ]
    keys = {(each.source, each.key) for each in coins}
    prices = {(coingecko.PRICES, key) for _, key in keys}
    return {
        "bronze/market_data": keys | prices,
        "bronze/sentiment": {(each.source, each.key) for each in days},
        "bronze/news": {(each.source, each.key) for each in news},
    }


def test_what_came_and_was_not_committed_when_it_was_killed_is_stored_once_after_the_next_start(before, tables):
    """The index's thousands of days are held first: with so many rows waiting no commit comes for a minute."""
    others = [Fault(on=name, kind="status", status=503) for name in ("coingecko", "newsapi", "feeds")]
    before.exchange.do(lambda exchange: [exchange.context_faults.lay(fault) for fault in others])
    running = before(TAPEHOUSE_COMMIT_INTERVAL="60", TAPEHOUSE_SOURCES="coingecko,fear_greed,rss,newsapi").start()
    running.until_served("/sentiment?days=365", lambda told: told["count"] > 300)
    before.exchange.do(lambda exchange: exchange.context_faults.clear())
    running.until_served("/market", lambda told: {"bitcoin", "ethereum"} <= {coin["id"] for coin in told["market"]})
    running.until_served("/news?limit=1", lambda told: told["news"])
    running.until_health(all_connected)
    running.kill()
    told = served(before.exchange)
    assert [stored(tables, running, table, "key") for table in TABLES] == [[], [], []]
    running = before().start()
    running.until_health(all_connected)
    running.kill()  # somewhere in the middle, as it happens
    running.start()
    running.until_health(all_told)
    assert running.stop() == 0
    still = served(before.exchange)
    for table in TABLES:
        versions = tables.rows(table, "source, key, fields, known_at")
        kept = {(source, key) for source, key, *_ in versions}
        assert told[table] & still[table]
        assert told[table] & still[table] <= kept
        by_key = sorted(versions, key=lambda row: (row[0], row[1], row[3]))
        assert [one for one, other in pairwise(by_key) if one[:3] == other[:3]] == []
    assert len(tables.rows("bronze/sentiment", "key")) == len(told["bronze/sentiment"])


def test_no_secret_is_in_a_log_an_address_a_metric_an_answer_or_a_table(before, tables):
    faults = (
        Fault(on="coingecko", kind="echo"),
        Fault(on="newsapi", kind="echo"),
        Fault(on="fear_greed", kind="html"),
        Fault(on="feeds/ledger-daily", kind="redirect_ring"),
        Fault(on="feeds/coin-wire", kind="echo"),
    )
    before.exchange.do(lambda exchange: [exchange.context_faults.lay(fault) for fault in faults])
    feeds = [f"{address}?token=marked-secret-of-a-feed" for address in before.exchange.running.feed_urls]
    given = {"TAPEHOUSE_RSS_FEEDS": ",".join(feeds), "TAPEHOUSE_COINGECKO_PLAN": "demo"}
    running = before(TAPEHOUSE_LOG_LEVEL="debug", **given).start()

    def failing(health: dict) -> bool:
        failing = [health["sources"][name]["last_error"] for name in ("coingecko", "newsapi", "fear_greed")]
        return all(failing) and sum(poll["failures"] > 0 for poll in health["sources"]["rss"]["connections"]) == 2

    running.until_health(failing)
    before.exchange.do(lambda exchange: exchange.context_faults.clear())
    running.until_health(lambda health: health["sources"]["newsapi"]["state"] == "connected")
    told = [running.log(), json.dumps(running.get("/health"))]
    told += [fetch(running, path) for path in ("/metrics", "/market", "/news", "/sentiment", "/openapi.json")]
    assert running.stop() == 0
    told += [path.read_text(errors="replace") for path in (running.folder / "data" / "state").glob("*")]
    told += [str(row) for table in TABLES for row in tables.rows(table, "source, key, fields, payload")]
    refused = tables.rows("bronze/rejected", "topic, reason, payload")
    echoed = {topic for topic, _, payload in refused if b"We do not like" in payload and b"***" in payload}
    assert echoed == {"market-data", "news"}
    assert ("sentiment", b"<!doctype") in {(topic, bytes(payload)[:9]) for topic, _, payload in refused}
    told += [str(row) for row in refused]
    assert not [text[:200] for text in told if "marked-secret" in text]


def fetch(running, path: str) -> str:
    return httpx.get(running.address + path, timeout=10).text


def test_sources_that_are_down_slow_neither_the_start_nor_the_trades_nor_the_end(before):
    nowhere = "http://127.0.0.1:9"
    running = before(
        TAPEHOUSE_COINGECKO_URL=nowhere,
        TAPEHOUSE_FEAR_GREED_URL=nowhere,
        TAPEHOUSE_NEWSAPI_URL=nowhere,
        TAPEHOUSE_RSS_FEEDS=nowhere + "/feed",
    ).start()
    health = running.until_health(
        lambda health: (
            health["sources"]["binance"]["state"] == "connected"
            and all(health["sources"][name]["last_error"] for name in ("coingecko", "fear_greed", "rss", "newsapi"))
        )
    )
    assert health["status"] != "failing"
    running.until_whole(dict.fromkeys(SYMBOLS.split(","), 0))
    assert running.stop() == 0


def test_a_platform_without_an_exchange_polls_and_serves_the_rest(before):
    running = before(TAPEHOUSE_SOURCES="fear_greed").start()
    health = running.until_health(all_connected)
    assert list(health["sources"]) == ["fear_greed"]
    assert running.get("/sentiment?days=7")["count"] == 7
    assert running.stop() == 0
