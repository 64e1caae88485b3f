"""The source as a whole: named symbols at once, patterns when listed, and a status that tells what is going on."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest

from tapehouse.ports import Hole
from tapehouse.producers.binance import source as source_module
from tapehouse.producers.binance.dial import Backoff
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.producers.binance.stream import stream_path
from tapehouse.settings import load_settings


@pytest.fixture
async def make_source(exchange, tmp_path, monkeypatch):
    monkeypatch.setattr(source_module, "REST_BACKOFF", Backoff(first=0.01, longest=0.02))
    made = []

    def make(*symbols, ws=None, **options):
        settings = load_settings(
            symbols=",".join(symbols),
            state=tmp_path / "state",
            binance_ws_url=ws or exchange.ws,
            binance_rest_url=exchange.rest,
        )
        made.append(BinanceSource(settings, **options))
        return made[-1]

    yield make
    for source in made:
        await source.close()


@asynccontextmanager
async def running(source, reading):
    task = asyncio.create_task(source.run(reading.tape))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)


def listing(**pairs: str) -> dict[str, object]:
    return {"rateLimits": [], "symbols": [{"symbol": name, "status": status} for name, status in pairs.items()]}


async def test_named_symbols_are_followed_though_rest_is_down(exchange, reading, make_source, trade, eventually):
    async def play(connection):
        await connection.send(trade(1))
        await connection.wait_closed()

    exchange.plays.append(play)
    source = make_source("BTCUSDT", "ETHUSDT")
    async with running(source, reading):
        await reading.until(lambda frames: frames == [trade(1).encode()])
        await eventually(lambda: source.status().notes)
        status = source.status()
    assert exchange.stream_paths == [stream_path(["BTCUSDT", "ETHUSDT"])]
    assert (status.name, status.connected, status.symbols) == ("binance", True, 2)
    assert (status.stream_endpoint, status.connections[0].endpoint) == (exchange.ws, exchange.ws)
    assert status.connections[0].last_message_at == reading.batches[-1].received_at[-1]
    assert "followed unchecked" in status.notes[0]


async def test_a_pattern_takes_the_pairs_that_trade_and_waits_for_rest(exchange, reading, make_source, eventually):
    source = make_source("*USDT")
    async with running(source, reading):
        await eventually(lambda: "holds up *USDT" in "".join(source.status().notes))
        assert exchange.stream_paths == []
        exchange.answer(
            "exchangeInfo", listing(BTCUSDT="TRADING", LUNAUSDT="BREAK", ETHBTC="TRADING", ETHUSDT="TRADING")
        )
        await eventually(lambda: source.status().connected)
        assert source.status().notes == ()
    assert exchange.stream_paths == [stream_path(["BTCUSDT", "ETHUSDT"])]


async def test_what_the_exchange_lists_of_the_symbols_followed_goes_onto_the_tape(exchange, reading, make_source):
    exchange.answer("exchangeInfo", listing(BTCUSDT="TRADING", ETHBTC="TRADING", LUNAUSDT="BREAK"))
    source = make_source("ETHBTC", "*USDT")
    async with running(source, reading):
        await reading.until(lambda frames: len(frames) == 2)
    (batch,) = reading.batches
    assert (batch.shape, batch.symbol) == ("symbols", "binance")
    assert [json.loads(frame)["symbol"] for frame in batch.frames] == ["BTCUSDT", "ETHBTC"]


async def test_a_named_symbol_that_fits_a_pattern_is_followed_once(exchange, reading, make_source, eventually):
    exchange.answer("exchangeInfo", listing(BTCUSDT="TRADING", ETHUSDT="TRADING"))
    source = make_source("ETHUSDT", "*USDT")
    async with running(source, reading):
        await eventually(lambda: len(source.status().connections) == 2 and source.status().connected)
    assert sorted(exchange.stream_paths) == sorted([stream_path(["ETHUSDT"]), stream_path(["BTCUSDT"])])


async def test_many_symbols_are_spread_over_connections(exchange, reading, make_source, eventually):
    names = [f"A{number:03}USDT" for number in range(250)]
    exchange.answer("exchangeInfo", listing(**dict.fromkeys(names, "TRADING")))
    source = make_source("*USDT")
    async with running(source, reading):
        await eventually(lambda: source.status().connected)
        assert [each.symbols for each in source.status().connections] == [100, 100, 50]
    asked = {name for path in exchange.stream_paths for name in path.partition("=")[2].split("/")}
    assert len(asked) == 500
    assert max(map(len, exchange.stream_paths)) < 8000


async def test_a_pair_listed_later_is_followed_from_then_on(exchange, reading, make_source, eventually, monkeypatch):
    monkeypatch.setattr(source_module, "SYMBOLS_EVERY", 0.02)
    exchange.answer("exchangeInfo", listing(BTCUSDT="TRADING"))
    source = make_source("*USDT")
    async with running(source, reading):
        await eventually(lambda: source.status().symbols == 1)
        exchange.answer("exchangeInfo", listing(BTCUSDT="TRADING", NEWUSDT="TRADING"))
        await eventually(lambda: source.status().symbols == 2)
    assert exchange.stream_paths.count(stream_path(["BTCUSDT"])) == 1


async def test_a_symbol_that_does_not_exist_is_explained(exchange, reading, make_source, eventually):
    exchange.answer("exchangeInfo", listing(BTCUSDT="TRADING"))
    source = make_source("BTCUSDT", "NOPEUSDT")
    async with running(source, reading):
        await eventually(lambda: source.status().notes)
        assert "NOPEUSDT does not exist" in source.status().notes[0]


async def test_the_status_tells_the_clock_offset_and_the_weight(exchange, reading, make_source, eventually):
    exchange.answer("exchangeInfo", listing(BTCUSDT="TRADING"))
    exchange.answer("time", {"serverTime": 0}, **{"X-MBX-USED-WEIGHT-1M": "41"})
    source = make_source("BTCUSDT")
    assert source.status().clock_offset is None
    async with running(source, reading):
        await eventually(lambda: source.status().clock_offset is not None)
        status = source.status()
    assert status.clock_offset < -1_000_000_000
    assert (status.rest_endpoint, status.weight_limit) == (exchange.rest, 6000)


async def test_a_source_without_a_network_says_why(reading, make_source, eventually):
    source = make_source("BTCUSDT", ws="ws://127.0.0.1:1")
    async with running(source, reading):
        await eventually(lambda: source.status().last_error)
        status = source.status()
    assert not status.connected
    assert "ws://127.0.0.1:1" in status.last_error


async def test_klines_of_any_span_are_fetched_page_by_page(exchange, make_source):
    minute = 60_000

    def klines(query):
        first, last = int(query["startTime"]), int(query["endTime"])
        opened = range(-(-first // minute) * minute, last + 1, minute)
        return 200, {}, [[at, "1.0"] for at in opened[: int(query["limit"])]]

    exchange.answers["klines"] = klines
    rows = await make_source("BTCUSDT").klines("BTCUSDT", 0, 2500 * minute * 1000)
    assert [json.loads(row)[0] for row in rows] == [number * minute for number in range(2500)]
    assert await make_source("BTCUSDT").klines("BTCUSDT", 1, 60_000_000) == []


async def test_a_hole_is_repaired_through_the_source(exchange, reading, make_source):
    exchange.answer("historicalTrades", [{"id": 5}, {"id": 6}])
    source = make_source("BTCUSDT")
    assert await source.repair(Hole("BTCUSDT", 5, 6, after=1, before=2), reading.tape)
    assert reading.frames == [b'{"id":5}', b'{"id":6}']
    assert source.repairs_wait == 0.0


async def test_arrival_times_begin_no_earlier_than_the_floor(exchange, reading, make_source, trade):
    floor = 4_000_000_000_000_000

    async def play(connection):
        await connection.send(trade(1))
        await connection.wait_closed()

    exchange.plays.append(play)
    async with running(make_source("BTCUSDT", floor=floor), reading):
        await reading.until(lambda frames: len(frames) == 1)
    assert reading.batches[0].received_at == [floor]


async def test_the_same_source_can_be_run_again(reading, make_source, eventually):
    source = make_source("BTCUSDT")
    for _ in range(2):
        async with running(source, reading):
            await eventually(lambda: source.status().connected)
    assert len(source.status().connections) == 1
