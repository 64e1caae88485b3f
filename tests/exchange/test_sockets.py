"""A connection keeps the exchange's rules: pings, five messages a second, 1024 streams, a day, reading in time."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tapehouse.exchange.main import running_exchange
from tapehouse.exchange.sockets import SocketRules

WITHIN = 20.0


@asynccontextmanager
async def bare_connection(exchange, target: str):
    """A connection that does by itself nothing at all: no pong, no reading."""
    reader, writer = await asyncio.open_connection("127.0.0.1", exchange.port, limit=1024)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    writer.write(
        f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    try:
        yield reader
    finally:
        writer.transport.abort()


async def talk_without_end(reader, command: str) -> None:
    while True:
        await reader.socket.send(command)
        await reader.next()


async def test_who_answers_no_ping_is_closed_and_who_answers_stays(options, eventually, reading):
    rules = SocketRules(ping_every=0.1, pong_within=1.0, messages_a_second=1000)
    async with running_exchange(replace(options, socket_rules=rules)) as exchange:
        async with reading(exchange, "/ws") as polite, bare_connection(exchange, "/ws") as silent:
            heard = await asyncio.wait_for(silent.read(-1), WITHIN)
            assert exchange.faults.counts["pong_missed"] == 1
            assert b"Pong timeout" in heard
            assert b"\x89\x0d" in heard  # a ping that holds thirteen digits: the time in milliseconds
            assert (await polite.command("LIST_SUBSCRIPTIONS"))["result"] == []
        await eventually(lambda: len(exchange.floor.audience) == 0)


async def test_a_connection_ends_with_its_day(options, reading):
    rules = SocketRules(lifetime=0.05)
    async with running_exchange(replace(options, socket_rules=rules)) as exchange, reading(exchange, "/ws") as reader:
        await asyncio.wait_for(reader.socket.wait_closed(), WITHIN)
        assert (reader.socket.close_code, reader.socket.close_reason) == (1001, "24 hours")


async def test_five_messages_at_once_are_answered_and_many_more_end_the_connection(exchange, reading):
    command = json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    async with reading(exchange, "/ws") as reader:
        for _ in range(5):
            await reader.socket.send(command)
        assert [(await reader.next())["result"] for _ in range(5)] == [[]] * 5
    async with reading(exchange, "/ws") as reader:
        with pytest.raises(ConnectionClosed) as closed:
            await talk_without_end(reader, command)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Too many requests")
    assert exchange.faults.counts["talkative_client_closed"] == 1


async def test_a_connection_may_have_1024_streams_and_not_one_more(exchange, reading):
    names = [f"c{number}usdt@trade" for number in range(1024)]
    async with reading(exchange, "/ws") as reader:
        assert (await reader.command("SUBSCRIBE", *names))["result"] is None
        assert "error" in await reader.command("SUBSCRIBE", "btcusdt@trade")
        assert len((await reader.command("LIST_SUBSCRIPTIONS"))["result"]) == 1024
    short = "/".join(f"{number:x}@t" for number in range(1025))
    async with reading(exchange, f"/stream?streams={short}") as reader:
        await asyncio.wait_for(reader.socket.wait_closed(), WITHIN)
        assert (reader.socket.close_code, reader.socket.close_reason) == (1008, "Too many streams")


async def test_a_handshake_of_more_than_8_kilobytes_is_refused_as_too_long(exchange):
    names = "/".join(f"coin{number}usdt@kline_1m" for number in range(500))
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{exchange.ws_url}/stream?streams={names}")
    assert refused.value.response.status_code == 414


async def test_other_paths_are_not_found(exchange):
    with pytest.raises(InvalidStatus) as refused:
        await connect(exchange.ws_url + "/elsewhere")
    assert refused.value.response.status_code == 404


async def test_who_does_not_read_is_cut_and_counted_and_the_others_lose_nothing(options, reading, eventually):
    fast = replace(options, speed=200.0, socket_rules=SocketRules(most_unread=100_000))
    async with (
        running_exchange(fast) as exchange,
        bare_connection(exchange, "/ws/btcusdt@trade/ethusdt@trade/bnbusdt@trade"),
        reading(exchange, "/ws/btcusdt@trade") as reader,
    ):
        first = (await reader.next())["t"]
        ids = []
        while not exchange.faults.counts["slow_client_cut"]:
            ids += [trade["t"] for trade in await reader.take(100)]
        await eventually(lambda: len(exchange.floor.audience) == 1)
    assert ids == list(range(first + 1, first + 1 + len(ids)))
    assert exchange.faults.counts["slow_client_cut"] == 1


async def test_before_the_shutdown_of_the_server_clients_are_told(exchange, reading):
    async with reading(exchange, "/stream") as combined, reading(exchange, "/ws") as plain:
        await combined.command("LIST_SUBSCRIPTIONS")
        await plain.command("LIST_SUBSCRIPTIONS")
        exchange.announce_shutdown()
        wrapped = await combined.next()
        assert wrapped["stream"] == "!serverShutdown"
        assert wrapped["data"] == await plain.next() == {"e": "serverShutdown", "E": exchange.playhead // 1000}
