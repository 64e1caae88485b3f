"""CoinGecko polled: what it is asked with which key, how it says no, and that its past is fetched once a coin."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import httpx
import pytest

from tapehouse.producers.coingecko.source import PRO_URL, coingecko_source, explain
from tapehouse.settings import Settings
from tapehouse.tape.local import LocalTape

KEY = "marked-coingecko-key"
HOUR = 3600.0
DAY = 24 * HOUR


def coin(ident: str) -> dict:
    known = {"id": ident, "symbol": "x", "name": "X", "current_price": 1, "market_cap": 1}
    return known | {"last_updated": "2023-11-14T00:00:00Z"}


def answered(request: httpx.Request) -> tuple[int, dict, bytes]:
    ids = request.url.params.get("ids", "").split(",")
    match request.url.path.removeprefix("/api/v3/").split("/"):
        case ["coins", "markets"]:
            told = [coin(ident) for ident in ids]
        case ["simple", "price"]:
            told = {ident: {"usd": 1} for ident in ids}
        case ["global"]:
            told = {"data": {"updated_at": 1_700_000_000}}
        case ["coins", "list"]:
            told = [{"id": "unknown-coin", "symbol": "unk", "name": "U"}]
        case ["coins", _, "market_chart"]:
            told = {"prices": [[1_699_920_000_000, 1.5]], "market_caps": [], "total_volumes": []}
    return 200, {}, json.dumps(told).encode()


@pytest.fixture
def make(tmp_path, time, networked, monkeypatch):
    """Make the source under settings, before a CoinGecko that answers everything."""
    monkeypatch.delenv("COINGECKO_API_KEY", raising=False)
    networked.answer = answered

    def make(*symbols, held=(), **settings):
        chosen = Settings(_env_file=None, state=tmp_path, **settings)
        return coingecko_source(chosen, lambda: symbols or ("BTCUSDT", "ETHUSDT"), held, time.clock)

    return make


def paths(world) -> list[str]:
    return [request.url.path.removeprefix("/api/v3/") for _, request in world.asked]


async def test_every_path_is_asked_as_it_is_documented(time, networked, make):
    await time.run(make(), LocalTape(), 1.0, loops=5)
    asked = {request.url.path.removeprefix("/api/v3/"): dict(request.url.params) for _, request in networked.asked}
    assert asked == {
        "coins/markets": {"vs_currency": "usd", "ids": "bitcoin,ethereum", "per_page": "100"},
        "simple/price": {
            "vs_currencies": "usd",
            "ids": "bitcoin,ethereum",
            "precision": "full",
            "include_market_cap": "true",
            "include_24hr_vol": "true",
            "include_24hr_change": "true",
            "include_last_updated_at": "true",
        },
        "global": {},
        "coins/bitcoin/market_chart": {"vs_currency": "usd", "days": "365", "interval": "daily"},
    }


async def test_each_kind_of_answer_is_a_source_of_its_own(time, make):
    batches = await time.run(make(), LocalTape(), 1.0, loops=5)
    assert {batch.symbol: len(batch.frames) for batch in batches} == {
        "coingecko": 2,
        "coingecko_price": 2,
        "coingecko_global": 1,
        "coingecko_history": 1,
    }


@pytest.mark.parametrize(
    ("settings", "address", "header"),
    [
        ({}, "https://api.coingecko.com/api/v3", None),
        ({"COINGECKO_API_KEY": KEY}, "https://api.coingecko.com/api/v3", "x-cg-demo-api-key"),
        ({"COINGECKO_API_KEY": KEY, "coingecko_plan": "pro"}, PRO_URL, "x-cg-pro-api-key"),
        ({"COINGECKO_API_KEY": KEY, "coingecko_plan": "none"}, "https://api.coingecko.com/api/v3", None),
        (
            {"COINGECKO_API_KEY": KEY, "coingecko_plan": "pro", "coingecko_url": "http://proxy/cg/"},
            "http://proxy/cg",
            "x-cg-pro-api-key",
        ),
    ],
)
async def test_host_and_header_follow_the_plan_and_the_key_is_in_the_header_alone(
    time, networked, make, settings, address, header
):
    networked.answer = lambda _request: (200, {}, b'{"data": {}}')
    await time.run(make(**settings), LocalTape(), 1.0, loops=5)
    for _, request in networked.asked:
        assert str(request.url).startswith(address + "/")
        assert KEY not in str(request.url)
        assert [name for name, value in request.headers.items() if value == KEY] == ([header] if header else [])


async def test_many_coins_are_asked_for_by_the_hundred(time, networked, make):
    pins = tuple(f"A{number}=coin-{number}" for number in range(250))
    symbols = [f"A{number}USDT" for number in range(250)]
    batches = await time.run(make(*symbols, coingecko_coins=pins), LocalTape(), 30.0, loops=5)
    assert [len(batch.frames) for batch in batches if batch.symbol == "coingecko"] == [100, 100, 50]
    assert paths(networked).count("coins/markets") == 3


def many(coins: int) -> tuple[list[str], tuple[str, ...]]:
    return [f"A{number}USDT" for number in range(coins)], tuple(f"A{number}=coin-{number}" for number in range(coins))


@pytest.mark.parametrize(
    ("coins", "settings", "hours", "most", "age"),
    [
        (3, {"COINGECKO_API_KEY": KEY}, 24, 320, 0.25 * HOUR),
        (150, {"COINGECKO_API_KEY": KEY}, 24, 320, 0.5 * HOUR),
        (400, {"COINGECKO_API_KEY": KEY}, 24, 320, 0.75 * HOUR),
        (400, {"coingecko_history": False}, 1, 10 * 60, 0.05 * HOUR),
    ],
)
async def test_however_many_coins_each_is_told_at_a_steady_age_within_the_plan(
    time, networked, make, coins, settings, hours, most, age
):
    symbols, pins = many(coins)
    source = make(*symbols, coingecko_coins=pins, **settings)
    began = time.now
    await time.run(source, LocalTape(), hours * HOUR, loops=5 - (not settings.get("coingecko_history", True)))
    assert len(networked.asked) <= most
    assert max(Counter(int(at // 60) for at, _ in networked.asked).values()) <= 2 * 10
    for path, longest in (("simple/price", age), ("coins/markets", 6 * age)):
        told = defaultdict(lambda: [began])
        for at, request in networked.asked:
            if request.url.path.endswith(path):
                for ident in request.url.params["ids"].split(","):
                    told[ident].append(at)
        assert len(told) == coins
        times = [[*each, time.now] for each in told.values()]
        assert max(later - earlier for each in times for earlier, later in pairwise(each)) < longest
        assert all(each[1] - began < 120.0 for each in times)
    assert source.status().stale == 0


async def test_a_page_that_fails_keeps_no_other_from_being_told_and_the_address_goes_stale(time, networked, make):
    symbols, pins = many(150)
    began = time.now

    def without_the_second_page(request):
        is_second = request.url.path.endswith("coins/markets") and "coin-149" in request.url.params["ids"]
        return (500, {}, b"") if is_second and time.now > began + HOUR else answered(request)

    networked.answer = without_the_second_page
    source = make(*symbols, coingecko_coins=pins, COINGECKO_API_KEY=KEY)
    batches = await time.run(source, LocalTape(), 6 * HOUR, loops=5)
    prices = [batch.received_at[0] / 1e6 for batch in batches if batch.symbol == "coingecko_price"]
    assert max(later - earlier for earlier, later in pairwise([began, *prices, time.now])) < 0.5 * HOUR
    status = source.status()
    assert (status.state, status.stale) == ("connected", 1)
    assert any("stale" in note and "markets" in note for note in status.notes)


async def test_that_the_plan_is_small_for_so_many_coins_is_said(time, make):
    symbols, pins = many(400)
    source = make(*symbols, coingecko_coins=pins, COINGECKO_API_KEY=KEY)
    await time.run(source, LocalTape(), 1.0, loops=5)
    assert any("320 questions a day" in note and "400 coins" in note for note in source.status().notes)


async def test_a_list_that_cannot_be_read_is_told_whole_and_stops_no_well_known_coin(time, networked, make):
    networked.answer = lambda request: (
        (200, {}, b"<html>no list</html>") if request.url.path.endswith("coins/list") else answered(request)
    )
    source = make("BTCUSDT", "UNKUSDT")
    batches = await time.run(source, LocalTape(), HOUR, loops=5)
    frames = [frame for batch in batches if batch.symbol == "coingecko" for frame in batch.frames]
    assert b"<html>no list</html>" in frames
    assert sum(b'"bitcoin"' in frame for frame in frames) > 10
    states = {poll.name: poll.state for poll in source.status().connections}
    assert (states["list"], states["markets"], states["prices"]) == ("circuit_open", "open", "open")


async def test_a_ticker_nobody_knows_is_looked_up_once(time, networked, make):
    source = make("BTCUSDT", "UNKUSDT", "WHATUSDT")
    await time.run(source, LocalTape(), HOUR, loops=5)
    assert paths(networked).count("coins/list") == 1
    named = [at for at, request in networked.asked if "unknown-coin" in request.url.params.get("ids", "")]
    assert named[0] - networked.asked[0][0] < 60.0
    assert any("WHAT names no coin" in note for note in source.status().notes)


async def test_the_past_is_fetched_once_a_coin_and_a_coin_without_one_stops_no_other(time, networked, make):
    def some_without(request):
        return (404, {}, b'{"error":"coin not found"}') if "/bitcoin/" in request.url.path else answered(request)

    networked.answer = some_without
    source = make("BTCUSDT", "ETHUSDT", "BNBUSDT", held=["binancecoin"])
    await time.run(source, LocalTape(), HOUR, loops=5)
    asked = [path for path in paths(networked) if path.endswith("market_chart")]
    assert sorted(asked) == ["coins/bitcoin/market_chart", "coins/ethereum/market_chart"]
    assert source.status().connected


async def test_the_past_can_be_left_out(time, networked, make):
    await time.run(make(coingecko_history=False), LocalTape(), HOUR, loops=4)
    assert not any(path.endswith("market_chart") for path in paths(networked))


async def test_an_error_told_with_status_200_is_kept_whole_and_is_a_failure(time, networked, make):
    body = b'{"status":{"error_code":1020,"error_message":"Access denied"}}'
    networked.answer = lambda _request: (200, {}, body)
    source = make()
    batches = await time.run(source, LocalTape(), 1.0, loops=5)
    assert {frame for batch in batches for frame in batch.frames} == {body}
    assert "Access denied" in source.status().last_error


async def test_too_many_requests_quiets_every_question_and_says_so(time, networked, make):
    told = b'{"status":{"error_code":429,"error_message":"You have exceeded the Rate Limit"}}'
    networked.answer = lambda _request: (429, {"Retry-After": "600"}, told)
    source = make()
    await time.run(source, LocalTape(), 500.0, loops=5)
    assert len(networked.asked) <= 4  # those that left together
    assert source.status().state == "limited"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error": "Missing parameter ids"}', "Missing parameter ids"),
        (b'{"status": {"error_code": 429, "error_message": "Too fast"}}', "Too fast"),
        (b'{"error": {"status": {"error_code": 10005, "error_message": "Not in your plan"}}}', "Not in your plan"),
        (
            b'{"timestamp": "x", "error_code": 10010, "status": {"error_message": "Use the pro address"}}',
            "Use the pro address",
        ),
        (b"<html>", ""),
        (b"[]", ""),
        (b'{"error": null}', ""),
        (b'{"error":' * 5000, ""),
    ],
)
def test_an_error_is_read_in_each_of_its_shapes(body, says):
    assert explain(body) == says
