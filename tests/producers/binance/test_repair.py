"""Holes are filled by the route that is open, exactly, at no needless cost; what is not to be had is said."""

import json
import time

import pytest

from tapehouse.ports import Hole
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.endpoints import Endpoints
from tapehouse.producers.binance.repair import EXACT_AT_MOST, Repairs
from tapehouse.producers.binance.rest import BinanceRest

BEGAN = 1_700_000_000_000  # milliseconds


def traded_at(ident: int) -> int:
    return BEGAN + ident // 3  # three trades share a millisecond


def hole(first: int, last: int, *, before: int | None = None) -> Hole:
    after, end = traded_at(first - 1) * 1000, traded_at(last + 1) * 1000
    return Hole("BTCUSDT", first, last, after=after, before=end if before is None else before)


class History:
    """Trades 0..last_trade as an exchange keeps them; an aggregate covers up to `width` of them."""

    def __init__(self, last_trade: int, width: int = 4) -> None:
        self.trades = [{"id": ident, "time": traded_at(ident), "price": "1.0"} for ident in range(last_trade + 1)]
        self.aggregates = [
            {"a": 10_000 + number, "f": first, "l": min(first + width - 1, last_trade), "T": traded_at(first)}
            for number, first in enumerate(range(0, last_trade + 1, width))
        ]

    def historical(self, query):
        first, limit = int(query["fromId"]), int(query["limit"])
        return 200, {}, [row for row in self.trades if row["id"] >= first][:limit]

    def recent(self, query):
        return 200, {}, self.trades[-int(query["limit"]) :]

    def aggregated(self, query):
        rows = self.aggregates
        if "fromId" in query:
            rows = [row for row in rows if row["a"] >= int(query["fromId"])]
        else:
            rows = [row for row in rows if row["T"] >= int(query["startTime"])]
        return 200, {}, rows[: int(query["limit"])]


@pytest.fixture
async def repairs(exchange, tmp_path):
    async with BinanceRest(Endpoints([exchange.rest]), Budget(tmp_path / "budget.json")) as rest:
        yield Repairs(rest, ArrivalClock())


def offer(exchange, history, *paths):
    routes = {"historicalTrades": history.historical, "trades": history.recent, "aggTrades": history.aggregated}
    exchange.answers.update({path: routes[path] for path in paths})


def trade_ids(reading):
    return [json.loads(frame)["id"] for frame in reading.frames]


def covered(reading):
    rows = [json.loads(frame) for frame in reading.frames]
    return {ident for row in rows for ident in range(row["f"], row["l"] + 1)}


async def test_a_small_hole_is_filled_with_the_exact_rows_and_no_others(exchange, repairs, reading):
    offer(exchange, History(500), "historicalTrades", "aggTrades")
    assert await repairs.repair(hole(100, 149), reading.tape)
    assert trade_ids(reading) == list(range(100, 150))
    assert exchange.asked == [("historicalTrades", {"symbol": "BTCUSDT", "fromId": "100", "limit": "50"})]
    (batch,) = reading.batches
    assert (batch.shape, batch.symbol, len(set(batch.received_at)), len(batch.received_at)) == (
        "trades",
        "BTCUSDT",
        1,
        50,
    )
    assert repairs.wait == 0.0


async def test_a_larger_hole_is_filled_newest_first_and_each_answer_counts_at_once(exchange, repairs, reading):
    offer(exchange, History(3000), "historicalTrades")
    assert await repairs.repair(hole(1, 2500), reading.tape)
    assert sorted(trade_ids(reading)) == list(range(1, 2501))
    firsts = [json.loads(batch.frames[0])["id"] for batch in reading.batches]
    assert firsts == [1501, 501, 1]


async def test_without_historical_trades_aggregates_cover_the_hole(exchange, repairs, reading):
    offer(exchange, History(9000), "aggTrades")
    assert await repairs.repair(hole(102, 8000), reading.tape)
    assert set(range(102, 8001)) <= covered(reading)
    assert covered(reading) <= set(range(98, 8005))
    assert {batch.shape for batch in reading.batches} == {"aggTrades"}
    asked = [query for path, query in exchange.asked if path == "aggTrades"]
    assert asked[0]["startTime"] == str(traded_at(101))
    assert [("startTime" in query, "fromId" in query) for query in asked[1:]] == [(False, True)] * (len(asked) - 1)


async def test_a_huge_hole_costs_aggregates_not_single_trades(exchange, repairs, reading):
    offer(exchange, History(12_000, width=20), "historicalTrades", "aggTrades")
    assert await repairs.repair(hole(10, 10 + EXACT_AT_MOST), reading.tape)
    assert {path for path, _ in exchange.asked} == {"aggTrades"}
    assert set(range(10, 11 + EXACT_AT_MOST)) <= covered(reading)


async def test_a_young_hole_is_looked_for_among_the_recent_trades(exchange, repairs, reading):
    offer(exchange, History(5000), "trades", "aggTrades")
    now = time.time_ns() // 1000
    assert await repairs.repair(hole(4500, 4600, before=now), reading.tape)
    assert trade_ids(reading) == list(range(4500, 4601))
    assert [path for path, _ in exchange.asked] == ["historicalTrades", "trades"]


async def test_a_hole_only_partly_among_the_recent_trades_is_completed_by_aggregates(exchange, repairs, reading):
    offer(exchange, History(5000), "trades", "aggTrades")
    now = time.time_ns() // 1000
    assert await repairs.repair(hole(3900, 4100, before=now), reading.tape)
    rows = [json.loads(frame) for frame in reading.frames]
    assert set(range(3900, 4101)) <= {ident for row in rows if "f" in row for ident in range(row["f"], row["l"] + 1)}


async def test_aggregates_that_begin_too_late_are_looked_for_further_back(exchange, repairs, reading):
    offer(exchange, History(500), "aggTrades")
    late = Hole("BTCUSDT", 100, 120, after=traded_at(110) * 1000, before=traded_at(121) * 1000)
    assert await repairs.repair(late, reading.tape)
    assert set(range(100, 121)) <= covered(reading)


async def test_trades_the_exchange_no_longer_has_are_not_claimed(exchange, repairs, reading):
    history = History(500)
    history.trades = [row for row in history.trades if row["id"] != 120]
    offer(exchange, history, "historicalTrades")
    assert not await repairs.repair(hole(100, 149), reading.tape)
    assert sorted(trade_ids(reading)) == [ident for ident in range(100, 150) if ident != 120]
    assert repairs.wait > 0.0


async def test_what_single_trades_lack_is_looked_for_among_the_aggregates(exchange, repairs, reading):
    history = History(5000)
    history.trades = [row for row in history.trades if not 2300 <= row["id"] <= 2310]
    offer(exchange, history, "historicalTrades", "aggTrades")
    assert await repairs.repair(hole(100, 4500), reading.tape)
    rows = [json.loads(frame) for frame in reading.frames]
    assert {row["id"] for row in rows if "id" in row} == {*range(100, 2300), *range(2311, 4501)}
    aggregates = {ident for row in rows if "f" in row for ident in range(row["f"], row["l"] + 1)}
    assert aggregates >= set(range(2300, 2311))
    assert repairs.wait == 0.0


async def test_what_was_not_answered_is_told_from_what_is_not_there(exchange, repairs, reading):
    history = History(500)
    del history.aggregates[30], history.trades[120]
    offer(exchange, history, "historicalTrades", "aggTrades")
    assert await repairs.repair(hole(100, 149), reading.tape) is False
    exchange.answers["aggTrades"] = lambda _query: (500, {}, {})
    assert await repairs.repair(hole(100, 149), reading.tape) is None


async def test_aggregates_with_a_hole_of_their_own_are_not_claimed_as_whole(exchange, repairs, reading):
    history = History(500)
    del history.aggregates[30]
    offer(exchange, history, "aggTrades")
    assert not await repairs.repair(hole(100, 200), reading.tape)
    assert covered(reading) >= set(range(100, 120)) | set(range(124, 201))


async def test_a_hole_at_the_end_of_what_the_exchange_has_is_not_claimed(exchange, repairs, reading):
    offer(exchange, History(500), "aggTrades")
    assert not await repairs.repair(hole(450, 600), reading.tape)
    assert set(range(450, 501)) <= covered(reading)


async def test_a_hole_without_a_time_before_it_is_not_searched_from_the_beginning_of_the_world(
    exchange, repairs, reading
):
    offer(exchange, History(500), "aggTrades")
    assert not await repairs.repair(Hole("BTCUSDT", 5, 9, after=0, before=traded_at(10) * 1000), reading.tape)
    assert [path for path, _ in exchange.asked] == ["historicalTrades"]


async def test_a_ban_puts_repair_off_until_it_is_over(exchange, repairs, reading):
    exchange.answers["historicalTrades"] = lambda _query: (429, {"Retry-After": "77"}, {})
    assert not await repairs.repair(hole(100, 149), reading.tape)
    assert 70.0 < repairs.wait <= 77.0
    assert not await repairs.repair(hole(100, 149), reading.tape)
    assert len(exchange.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b'[{"id":"x"}]', b"[5]"])
async def test_nonsense_from_the_exchange_is_no_exception(exchange, repairs, reading, body):
    exchange.answer("historicalTrades", body)
    assert not await repairs.repair(hole(100, 149), reading.tape)
    assert reading.frames == []


async def test_an_exchange_that_ignores_from_id_does_not_keep_us_for_ever(exchange, repairs, reading):
    history = History(5000)
    exchange.answers["aggTrades"] = lambda _query: (200, {}, history.aggregates[:1000])
    assert not await repairs.repair(hole(100, 4900), reading.tape)
    assert len([path for path, _ in exchange.asked if path == "aggTrades"]) == 2


async def test_an_exchange_that_is_down_is_no_exception(repairs, reading, exchange):
    exchange.server.close()
    assert not await repairs.repair(hole(100, 149), reading.tape)
    assert repairs.wait > 0.0
