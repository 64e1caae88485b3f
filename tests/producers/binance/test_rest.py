"""REST against real servers: bytes kept, addresses in order, limits obeyed by all, refusals typed and explained."""

import asyncio
import socket
import time
from contextlib import suppress

import pytest
import structlog

from tapehouse.errors import NotOfferedError, RateLimitedError, UpstreamError
from tapehouse.producers.binance import rest as rest_module
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.endpoints import Endpoints
from tapehouse.producers.binance.rest import BinanceRest, kline_opened_at


@pytest.fixture
async def make_rest(tmp_path):
    made = []

    def make(*addresses, **options):
        made.append(BinanceRest(Endpoints(addresses), Budget(tmp_path / "budget.json"), **options))
        return made[-1]

    yield make
    for rest in made:
        await rest.close()


@pytest.fixture
def budget(tmp_path) -> Budget:
    return Budget(tmp_path / "budget.json")


async def test_rows_are_the_very_bytes_of_the_answer(exchange, make_rest):
    exchange.answer("historicalTrades", b'[{"id":1, "price":"1.00"},{"id":2,"price":"9.10",\n"new":[{}]}]')
    rows = await make_rest(exchange.rest).historical_trades("BTCUSDT", 1, 2)
    assert rows == [b'{"id":1, "price":"1.00"}', b'{"id":2,"price":"9.10",\n"new":[{}]}']
    assert exchange.asked == [("historicalTrades", {"symbol": "BTCUSDT", "fromId": "1", "limit": "2"})]


async def test_every_path_asks_as_binance_documents(exchange, make_rest):
    for path in ("trades", "aggTrades", "klines"):
        exchange.answer(path, [])
    rest = make_rest(exchange.rest)
    await rest.recent_trades("BTCUSDT")
    await rest.agg_trades("BTCUSDT", 7)
    await rest.agg_trades_since("BTCUSDT", 1700000000000)
    await rest.klines("BTCUSDT", "1m", 60000, 119999)
    assert exchange.asked == [
        ("trades", {"symbol": "BTCUSDT", "limit": "1000"}),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "7", "limit": "1000"}),
        ("aggTrades", {"symbol": "BTCUSDT", "startTime": "1700000000000", "limit": "1000"}),
        (
            "klines",
            {"symbol": "BTCUSDT", "interval": "1m", "startTime": "60000", "endTime": "119999", "limit": "1000"},
        ),
    ]


async def test_the_exchange_rules_are_read_and_the_budget_learns_its_limit(exchange, make_rest, budget):
    exchange.answer(
        "exchangeInfo",
        {
            "timezone": "UTC",
            "rateLimits": [
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1234},
            ],
            "symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "filters": []}],
        },
    )
    rules = await make_rest(exchange.rest).exchange_info()
    assert [(pair.symbol, pair.status) for pair in rules.symbols] == [("BTCUSDT", "TRADING")]
    assert budget.usage(time.time()).weight_limit == 1234


async def test_the_weight_the_exchange_tells_is_believed(exchange, make_rest, budget):
    exchange.answer("time", {"serverTime": 1}, **{"X-MBX-USED-WEIGHT-1M": "3210"})
    assert await make_rest(exchange.rest).server_time() == 1
    assert budget.usage(time.time()).weight in {3210, 0}  # 0 when the minute turned in between


async def test_a_spent_budget_sends_nothing_and_says_how_long(exchange, make_rest, budget):
    exchange.answer("time", {"serverTime": 1})
    budget.ban(30.0, time.time())
    with pytest.raises(RateLimitedError) as refusal:
        await make_rest(exchange.rest).server_time()
    assert 25.0 < refusal.value.retry_after <= 30.0
    assert exchange.asked == []


async def test_patience_waits_for_the_budget(exchange, make_rest, budget):
    exchange.answer("klines", [])
    budget.ban(0.2, time.time())
    assert await make_rest(exchange.rest).klines("BTCUSDT", "1m", 0, 1, patience=5.0) == []


@pytest.mark.parametrize("status", [429, 418])
async def test_too_many_requests_stops_every_caller_for_as_long_as_the_exchange_asks(
    open_exchange, make_rest, budget, status
):
    angry, other = await open_exchange(), await open_exchange()
    angry.answers["time"] = lambda _query: (status, {"Retry-After": "120"}, {"code": -1003})
    other.answer("time", {"serverTime": 1})
    rest = make_rest(angry.rest, other.rest)
    with pytest.raises(RateLimitedError) as refusal:
        await rest.server_time()
    assert refusal.value.retry_after == 120.0
    with pytest.raises(RateLimitedError):
        await make_rest(other.rest).server_time()
    assert (len(angry.asked), len(other.asked)) == (1, 0)
    assert budget.usage(time.time()).banned_until > time.time() + 100


async def test_addresses_are_tried_in_order_and_one_that_fails_is_passed_over(open_exchange, make_rest):
    broken, good = await open_exchange(), await open_exchange()
    broken.answers["time"] = lambda _query: (502, {}, "bad gateway")
    good.answer("time", {"serverTime": 5})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    rest = make_rest(nobody, broken.rest, good.rest)
    assert [await rest.server_time(), await rest.server_time()] == [5, 5]
    assert (rest.endpoints.in_use, len(broken.asked), len(good.asked)) == (good.rest, 1, 2)


@pytest.mark.parametrize(("status", "said"), [(451, "region"), (403, "firewall")])
async def test_a_refused_region_and_a_firewall_are_explained(exchange, make_rest, status, said):
    exchange.answers["time"] = lambda _query: (status, {}, {})
    with structlog.testing.capture_logs() as logs, pytest.raises(UpstreamError, match=said):
        await make_rest(exchange.rest).server_time()
    assert any("TAPEHOUSE_BINANCE_REST_URL" in line.get("what_to_do", "") for line in logs)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_an_address_without_historical_trades_is_not_asked_for_them_again(exchange, make_rest, status):
    exchange.answers["historicalTrades"] = lambda _query: (status, {}, {})
    exchange.answer("time", {"serverTime": 5})
    rest = make_rest(exchange.rest)
    for _ in range(3):
        with pytest.raises(NotOfferedError):
            await rest.historical_trades("BTCUSDT", 1)
    assert await rest.server_time() == 5
    assert [path for path, _ in exchange.asked] == ["historicalTrades", "time"]


async def test_a_request_the_exchange_finds_wrong_is_not_repeated_elsewhere(open_exchange, make_rest):
    first, second = await open_exchange(), await open_exchange()
    first.answers["klines"] = lambda _query: (400, {}, {"code": -1121, "msg": "Invalid symbol."})
    with pytest.raises(UpstreamError, match="Invalid symbol"):
        await make_rest(first.rest, second.rest).klines("NOPE", "1m", 0, 1)
    assert second.asked == []


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"rows":[]}', b"[1,"])
async def test_an_answer_that_is_not_what_binance_documents_is_an_upstream_error(exchange, make_rest, body):
    exchange.answer("trades", body)
    with pytest.raises(UpstreamError, match="not what Binance documents"):
        await make_rest(exchange.rest).recent_trades("BTCUSDT")


async def test_an_answer_that_drips_is_given_up(open_exchange, make_rest, monkeypatch):
    monkeypatch.setattr(rest_module, "WHOLE_ANSWER_WITHIN", 0.2)

    dripped = asyncio.Event()

    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        dripped.set()

    dripping = await asyncio.start_server(drip, "127.0.0.1", 0)
    good = await open_exchange()
    good.answer("time", {"serverTime": 5})
    port = dripping.sockets[0].getsockname()[1]
    assert await make_rest(f"http://127.0.0.1:{port}", good.rest).server_time() == 5
    await asyncio.wait_for(dripped.wait(), 20)
    dripping.close()


async def test_an_answer_beyond_the_bound_is_refused(exchange, make_rest, monkeypatch):
    monkeypatch.setattr(rest_module, "LARGEST_ANSWER", 1000)
    exchange.answer("trades", b"[" + b" " * 2000 + b"]")
    with pytest.raises(UpstreamError, match="larger than 1000 bytes"):
        await make_rest(exchange.rest).recent_trades("BTCUSDT")


def test_a_kline_tells_its_open_time():
    assert kline_opened_at(b'[1499040000000,"0.01634790","0.8"]') == 1499040000000
    for wrong in (b"[]", b'["1"]', b"{}", b"x"):
        with pytest.raises(UpstreamError):
            kline_opened_at(wrong)
