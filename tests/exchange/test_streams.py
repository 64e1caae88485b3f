"""The streams tell the tape in order and without a gap, as their listeners asked for it."""

import time
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest

from tapehouse.exchange.main import running_exchange

MINUTE = 60_000_000


def to_come(exchange, begins_at: int, *symbols: str, minutes: int = 1) -> pl.DataFrame:
    """The trades the tape tells after the playhead's beginning."""
    rows = exchange.tape.between(begins_at, begins_at + minutes * MINUTE)
    return rows.filter(pl.col("symbol").is_in(list(symbols)))


def is_trade(message: dict) -> bool:
    return message.get("e") == "trade"


async def test_trades_of_a_stream_are_the_tapes_without_a_gap(exchange, begins_at, reading, as_stream_trades):
    async with reading(exchange, "/ws/btcusdt@trade") as reader:
        found = await reader.take(1500)
    expected = as_stream_trades(to_come(exchange, begins_at, "BTCUSDT").head(1500))
    assert found == expected
    assert [trade["t"] for trade in found] == list(range(found[0]["t"], found[0]["t"] + 1500))


async def test_combined_streams_name_the_stream_of_each_message(exchange, begins_at, reading, as_stream_trades):
    async with reading(exchange, "/stream?streams=btcusdt@trade/ethusdt@trade") as reader:
        found = await reader.take(1500)
    expected = as_stream_trades(to_come(exchange, begins_at, "BTCUSDT", "ETHUSDT").head(1500))
    assert found == [{"stream": f"{trade['s'].lower()}@trade", "data": trade} for trade in expected]


async def test_times_are_microseconds_where_they_are_asked_for(exchange, begins_at, reading):
    async with reading(exchange, "/stream?streams=btcusdt@trade&timeUnit=MICROSECOND") as reader:
        found = await reader.take(500)
    times = to_come(exchange, begins_at, "BTCUSDT")["traded_at"].head(500).to_list()
    assert [message["data"]["T"] for message in found] == times
    assert any(time % 1000 for time in times)


async def test_aggregates_cover_the_trades_of_the_same_connection_exactly(exchange, reading):
    async with reading(exchange, "/ws/btcusdt@trade/btcusdt@aggTrade") as reader:
        found = await reader.take(2000)
    quantities = {trade["t"]: trade["q"].replace(".", "") for trade in found if is_trade(trade)}
    aggregates = [message for message in found if message["e"] == "aggTrade"]
    whole = [aggregate for aggregate in aggregates if aggregate["l"] in quantities]
    assert len(whole) > 500
    covered = [number for aggregate in whole for number in range(aggregate["f"], aggregate["l"] + 1)]
    assert covered == sorted(quantities)[: len(covered)]
    for aggregate in whole:
        fills = [int(quantities[number]) for number in range(aggregate["f"], aggregate["l"] + 1)]
        assert int(aggregate["q"].replace(".", "")) == sum(fills)


async def test_commands_subscribe_list_and_unsubscribe_with_binances_replies(exchange, reading):
    async with reading(exchange, "/ws") as reader:
        assert await reader.command("LIST_SUBSCRIPTIONS", number=3) == {"result": [], "id": 3}
        assert await reader.command("SUBSCRIBE", "btcusdt@trade", "ethusdt@kline_1m", number="a") == {
            "result": None, "id": "a",
        }  # fmt: skip
        assert {trade["s"] for trade in await reader.take(50, is_trade)} == {"BTCUSDT"}
        listed = await reader.command("LIST_SUBSCRIPTIONS")
        assert listed["result"] == ["btcusdt@trade", "ethusdt@kline_1m"]
        assert (await reader.command("UNSUBSCRIBE", "btcusdt@trade"))["result"] is None
        assert {message["e"] for message in await reader.take(20)} == {"kline"}


async def test_a_stream_subscribed_to_while_others_run_has_no_gap_from_then_on(exchange, reading):
    async with reading(exchange, "/ws/btcusdt@trade") as reader:
        await reader.take(100)
        assert (await reader.command("SUBSCRIBE", "ethusdt@trade"))["result"] is None
        ids = [trade["t"] for trade in await reader.take(1000, lambda message: message.get("s") == "ETHUSDT")]
    assert ids == list(range(ids[0], ids[0] + 1000))


async def test_combined_is_a_property_that_can_be_changed(exchange, reading):
    async with reading(exchange, "/ws") as reader:
        assert (await reader.command("GET_PROPERTY", "combined"))["result"] is False
        assert (await reader.command("SET_PROPERTY", "combined", True))["result"] is None
        assert (await reader.command("SUBSCRIBE", "btcusdt@trade"))["result"] is None
        assert (await reader.take(1))[0]["stream"] == "btcusdt@trade"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("{", 3),
        ("[]", 2),
        ('{"method":"DANCE","id":7}', 2),
        ('{"method":"SUBSCRIBE","params":[{}],"id":7}', 2),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":7}', 1),
        ('{"method":"SET_PROPERTY","params":["colour",true],"id":7}', 0),
    ],
)
async def test_a_command_that_is_none_is_answered_with_its_error_and_the_connection_lives(
    exchange, reading, sent, code
):
    async with reading(exchange, "/ws") as reader:
        await reader.socket.send(sent)
        assert (await reader.next())["error"]["code"] == code
        assert (await reader.command("LIST_SUBSCRIPTIONS"))["result"] == []


async def test_names_are_lower_case_others_are_listed_and_send_nothing(exchange, reading):
    async with reading(exchange, "/stream?streams=BTCUSDT@trade/nopeusdt@trade/ethusdt@trade") as reader:
        assert {message["stream"] for message in await reader.take(500)} == {"ethusdt@trade"}


async def test_a_closing_kline_comes_after_the_last_trade_of_its_window(exchange, reading):
    window_ends, seen, closed = 0, [], []
    async with reading(exchange, "/ws/btcusdt@kline_1m/btcusdt@trade") as reader:
        while len(closed) < 3:
            message = await reader.next()
            if is_trade(message):
                assert message["T"] >= window_ends
                seen.append(message)
            elif message["k"]["x"]:
                closed.append((message["k"], list(seen)))
                window_ends, seen = message["k"]["T"] + 1, []
    assert [kline["t"] for kline, _ in closed] == [closed[0][0]["t"] + place * 60_000 for place in range(3)]
    for kline, trades in closed[1:]:  # the first window had begun before anybody listened
        assert (kline["f"], kline["L"], kline["n"]) == (trades[0]["t"], trades[-1]["t"], len(trades))
        assert (kline["o"], kline["c"]) == (trades[0]["p"], trades[-1]["p"])
        assert int(kline["v"].replace(".", "")) == sum(int(trade["q"].replace(".", "")) for trade in trades)


async def test_an_open_kline_is_told_as_it_fills_with_every_trade_told_before_it(exchange, reading):
    seen, open_ones = [], []
    async with reading(exchange, "/ws/btcusdt@kline_1m/btcusdt@trade") as reader:
        await reader.take(1, lambda message: message["e"] == "kline" and message["k"]["x"])
        while len(open_ones) < 10:
            message = await reader.next()
            if is_trade(message):
                seen.append(message)
            else:
                kline = message["k"]
                assert kline["x"] is False
                assert (kline["f"], kline["L"], kline["n"]) == (seen[0]["t"], seen[-1]["t"], len(seen))
                assert (kline["o"], kline["c"]) == (seen[0]["p"], seen[-1]["p"])
                open_ones.append(message["E"])
    assert [after - before for before, after in pairwise(open_ones)] == [2000] * 9


async def test_the_first_closing_kline_holds_the_part_of_the_window_before_the_first_listener(
    exchange, begins_at, reading
):
    async with reading(exchange, "/ws/btcusdt@kline_1m/btcusdt@kline_5m") as reader:
        closed = await reader.take(6, lambda message: message["k"]["x"])
    opened = begins_at - begins_at % MINUTE
    for kline in (message["k"] for message in closed):
        length = {"1m": 1, "5m": 5}[kline["i"]] * MINUTE
        rows = exchange.tape.between(kline["t"] * 1000, kline["t"] * 1000 + length)
        ids = rows.filter(pl.col("symbol") == "BTCUSDT")["first_trade_id"]
        assert (kline["f"], kline["L"], kline["n"]) == (ids.min(), ids.max(), len(ids))
    assert closed[0]["k"]["t"] == opened // 1000
    assert {message["k"]["i"] for message in closed} == {"1m", "5m"}


async def test_klines_of_the_streams_and_of_rest_are_one(exchange, reading, rest):
    async with reading(exchange, "/ws/ethusdt@kline_1m") as reader:
        closed = [message["k"] for message in await reader.take(3, lambda message: message["k"]["x"])]
    asked = {"symbol": "ETHUSDT", "interval": "1m", "startTime": closed[0]["t"], "limit": 3}
    answered = (await rest.get("/api/v3/klines", params=asked)).json()
    assert answered == [[kline[letter] for letter in "tohlcvTqnVQB"] for kline in closed]


async def test_a_quiet_minute_is_told_flat_at_the_close_before_and_without_ids(exchange, reading):
    before, quiet = None, None
    async with reading(exchange, "/ws/bnbusdt@kline_1m") as reader:
        while quiet is None:
            kline = (await reader.take(1, lambda message: message["k"]["x"]))[0]["k"]
            if kline["n"] == 0:
                quiet = kline
            else:
                before = kline
    assert before is not None
    assert (quiet["f"], quiet["L"], quiet["n"]) == (-1, -1, 0)
    assert {quiet[letter] for letter in "ohlc"} == {before["c"]}
    assert {quiet[letter] for letter in "vqVQ"} == {"0.00000000"}


async def test_at_real_time_nothing_is_told_before_it_happened(options, reading):
    at_real_time = replace(options, speed=1.0, begins_at=None, rate=500.0)
    async with (
        running_exchange(at_real_time) as exchange,
        reading(exchange, "/ws/btcusdt@trade?timeUnit=MICROSECOND") as reader,
    ):
        for _ in range(100):
            assert (await reader.next())["T"] < exchange.playhead <= time.time_ns() // 1000


async def test_what_is_told_later_than_connecting_is_told_to_all_alike(exchange, reading):
    async with (
        reading(exchange, "/ws/btcusdt@trade") as one,
        reading(exchange, "/ws/btcusdt@trade") as other,
    ):
        theirs = await other.take(500)
        ours = await one.take(1)
        ours += await one.take(theirs[-1]["t"] - ours[0]["t"])
    assert ours[-500:] == theirs


async def test_a_tape_that_holds_waits_for_play(options, asking, reading):
    async with (
        running_exchange(replace(options, holds=True)) as exchange,
        asking(exchange) as rest,
        reading(exchange, "/ws/btcusdt@trade") as reader,
    ):
        await reader.command("LIST_SUBSCRIPTIONS")
        assert (await rest.get("/_exchange")).json()["trades_told"] == 0
        assert (await rest.post("/_exchange/play")).status_code == 200
        assert (await reader.next())["e"] == "trade"
