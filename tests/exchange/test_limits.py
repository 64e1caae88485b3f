"""Requests have weights; too much of them is refused, and who does not listen is banned."""

from dataclasses import replace

import pytest

from tapehouse.exchange.limits import Weights
from tapehouse.exchange.main import running_exchange


@pytest.mark.parametrize(
    ("path", "parameters", "weight"),
    [
        ("/ping", {}, 1),
        ("/exchangeInfo", {}, 20),
        ("/trades", {"symbol": "BTCUSDT"}, 25),
        ("/historicalTrades", {"symbol": "BTCUSDT"}, 25),
        ("/aggTrades", {"symbol": "BTCUSDT"}, 4),
        ("/klines", {"symbol": "BTCUSDT", "interval": "1m"}, 2),
        ("/klines", {"symbol": "NOPEUSDT", "interval": "1m"}, 2),
        ("/ticker/24hr", {}, 80),
        ("/ticker/24hr", {"symbol": "BTCUSDT"}, 2),
    ],
)
async def test_each_request_weighs_what_is_documented(rest, path, parameters, weight):
    response = await rest.get(f"/api/v3{path}", params=parameters)
    assert response.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


async def test_too_much_weight_is_429_with_the_time_to_wait(options, asking):
    async with running_exchange(replace(options, weight_limit=10)) as exchange, asking(exchange) as rest:
        assert (await rest.get("/api/v3/ping")).status_code == 200
        refused = await rest.get("/api/v3/exchangeInfo")
    assert refused.status_code == 429
    assert refused.json()["code"] == -1003
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert int(refused.headers["X-MBX-USED-WEIGHT-1M"]) >= 20


async def test_who_does_not_listen_to_429_is_banned_with_418(options, asking):
    async with running_exchange(replace(options, weight_limit=0)) as exchange, asking(exchange) as rest:
        answers = [await rest.get("/api/v3/ping") for _ in range(25)]
    statuses = [response.status_code for response in answers]
    banned_at = statuses.index(418)
    assert statuses == [429] * banned_at + [418] * (25 - banned_at)
    assert banned_at >= 10
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 121


def test_weights_are_added_up_by_address_and_forgotten_with_the_minute():
    now = [600.0]
    weights = Weights(limit=50, clock=lambda: now[0])
    assert [weights.charge("one", 20).used for _ in range(2)] == [20, 40]
    assert weights.charge("other", 20).used == 20
    now[0] = 645.0
    refused = weights.charge("one", 20)
    assert (refused.status, refused.used, refused.retry_after) == (429, 60, 16)
    now[0] = 660.0
    assert weights.charge("one", 20).status == 200


def test_a_ban_outlasts_the_minute_and_ends():
    now = [600.0]
    weights = Weights(limit=0, clock=lambda: now[0])
    assert [weights.charge("one", 1).status for _ in range(11)] == [429] * 10 + [418]
    now[0] = 719.0
    assert weights.charge("one", 1).status == 418
    now[0] = 720.5
    assert weights.charge("one", 1).status == 429
