"""A shard against real servers: whatever ends its connection, every trade comes at least once."""

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
import structlog
from websockets.exceptions import ConnectionClosed

from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.dial import Backoff, Dialer
from tapehouse.producers.binance.endpoints import Endpoints
from tapehouse.producers.binance.stream import Pace, Shard, stream_path
from tapehouse.tape.local import LocalTape

QUICK = {
    "backoff": Backoff(first=0.01, longest=0.05),
    "overlap": 0.02,
    "first_frame_within": 0.5,
    "farewell_within": 1.0,
    "roll_over_jitter": 0.0,
}


@pytest.fixture
def make_shard(tmp_path):
    def make(*addresses, symbols=("BTCUSDT",), **pace):
        clock = ArrivalClock()
        dialer = Dialer(Endpoints(addresses), Budget(tmp_path / "budget.json"), clock)
        return Shard("one", symbols, dialer, clock, Pace(**{**QUICK, **pace}))

    return make


@asynccontextmanager
async def running(shard, reading):
    task = asyncio.create_task(shard.run(reading.tape))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


def ids(frames):
    return [json.loads(frame).get("data", {}).get("t") for frame in frames]


def test_the_path_names_trades_and_klines_of_each_symbol_and_nothing_else():
    expected = "/stream?streams=btcusdt@trade/btcusdt@kline_1m/ethusdt@trade/ethusdt@kline_1m"
    assert stream_path(["BTCUSDT", "ETHUSDT"]) == expected


async def test_the_streams_are_asked_for_in_the_address(exchange, reading, make_shard, eventually):
    async with running(make_shard(exchange.ws, symbols=("BTCUSDT", "ETHUSDT")), reading):
        await eventually(lambda: exchange.stream_paths)
    assert exchange.stream_paths == [stream_path(["BTCUSDT", "ETHUSDT"])]


@pytest.mark.parametrize("farewell", ["cut", "close"])
async def test_it_comes_back_after_a_connection_ends(exchange, reading, trade, make_shard, farewell):
    def play(first):
        async def send(connection):
            for ident in range(first, first + 3):
                await connection.send(trade(ident))
            if farewell == "cut":
                connection.transport.close()

        return send

    exchange.plays += [play(1), play(4), play(7)]
    shard = make_shard(exchange.ws)
    async with running(shard, reading):
        frames = await reading.until(lambda frames: len(frames) == 9)
        assert ids(frames) == list(range(1, 10))
        assert shard.status().attempts >= 3


async def test_a_roll_over_loses_nothing_and_the_old_connection_goes_after_the_new_one_delivers(
    exchange, reading, trade, make_shard
):
    numbers, open_at_once, delivering, enough = count(1), [], set(), asyncio.Event()

    async def feed():
        while not enough.is_set():
            ident = next(numbers)
            for connection in list(delivering):
                with suppress(ConnectionClosed):
                    await connection.send(trade(ident))
            await asyncio.sleep(0.001)
        return ident

    async def play(connection):
        delivering.add(connection)
        open_at_once.append(len(delivering))
        await connection.wait_closed()
        delivering.discard(connection)

    exchange.plays += [play] * 200
    feeding = asyncio.create_task(feed())
    async with running(make_shard(exchange.ws, roll_over_after=0.1), reading):
        await reading.until(lambda _: len(open_at_once) >= 4)
        enough.set()
        last = await feeding
        await reading.until(lambda frames: last in ids(frames))
    seen = sorted(set(ids(reading.frames)))
    assert seen == list(range(seen[0], seen[-1] + 1))
    assert max(open_at_once) == 2


@pytest.mark.parametrize(
    "farewell",
    [
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        '{"e":"serverShutdown","E":1770123456789}',
        '{"data": {"E": 1770123456789, "e": "serverShutdown"}, "stream": "btcusdt@trade"}',
    ],
)
async def test_a_farewell_of_the_server_brings_a_new_connection_before_the_old_one_ends(
    exchange, reading, trade, make_shard, farewell
):
    closed_first = []
    succeeded = asyncio.Event()

    async def first(connection):
        await connection.send(trade(1))
        await connection.send(farewell)
        await succeeded.wait()
        await connection.send(trade(2))
        await connection.wait_closed()
        closed_first.append("old")

    async def second(connection):
        succeeded.set()
        await connection.send(trade(2))
        await connection.wait_closed()
        closed_first.append("new")

    exchange.plays += [first, second]
    shard = make_shard(exchange.ws)
    async with running(shard, reading):
        await reading.until(lambda _: closed_first)
        assert closed_first == ["old"]
        assert shard.status().connected
    assert {1, 2} <= set(ids(reading.frames))
    assert farewell.encode() in reading.frames


async def test_a_successor_that_dies_at_once_does_not_take_over(exchange, reading, trade, make_shard):
    ended = []

    async def first(connection):
        await connection.send('{"e":"serverShutdown"}')
        await connection.wait_closed()
        ended.append("first")

    async def dead(connection):
        ended.append("dead")
        connection.transport.abort()

    async def last(connection):
        await connection.send(trade(7))
        await connection.wait_closed()

    exchange.plays += [first, dead, dead, last]
    async with running(make_shard(exchange.ws), reading):
        await reading.until(lambda _: "first" in ended)
    assert ended == ["dead", "dead", "first"]
    assert trade(7).encode() in reading.frames


async def test_silence_ends_a_connection_and_the_next_address_is_tried(open_exchange, reading, trade, make_shard):
    silent, lively = await open_exchange(), await open_exchange()

    async def play(connection):
        while True:
            await connection.send(trade(1))
            await asyncio.sleep(0.01)

    lively.plays.append(play)
    shard = make_shard(silent.ws, lively.ws, idle_after=0.15)
    async with running(shard, reading):
        await reading.until(lambda frames: len(frames) > 3)
        assert (shard.status().endpoint, len(silent.stream_paths)) == (lively.ws, 1)
        assert "no message for 0.15 s" in shard.status().last_error


async def test_addresses_are_tried_in_order_and_the_one_in_use_is_recorded(
    open_exchange, reading, make_shard, eventually
):
    refusing, good = await open_exchange(), await open_exchange()
    refusing.refusals = [(451, {}, {}), (403, {}, {})]
    shard = make_shard("ws://127.0.0.1:1", refusing.ws, good.ws)
    with structlog.testing.capture_logs() as logs:
        async with running(shard, reading):
            await eventually(lambda: shard.status().connected)
            assert shard.status().endpoint == good.ws
    refused = [line for line in logs if line["event"] == "connection_refused"]
    assert [line["endpoint"] for line in refused] == ["ws://127.0.0.1:1", refusing.ws]
    assert "region" in refused[1]["what_to_do"]
    assert "TAPEHOUSE_BINANCE_WS_URL" in refused[1]["what_to_do"]


async def test_too_many_requests_on_the_handshake_is_a_ban_that_is_waited_for(
    exchange, reading, make_shard, tmp_path, eventually
):
    exchange.refusals = [(418, {"Retry-After": "900"}, {})]
    shard = make_shard(exchange.ws)
    async with running(shard, reading):
        await eventually(lambda: "banned" in shard.status().last_error)
        assert not shard.status().connected
    assert len(exchange.stream_paths) == 1
    assert Budget(tmp_path / "budget.json").attempt(time.time()) > 800


async def test_a_server_that_refuses_for_ever_is_not_hammered(exchange, reading, make_shard, eventually):
    exchange.refusals = [(500, {}, {})] * 1000
    shard = make_shard(exchange.ws, backoff=Backoff(first=0.0001, longest=0.0001))
    with structlog.testing.capture_logs() as logs:
        async with running(shard, reading):
            await eventually(lambda: any(line["event"] == "connection_attempts_wait" for line in logs))
    assert len(exchange.stream_paths) == 240


async def test_a_symbol_whose_klines_stay_away_is_told_and_gets_one_new_connection(
    exchange, reading, make_shard, eventually
):
    kline = json.dumps({"stream": "ethusdt@kline_1m", "data": {"e": "kline", "s": "ETHUSDT", "pad": "x" * 300}})

    async def play(connection):
        while True:
            await connection.send(kline)
            await asyncio.sleep(0.01)

    exchange.plays += [play] * 5
    shard = make_shard(exchange.ws, symbols=("BTCUSDT", "ETHUSDT"), stalled_after=0.2)
    async with running(shard, reading):
        await eventually(lambda: len(exchange.stream_paths) == 2)
        for _ in range(3):
            await eventually(lambda: shard.status().stalled == ("BTCUSDT",))
            await asyncio.sleep(0.2)
    assert len(exchange.stream_paths) == 2


async def test_a_symbol_is_not_taken_for_stalled_while_a_full_tape_keeps_us_from_reading(
    exchange, trade, make_shard, eventually
):
    async def play(connection):
        for ident in count():
            await connection.send(trade(ident))
            await asyncio.sleep(0.001)

    exchange.plays.append(play)
    tape = LocalTape(most_frames=1)
    shard = make_shard(exchange.ws, stalled_after=0.3)
    run = asyncio.create_task(shard.run(tape))
    await eventually(lambda: tape.waits == 1)
    while_full = [shard.stalled() for _ in range(50) if not await asyncio.sleep(0.01)]
    run.cancel()
    await asyncio.wait([run])
    assert not any(while_full)
    assert len(exchange.stream_paths) == 1


async def test_a_connection_that_delivers_counts_as_open_while_its_successor_is_refused(
    exchange, reading, trade, make_shard, eventually
):
    async def play(connection):
        await connection.send('{"e":"serverShutdown"}')
        while True:
            await connection.send(trade(1))
            await asyncio.sleep(0.01)

    exchange.plays.append(play)
    exchange.refusals = [None] + [(500, {}, {})] * 1000
    shard, states = make_shard(exchange.ws), set()
    async with running(shard, reading):
        await eventually(lambda: shard.status().connected)
        await eventually(lambda: states.add(shard.status().state) or shard.status().attempts > 3)
    assert states == {"open"}


async def test_frames_that_are_anything_at_all_pass_through(exchange, reading, make_shard):
    odd = ["", "x", '{"stream":5,"data":"x"}', '{"stream":"a@kline_1m","data":[1]}', b"\xff\xfe", "[]", "null", '"e"']

    async def play(connection):
        for message in odd:
            await connection.send(message)
        await connection.wait_closed()

    exchange.plays.append(play)
    async with running(make_shard(exchange.ws), reading):
        frames = await reading.until(lambda frames: len(frames) == len(odd))
    assert frames == [message.encode() if isinstance(message, str) else message for message in odd]


async def test_cancelling_ends_it_at_once_and_leaves_no_task(exchange, reading, trade, make_shard):
    async def play(connection):
        await connection.send(trade(1))
        await connection.wait_closed()

    exchange.plays.append(play)
    async with running(make_shard(exchange.ws), reading):
        await reading.until(lambda frames: len(frames) == 1)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("binance")]


def test_the_back_off_is_random_grows_and_is_bounded():
    backoff = Backoff(first=0.5, longest=30.0)
    assert backoff.wait(0) == 0.0
    assert all(backoff.wait(1) <= 0.5 for _ in range(100))
    longest = max(backoff.wait(1000) for _ in range(1000))
    assert 15.0 < longest <= 30.0
    assert len({backoff.wait(5) for _ in range(100)}) > 90
