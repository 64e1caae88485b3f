"""Each fault does what it says and only that; REST tells the truth meanwhile."""

import asyncio
import json
import re
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from websockets.exceptions import ConnectionClosed

from tapehouse.errors import ConfigError
from tapehouse.exchange.faults import Faults, Refusal, parse_faults
from tapehouse.exchange.main import running_exchange

MINUTE = 60_000_000
DECIMAL = re.compile(r"\d{1,12}\.\d{8}", re.ASCII)
WITHIN = 20.0


@pytest.fixture
def trades_to_come(begins_at, as_stream_trades):
    """The BTCUSDT trade messages of an exchange without faults, from its first one on."""

    def expected(exchange, count: int) -> list[dict]:
        rows = exchange.tape.between(begins_at, begins_at + 5 * MINUTE)
        return as_stream_trades(rows.filter(pl.col("symbol") == "BTCUSDT").head(count))

    return expected


@pytest.fixture
def spoiled(options, reading):
    """Run an exchange with faults and read so many BTCUSDT trades' frames: (exchange, frames)."""

    async def run(count: int, *faults: str, tape=None, seed: int = 7):
        chosen = replace(options, faults=faults, seed=seed)
        async with (
            running_exchange(chosen, tape=tape) as exchange,
            reading(exchange, "/ws/btcusdt@trade") as reader,
        ):
            return exchange, [await asyncio.wait_for(reader.socket.recv(), WITHIN) for _ in range(count)]

    return run


def decoded(frames: list[str]) -> list[dict]:
    return [json.loads(frame) for frame in frames]


def good_trade(frame: str | bytes) -> dict | None:
    """The trade a frame holds, by rules written anew: None when anything about it is not as it should be."""
    try:
        message = json.loads(frame) if isinstance(frame, str) else None
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("e") != "trade":
        return None
    numbers = (message.get("t"), message.get("T"), message.get("E"))
    texts = (message.get("p"), message.get("q"))
    is_good = (
        all(type(number) is int and number > 0 for number in numbers)
        and all(isinstance(text, str) and DECIMAL.fullmatch(text) for text in texts)
        and isinstance(message.get("s"), str)
        and isinstance(message.get("m"), bool)
    )
    return message if is_good else None


async def test_without_faults_the_tape_is_told(spoiled, trades_to_come):
    exchange, frames = await spoiled(500)
    assert decoded(frames) == trades_to_come(exchange, 500)
    assert not exchange.faults.counts


async def test_dropped_messages_are_lost_and_counted_the_others_are_whole_and_in_order(spoiled, trades_to_come):
    exchange, frames = await spoiled(1500, "drop=0.2")
    found = decoded(frames)
    expected = {trade["t"]: trade for trade in trades_to_come(exchange, 3000)}
    assert all(before["t"] < after["t"] for before, after in pairwise(found))
    assert found == [expected[trade["t"]] for trade in found]
    lost = found[-1]["t"] - min(expected) + 1 - 1500
    assert 250 < lost < 500
    assert exchange.faults.counts["drop"] >= lost
    assert set(exchange.faults.counts) == {"drop"}


async def test_duplicates_come_twice_and_nothing_else_changes(spoiled, trades_to_come):
    exchange, frames = await spoiled(1500, "duplicate=0.2")
    found = decoded(frames)
    once = [found[0], *(after for before, after in pairwise(found) if after != before)]
    assert 150 < len(found) - len(once) < 350
    assert once == trades_to_come(exchange, len(once))


async def test_reordered_messages_all_come_in_another_order(spoiled, trades_to_come):
    exchange, frames = await spoiled(1500, "reorder=0.1")
    found = decoded(frames)
    assert any(before["t"] > after["t"] for before, after in pairwise(found))
    expected = trades_to_come(exchange, 1300)
    assert sorted(found, key=lambda trade: trade["t"])[:1300] == expected
    assert exchange.faults.counts["reorder"] > 50


async def test_delayed_messages_come_later_and_none_is_lost(options, reading, trades_to_come):
    delaying = replace(options, faults=("delay=0.3", "delay_ms=20"))
    async with running_exchange(delaying) as exchange, reading(exchange, "/ws/btcusdt@trade") as reader:
        expected = {trade["t"]: trade for trade in trades_to_come(exchange, 500)}
        found = []
        while not expected.keys() <= {trade["t"] for trade in found}:
            found += await reader.take(100)
    assert any(before["t"] > after["t"] for before, after in pairwise(found))
    ours = [trade for trade in found if trade["t"] in expected]
    assert sorted(ours, key=lambda trade: trade["t"]) == list(expected.values())


async def test_a_malformed_message_is_no_good_trade_and_the_others_are_as_they_were(spoiled, trades_to_come):
    exchange, frames = await spoiled(3000, "malformed=0.3")
    expected = trades_to_come(exchange, 3000)
    bad = 0
    for frame, trade in zip(frames, expected, strict=True):
        good = good_trade(frame)
        assert good in (None, trade)
        bad += good is None
    assert 700 < bad < 1100
    assert any(isinstance(frame, bytes) for frame in frames)


async def test_strangers_come_between_the_trades(spoiled, trades_to_come):
    exchange, frames = await spoiled(1000, "stranger=0.2")
    trades = [message for message in decoded(frames) if message.get("e") == "trade"]
    assert trades == trades_to_come(exchange, len(trades))
    assert 100 < 1000 - len(trades) < 250


async def test_an_extra_field_leaves_the_others_as_they_are(spoiled, trades_to_come):
    exchange, frames = await spoiled(1000, "extra_field=0.5")
    found = decoded(frames)
    extra = [trade.pop("zz", None) for trade in found]
    assert found == trades_to_come(exchange, 1000)
    assert 400 < sum(value is not None for value in extra) < 600


async def test_a_cut_ends_the_connection_without_a_word_after_whole_messages(options, reading, trades_to_come):
    cutting = replace(options, faults=("cut=0.002",))
    async with running_exchange(cutting) as exchange, reading(exchange, "/ws/btcusdt@trade") as reader:
        found = []
        with pytest.raises(ConnectionClosed) as closed:
            await read_into(found, reader)
        assert found == trades_to_come(exchange, len(found))
    assert closed.value.rcvd is None
    assert exchange.faults.counts["cut"] == 1


async def read_into(found: list, reader) -> None:
    while True:
        found.append(await reader.next())


async def test_lost_klines_are_klines_and_no_trades(options, reading, trades_to_come):
    losing = replace(options, faults=("lost_klines=1",))
    async with (
        running_exchange(losing) as exchange,
        reading(exchange, "/ws/btcusdt@trade/btcusdt@kline_1m") as reader,
    ):
        assert await reader.take(2000) == trades_to_come(exchange, 2000)
    assert exchange.faults.counts["lost_klines"] > 0


async def test_a_skewed_clock_shows_in_event_times_and_the_servers_time_only(
    options, reading, asking, trades_to_come, begins_at
):
    skewed = replace(options, faults=("skew_ms=-1270",))
    async with running_exchange(skewed) as exchange, asking(exchange) as rest:
        assert (await rest.get("/api/v3/time")).json() == {"serverTime": begins_at // 1000 - 1270}
        async with reading(exchange, "/ws/btcusdt@trade") as reader:
            found = await reader.take(500)
        assert found == [trade | {"E": trade["T"] - 1270} for trade in trades_to_come(exchange, 500)]


async def test_in_silence_nothing_is_sent_until_it_is_lifted(options, reading, asking, eventually):
    quiet = replace(options, faults=("silence",))
    async with (
        running_exchange(quiet) as exchange,
        asking(exchange) as rest,
        reading(exchange, "/ws/btcusdt@trade") as reader,
    ):
        await eventually(lambda: exchange.faults.counts["silence"] > 1000)
        unheard = exchange.playhead
        assert (await rest.post("/_exchange/faults", json={"clear": True})).status_code == 200
        assert (await reader.next())["T"] >= unheard // 1000


async def test_faults_repeat_with_their_seed_and_differ_with_another(spoiled):
    faults = ("drop=0.1", "duplicate=0.1", "malformed=0.1", "reorder=0.1", "stranger=0.1")
    exchange, first = await spoiled(1000, *faults)
    _, same = await spoiled(1000, *faults, tape=exchange.tape)
    _, other = await spoiled(1000, *faults, tape=exchange.tape, seed=8)
    assert first == same
    assert first != other


def test_a_refusal_of_no_seconds_is_over_at_once_and_one_without_an_end_lasts_until_cleared():
    faults = Faults()
    faults.refuse(Refusal(status=429, seconds=0))
    assert faults.refused("rest") is None
    faults.refuse(Refusal(status=429))
    assert all(faults.refused("rest") for _ in range(100))
    faults.clear()
    assert faults.refused("rest") is None


async def test_while_the_streams_lie_rest_tells_the_truth(options, reading, asking, begins_at):
    lying = replace(options, faults=("drop=0.5", "malformed=0.5", "duplicate=0.5", "reorder=0.5"))
    async with running_exchange(lying) as exchange, asking(exchange) as rest:
        async with reading(exchange, "/ws/btcusdt@trade") as reader:
            for _ in range(1000):
                await reader.socket.recv()
        first = exchange.tape.id_at("BTCUSDT", begins_at)
        asked = {"symbol": "BTCUSDT", "fromId": first, "limit": 1000}
        told = (await rest.get("/api/v3/historicalTrades", params=asked)).json()
        rows = exchange.tape.trades("BTCUSDT", first, first + 999)
    assert [trade["id"] for trade in told] == rows["first_trade_id"].to_list()
    assert [trade["time"] for trade in told] == (rows["traded_at"] // 1000).to_list()
    assert [int(trade["price"].replace(".", "")) for trade in told] == rows["price"].to_list()


def test_faults_are_read_as_the_command_line_gives_them():
    read = parse_faults(["drop=0.25", "skew_ms=-5", "silence"])
    assert (read.drop, read.skew_ms, read.silence) == (0.25, -5, True)


@pytest.mark.parametrize("wrong", ["drop=2", "drop=x", "drop", "gremlins=1", "delay_ms=-1"])
def test_a_fault_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="--fault"):
        parse_faults([wrong])
