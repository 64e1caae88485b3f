"""The market's context as users run it: beside the exchange, over kills, in failure, and without telling a secret."""

import json
from collections.abc import Callable
from itertools import pairwise

import httpx
import pytest

from tapehouse.exchange.context.faults import Fault

pytestmark = pytest.mark.slow

KEYS = {"COINGECKO_API_KEY": "marked-secret-of-coingecko", "NEWSAPI_KEY": "marked-secret-of-newsapi"}
TABLES = ("bronze/market_data", "bronze/sentiment", "bronze/news")
SYMBOLS = "BTCUSDT,ETHUSDT"


@pytest.fixture
def before(exchange, platform) -> Callable:
    """A platform before an exchange and the stand-ins beside it, all of which it polls each second."""
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
        chosen |= {
            f"TAPEHOUSE_{name}_INTERVAL": "1"
            for name in ("COINGECKO", "COINGECKO_PRICE", "FEAR_GREED", "RSS", "NEWSAPI")
        }
        return platform(served, SYMBOLS, **chosen | KEYS | settings)

    make.exchange = served
    return make


def all_connected(health: dict) -> bool:
    return all(source["state"] == "connected" for source in health["sources"].values())


def test_everything_that_is_told_is_served_and_stored_once_over_kills(before, tables):
    running = before()
    for _ in range(3):
        running.start()
        running.until_health(lambda health: health["sources"]["fear_greed"]["state"] == "connected")
        running.kill()  # what was just received is not committed, or only a part of it is
    running.start()
    running.until_health(all_connected)

    def everything_is_served(_health: dict) -> bool:
        coins = {coin["id"] for coin in running.get("/market")["market"]}
        days, news = running.get("/sentiment?days=365")["sentiment"], running.get("/news?limit=10")["news"]
        return {"bitcoin", "ethereum"} <= coins and len(days) > 300 and len(news) == 10

    running.until_health(everything_is_served)
    assert running.stop() == 0
    served = httpx.get(before.exchange.running.fear_greed_url, params={"limit": 0}).json()["data"]
    days = tables.rows("bronze/sentiment", "key")
    assert len(days) == len(set(days)) == len(served)
    for table in TABLES:
        versions = tables.rows(table, "source, key, fields, known_at")
        assert versions
        by_key = sorted(versions, key=lambda row: (row[0], row[1], row[3]))
        repeated = [one for one, other in pairwise(by_key) if one[:3] == other[:3]]
        assert repeated == []


def test_no_secret_is_in_a_log_an_address_a_metric_an_answer_or_a_table(before, tables):
    faults = (
        Fault(on="coingecko", kind="status", status=401),
        Fault(on="newsapi", kind="status", status=500),
        Fault(on="fear_greed", kind="html"),
        Fault(on="feeds/ledger-daily", kind="redirect_ring"),
    )
    before.exchange.do(lambda exchange: [exchange.context_faults.lay(fault) for fault in faults])
    running = before(TAPEHOUSE_LOG_LEVEL="debug").start()

    def failing(health: dict) -> bool:
        return all(health["sources"][name]["last_error"] for name in ("coingecko", "newsapi", "fear_greed"))

    running.until_health(failing)
    before.exchange.do(lambda exchange: exchange.context_faults.clear())
    running.until_health(lambda health: health["sources"]["newsapi"]["state"] == "connected")
    told = [running.log(), json.dumps(running.get("/health"))]
    told += [fetch(running, path) for path in ("/metrics", "/market", "/news", "/sentiment", "/openapi.json")]
    assert running.stop() == 0
    told += [path.read_text(errors="replace") for path in (running.folder / "data" / "state").glob("*")]
    told += [str(row) for table in TABLES for row in tables.rows(table, "source, key, fields, payload")]
    refused = tables.rows("bronze/rejected", "topic, reason, payload")
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
