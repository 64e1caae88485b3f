"""The levers of the exchange: orders over HTTP, carried out while it runs."""

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tapehouse.exchange.faults import FaultSettings


async def test_faults_are_set_while_it_runs_and_only_those_named_change(exchange, rest, reading):
    async with reading(exchange, "/ws/btcusdt@trade") as reader:
        await reader.take(100)
        answer = await rest.post("/_exchange/faults", json={"drop": 1.0, "delay_ms": 7})
        assert answer.status_code == 200
        shown = (await rest.get("/_exchange")).json()["faults"]
        assert (shown["drop"], shown["delay_ms"], shown["duplicate"]) == (1.0, 7.0, 0.0)
        await rest.post("/_exchange/faults", json={"drop": 0, "extra_field": 1})
        trades = await reader.take(1, lambda trade: "zz" in trade)
        assert trades[0]["e"] == "trade"
        assert exchange.faults.counts["drop"] > 0
        await rest.post("/_exchange/faults", json={"clear": True})
        assert exchange.faults.settings == FaultSettings()


@pytest.mark.parametrize(
    "order",
    [
        {"drop": 2},
        {"drop": "often"},
        {"nonsense": 1},
        {"delay_ms": -1},
        {"refuse": {"requests": 1}},
        {"refuse": {"status": 77}},
        {"refuse": {"status": 429, "on": "everything"}},
        {"refuse": {"status": 429, "requests": -1}},
        {"refuse": {"status": 200}},
        {"refuse": {"status": 429}, "drop": 2},
        [],
    ],
)
async def test_an_order_that_is_none_is_refused_and_changes_nothing(exchange, rest, order):
    answer = await rest.post("/_exchange/faults", json=order)
    assert answer.status_code == 422
    assert answer.json()["error"]
    assert exchange.faults.settings == FaultSettings()
    assert (await rest.get("/api/v3/ping")).status_code == 200


async def test_an_order_is_carried_out_as_a_whole_or_not_at_all(exchange, rest):
    exchange.faults.set(duplicate=0.5)
    assert (await rest.post("/_exchange/faults", json={"clear": True, "drop": 2})).status_code == 422
    assert exchange.faults.settings == FaultSettings(duplicate=0.5)


async def test_connections_are_cut_and_the_shutdown_announced_on_request(exchange, rest, reading):
    async with reading(exchange, "/ws") as reader:
        await reader.command("LIST_SUBSCRIPTIONS")
        await rest.post("/_exchange/faults", json={"server_shutdown": True})
        assert (await reader.next())["e"] == "serverShutdown"
        await rest.post("/_exchange/faults", json={"cut_now": True})
        with pytest.raises(ConnectionClosed):
            await reader.next()
    assert exchange.faults.counts == {"server_shutdown": 1, "cut": 1}


@pytest.mark.parametrize(("status", "code"), [(429, -1003), (418, -1003), (451, 0), (403, 0)])
async def test_so_many_requests_are_refused_and_the_next_is_served(exchange, rest, status, code):
    order = {"refuse": {"status": status, "requests": 2, "retry_after": 7}}
    assert (await rest.post("/_exchange/faults", json=order)).status_code == 200
    answers = [await rest.get("/api/v3/ping") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", "7", None]
    assert answers[0].json()["code"] == code
    assert exchange.faults.counts[f"refused_{status}"] == 2


async def test_handshakes_are_refused_and_rest_is_not(exchange, rest, reading):
    order = {"refuse": {"status": 429, "requests": 1, "retry_after": 3, "on": "streams"}}
    await rest.post("/_exchange/faults", json=order)
    assert (await rest.get("/api/v3/ping")).status_code == 200
    with pytest.raises(InvalidStatus) as refused:
        await reading(exchange, "/ws").__aenter__()
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers["Retry-After"] == "3"
    async with reading(exchange, "/ws") as reader:
        assert (await reader.command("LIST_SUBSCRIPTIONS"))["result"] == []
