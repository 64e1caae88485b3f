import json
import time

import httpx
import pytest
from websockets.sync.client import connect

from tapehouse.api.context_queries import ContextQueries
from tapehouse.api.context_rows import by_symbol, whole_market
from tapehouse.catalog import CONTEXT_TABLES
from tapehouse.market.context import Observation, Version
from tapehouse.market.windows import DAY, SECOND
from tapehouse.streaming.context_view import CHANGES_KEPT, ContextView
from tapehouse.streaming.rows import bronze_context

NOW = time.time_ns() // 1000
MARKET_FIELDS = {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "current_price": "65000.10", "market_cap_rank": 1}
WITHIN = 10.0


def coin(key="bitcoin", *, source="coingecko", at=NOW, known_at=None, **fields) -> Version:
    told = fields if source != "coingecko" else MARKET_FIELDS | {"id": key} | fields
    return Version(Observation("market_data", source, key, at, at, told), known_at or at, b"{}")


def whole(at=NOW, **fields) -> Version:
    told = {"total_market_cap": "2400000000000.5", "market_cap_percentage_btc": "56.25"} | fields
    return Version(Observation("market_data", "coingecko_global", "global", at, at, told), at, b"{}")


def index(day: int, value: int, known_at=NOW) -> Version:
    at = NOW // DAY * DAY - day * DAY
    key = time.strftime("%Y-%m-%d", time.gmtime(at / SECOND))
    fields = {"value": value, "value_classification": "Fear"}
    return Version(Observation("sentiment", "fear_greed", key, at, NOW, fields), known_at, b"{}")


def story(key: str, title="Bitcoin climbs", *, at=NOW, known_at=None, tickers=("BTC",), received_at=NOW) -> Version:
    fields = {"title": title, "link": "https://a.example/1", "summary": "Of it all", "publisher": "A"}
    told = Observation("news", "rss:a", key, at, received_at, fields | {"tickers": list(tickers), "sentiment": 0.5})
    return Version(told, known_at or received_at, b"{}")


@pytest.fixture
def commit(market):
    """Store versions of one kind."""
    batches = iter(range(100))

    def commit(*versions: Version) -> None:
        table = CONTEXT_TABLES[versions[0].observation.kind]
        market.lake.append(table, bronze_context(table, versions), writer="test", batch=next(batches))

    return commit


@pytest.fixture
def publish(market):
    """Show versions before they are stored."""
    return lambda *versions: market.view.context.publish(versions)


def test_a_coin_is_told_under_its_symbol_with_every_digit_and_its_source_named(publish, api):
    publish(coin(), whole())
    answer = api.get("/market")
    assert '"current_price":65000.10' in answer.text
    told = answer.json()
    assert [(row["symbol"], row["key"], row["source"]) for row in told["market"]] == [
        ("BTCUSDT", "bitcoin", "coingecko")
    ]
    assert told["global"]["market_cap_percentage_btc"] == 56.25
    assert "CoinGecko" in told["attribution"]["text"]


def test_of_coins_that_share_a_symbol_the_larger_is_told(publish, api):
    publish(coin("bridged-bitcoin", market_cap_rank=900), coin("bitcoin"))
    assert [row["key"] for row in api.get("/market").json()["market"]] == ["bitcoin"]


MATIC = {"symbol": "matic", "name": "Matic Network", "market_cap_rank": 90}
POL = {"symbol": "pol", "name": "Polygon", "market_cap_rank": 60}
PINNED = {"coingecko_coins": ("ETH=polygon-ecosystem-token",)}


def test_a_pinned_coin_is_told_whatever_ticker_coingecko_has_for_it(publish, market, serving):
    publish(coin("ethereum", symbol="eth"), coin("polygon-ecosystem-token", **POL), coin("matic-network", **MATIC))
    with serving(market, **PINNED) as at, httpx.Client(base_url=at) as api:
        assert api.get("/market/ETHUSDT").json()["coin"] == "polygon-ecosystem-token"
        assert [row["key"] for row in api.get("/market").json()["market"]] == ["polygon-ecosystem-token"]


def test_after_a_pin_is_changed_the_namesake_told_before_is_told_no_more(publish, market, serving):
    publish(coin("staked-ether", symbol="eth", market_cap_rank=2))
    with serving(market, coingecko_coins=("ETH=ethereum-pow",)) as at, httpx.Client(base_url=at) as api:
        assert api.get("/market/ETHUSDT").json()["coin"] is None
        publish(coin("ethereum-pow", symbol="eth", market_cap_rank=700))
        assert api.get("/market/ETHUSDT").json()["coin"] == "ethereum-pow"


def test_of_namesakes_nobody_lists_the_one_that_was_told_last_is_told():
    told = [coin("old", symbol="jto", at=NOW - DAY, market_cap_rank=9), coin("new", symbol="jto", market_cap_rank=90)]
    assert [(symbol, each.observation.key) for symbol, each in by_symbol(told, ["JTOUSDT"], {})] == [("JTOUSDT", "new")]


def test_a_listener_hears_of_the_pinned_coin_at_first_and_as_it_changes(publish, market, serving):
    publish(coin("polygon-ecosystem-token", **POL), coin("ethereum", symbol="eth"))
    with serving(market, **PINNED) as at, connect(at.replace("http", "ws") + "/live") as socket:
        socket.send(json.dumps({"subscribe": {"symbols": ["ETHUSDT"], "channels": ["market"]}}))
        told = (json.loads(socket.recv(WITHIN)) for _ in range(10))
        markets = (message["market"] for message in told if message["type"] == "market")
        assert [row["name"] for row in next(markets)] == ["Polygon"]
        publish(coin("polygon-ecosystem-token", at=NOW + SECOND, current_price="2", **POL))
        assert [(row["symbol"], row["current_price"]) for row in next(markets)] == [("ETHUSDT", "2")]


def test_of_several_tellings_of_the_whole_market_the_newest_is_told():
    assert whole_market([whole(NOW - SECOND), whole(NOW), whole(NOW - DAY)]).observation.observed_at == NOW
    assert whole_market([coin()]) is None


def test_a_price_told_since_takes_the_place_of_the_older_one(publish, api):
    publish(
        coin(total_volume="7"), coin(source="coingecko_price", at=NOW + SECOND, current_price="65001", market_cap=None)
    )
    latest = api.get("/market/BTCUSDT").json()["latest"]
    assert (latest["current_price"], latest["total_volume"], latest["name"]) == (65001, 7, "Bitcoin")


def test_an_older_price_takes_no_place(publish, api):
    publish(coin(), coin(source="coingecko_price", at=NOW - SECOND, current_price="1"))
    assert api.get("/market/BTCUSDT").json()["latest"]["current_price"] == 65000.1


def test_what_was_told_of_a_coin_comes_newest_last_from_lake_and_memory(publish, commit, api):
    commit(coin(at=NOW - 2 * SECOND, current_price="1"), coin("ethereum"), coin(at=NOW - SECOND, current_price="2"))
    publish(coin(at=NOW - SECOND, current_price="2"), coin(current_price="3"))
    told = api.get("/market/btcusdt").json()
    assert (told["count"], [row["current_price"] for row in told["market"]]) == (3, [1, 2, 3])
    assert [row["current_price"] for row in api.get("/market/BTCUSDT?limit=2").json()["market"]] == [2, 3]


def test_a_symbol_whose_coin_was_not_told_has_no_rows_and_an_unknown_one_is_not_there(api):
    told = api.get("/market/ETHUSDT").json()
    assert (told["coin"], told["latest"], told["market"]) == (None, None, [])
    assert api.get("/market/NONE").status_code == 404


def test_the_index_comes_by_day_newest_last_and_a_missing_day_stays_missing(publish, api):
    publish(index(0, 40), index(3, 10), index(1, 30), index(9, 90))
    told = api.get("/sentiment?days=5").json()
    assert [row["value"] for row in told["sentiment"]] == [10, 30, 40]
    assert (told["count"], told["days"]) == (3, 5)
    assert "alternative.me" in told["attribution"]["text"]


def test_a_corrected_value_is_told_and_the_one_before_as_it_was_known(publish, commit, api):
    commit(index(0, 40, NOW - 60 * SECOND))
    publish(index(0, 41, NOW))
    assert [row["value"] for row in api.get("/sentiment").json()["sentiment"]] == [41]
    before = (NOW - 30 * SECOND) // 1000
    assert [row["value"] for row in api.get(f"/sentiment?as_of={before}").json()["sentiment"]] == [40]


def test_stories_come_by_time_of_publication_and_the_last_ones_when_limited(publish, api):
    publish(story("b", at=NOW - SECOND), story("c"), story("a", at=NOW - 2 * SECOND))
    assert [row["key"] for row in api.get("/news").json()["news"]] == ["a", "b", "c"]
    assert [row["key"] for row in api.get("/news?limit=2").json()["news"]] == ["b", "c"]


def test_stories_are_found_by_symbol_by_coin_and_by_words(publish, api):
    publish(story("btc"), story("eth", "Ether slides", tickers=["ETH"]), story("none", "Nothing of note", tickers=[]))
    for asked, keys in {
        "symbol=BTCUSDT": ["btc"],
        "symbol=eth": ["eth"],
        "q=OF": ["btc", "eth", "none"],
        "q=note+nothing": ["none"],
        "q=bitcoin+slides": [],
    }.items():
        assert sorted(row["key"] for row in api.get(f"/news?{asked}").json()["news"]) == keys, asked
    assert api.get("/news?symbol=NONE").status_code == 404


def test_an_edited_headline_is_told_once_and_as_it_was_known(publish, commit, api):
    commit(story("a", "First words", known_at=NOW - 60 * SECOND))
    publish(story("a", "Second words", known_at=NOW))
    assert [row["title"] for row in api.get("/news").json()["news"]] == ["Second words"]
    before = (NOW - 30 * SECOND) // 1000
    assert [row["title"] for row in api.get(f"/news?as_of={before}").json()["news"]] == ["First words"]
    assert [row["title"] for row in api.get("/news?q=first").json()["news"]] == []


def test_an_older_version_of_a_story_in_the_lake_is_not_found_by_words_it_no_longer_has(market, commit):
    commit(story("a", "First words", known_at=NOW - DAY, received_at=NOW - DAY))
    commit(story("a", "Second words", known_at=NOW))
    queries = ContextQueries(ContextView(), market.lake)
    assert queries.news(10, words="first") == []
    assert len(queries.news(10, words="second")) == 1


@pytest.mark.parametrize("asked", ["sentiment?days=0", "sentiment?days=5001", "news?limit=0", f"news?q={'x' * 201}"])
def test_what_is_beyond_the_limits_is_a_problem(api, asked):
    answer = api.get(f"/{asked}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.fixture
def listening(address):
    """Subscribe to the context of BTCUSDT; gives a function that returns the next message of a kind."""
    with connect(address.replace("http", "ws") + "/live") as socket:
        wanted = {"symbols": ["BTCUSDT"], "channels": ["market", "sentiment", "news"]}
        socket.send(json.dumps({"subscribe": wanted}))

        def next_of(kind: str) -> dict:
            while (message := json.loads(socket.recv(WITHIN)))["type"] != kind:
                pass
            return message

        yield next_of


def test_who_subscribes_is_told_what_is_known_and_then_what_changes(publish, listening):
    assert listening("news")["news"] == []
    publish(story("a"))
    assert [row["key"] for row in listening("news")["news"]] == ["a"]
    publish(index(0, 40))
    assert listening("sentiment")["sentiment"][0]["value"] == 40


def test_a_listener_hears_of_the_coins_of_its_symbols_and_of_the_whole_market(publish, listening):
    assert listening("market")["market"] == []
    publish(coin("ethereum", symbol="eth", name="Ethereum"), coin(), whole())
    told = listening("market")
    assert [(row["symbol"], row["current_price"]) for row in told["market"]] == [("BTCUSDT", "65000.10")]
    assert listening("market")["global"]["total_market_cap"] == "2400000000000.5"


def test_who_missed_more_than_is_remembered_is_told_where_things_stand(publish, listening):
    assert listening("news")["news"] == []
    publish(*(story(f"{number:05}", at=NOW + number) for number in range(CHANGES_KEPT + 5)))
    assert listening("news")["news"][-1]["key"] == f"{CHANGES_KEPT + 4:05}"


def test_the_market_as_it_was_known_finds_a_coin_that_was_last_told_days_before(commit, publish, api):
    """Nobody asked for it since, and the other coin was told each day."""
    days = [coin("ethereum", symbol="eth", at=NOW - day * DAY, current_price=str(3000 + day)) for day in range(9)]
    stored = [coin(at=NOW - 8 * DAY, current_price="50000"), coin(at=NOW - 7 * DAY, current_price="51000"), *days]
    commit(*stored)
    publish(coin(), days[0])
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((NOW - 2 * DAY) / SECOND + 1))
    told = {row["symbol"]: row["current_price"] for row in api.get(f"/market?as_of={at}").json()["market"]}
    assert told == {"BTCUSDT": 51000, "ETHUSDT": 3002}
