"""The past over REST: page after page by the aggregate's id, to the end asked for, however patient one must be."""

import time
from itertools import pairwise

import msgspec
import pytest

from tapehouse.errors import UpstreamError
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.endpoints import Endpoints
from tapehouse.producers.binance.history import history
from tapehouse.producers.binance.rest import ROWS_AT_MOST, BinanceRest

START = 1_723_161_600_000
MINUTE = 60_000
END = START + 40 * MINUTE


def aggregate(number: int) -> dict:
    """One aggregate a second from the start on, each of two trades."""
    at = START + number * 1000
    return {
        "a": number, "p": "1.5", "q": "2", "f": 2 * number, "l": 2 * number + 1, "T": at, "m": True, "M": True
    }  # fmt: skip


def kline(opened: int) -> list:
    return [opened, "1", "2", "1", "2", "3", opened + MINUTE - 1, "5", 2, "1", "2", "0"]


class Market:
    """Aggregates and klines up to a moment, as Binance's REST tells them."""

    def __init__(self, exchange, until: int) -> None:
        self.aggregates = [aggregate(number) for number in range((until - START) // 1000)]
        self.until = until
        exchange.answers["aggTrades"] = lambda query: (200, {}, self._aggregates(query))
        exchange.answers["klines"] = lambda query: (200, {}, self._klines(query))

    def _aggregates(self, query: dict[str, str]) -> list[dict]:
        first = int(query["fromId"]) if "fromId" in query else (int(query["startTime"]) - START) // 1000
        return self.aggregates[max(first, 0) : max(first, 0) + int(query["limit"])]

    def _klines(self, query: dict[str, str]) -> list[list]:
        first = -(-int(query["startTime"]) // MINUTE) * MINUTE
        last = min(int(query["endTime"]), self.until)
        return [kline(opened) for opened in range(first, last + 1, MINUTE)][: int(query["limit"])]


@pytest.fixture
async def rest(exchange, tmp_path):
    async with BinanceRest(Endpoints((exchange.rest,)), Budget(tmp_path / "budget.json")) as rest:
        yield rest


async def told(rest, start: int, end: int) -> list[tuple[str, list, int]]:
    """Return (shape, rows, how far it comes) of each batch of a range of milliseconds."""
    found = []
    async for batch, reached in history(rest, ArrivalClock(0), "BTCUSDT", start * 1000, end * 1000):
        assert batch.symbol == "BTCUSDT"
        assert len(batch.received_at) == len(batch.frames)
        found.append((batch.shape, [msgspec.json.decode(row) for row in batch.frames], reached // 1000))
    return found


async def test_aggregates_are_paged_by_their_own_id_to_the_end_and_klines_follow(exchange, rest):
    market = Market(exchange, END + 60 * MINUTE)
    found = await told(rest, START, END)
    assert [shape for shape, _, _ in found] == ["aggTrades"] * 3 + ["klines"]
    rows = [row for shape, rows, _ in found for row in rows if shape == "aggTrades"]
    assert rows == market.aggregates[: len(rows)]
    assert rows[-1]["T"] >= END - 1000
    assert found[-1][1] == [kline(opened) for opened in range(START, END, MINUTE)]
    queries = [query for path, query in exchange.asked if path == "aggTrades"]
    assert [query.get("fromId") for query in queries] == [None, "1000", "2000"]
    assert queries[0]["startTime"] == str(START)
    reached = [reached for _, _, reached in found]
    assert all(before <= after <= END for before, after in pairwise(reached))
    assert reached[-1] == END


async def test_it_stops_where_the_exchange_knows_no_more(exchange, rest):
    market = Market(exchange, START + 90_000)
    found = await told(rest, START, END)
    assert found == [
        ("aggTrades", market.aggregates, START + 89_000),
        ("klines", [kline(START), kline(START + MINUTE)], END),
    ]
    assert [path for path, _ in exchange.asked] == ["aggTrades", "klines"]


async def test_a_page_that_is_full_and_the_last_one_is_asked_behind_once(exchange, rest):
    market = Market(exchange, START + ROWS_AT_MOST * 1000)
    found = await told(rest, START, END)
    assert [row for shape, rows, _ in found for row in rows if shape == "aggTrades"] == market.aggregates
    assert [path for path, _ in exchange.asked] == ["aggTrades", "aggTrades", "klines"]


async def test_a_range_in_which_nothing_traded_still_has_its_klines(exchange, rest):
    market = Market(exchange, END)
    market.aggregates = []
    found = await told(rest, START, END)
    assert [(shape, len(rows)) for shape, rows, _ in found] == [("klines", 40)]


async def test_klines_of_windows_that_are_not_over_at_the_end_are_left_out(exchange, rest):
    Market(exchange, END)
    [*_, (_, klines, _)] = await told(rest, START + 1, START + 3 * MINUTE + 30_000)
    assert klines == [kline(START + MINUTE), kline(START + 2 * MINUTE)]


async def test_many_klines_are_paged_by_their_time(exchange, rest):
    market = Market(exchange, END)
    market.aggregates, market.until = [], START + 2500 * MINUTE
    found = await told(rest, START, START + 2400 * MINUTE)
    assert [len(rows) for _, rows, _ in found] == [1000, 1000, 400]
    openings = [row[0] for _, rows, _ in found for row in rows]
    assert openings == list(range(START, START + 2400 * MINUTE, MINUTE))


async def test_a_limit_is_waited_for_and_nothing_is_left_out_or_asked_twice(exchange, rest):
    market = Market(exchange, START + 1500 * 1000)
    refusals = [(429, {"Retry-After": "1"}, {"code": -1003}), (418, {"Retry-After": "1"}, {"code": -1003})]
    answer = exchange.answers["aggTrades"]
    exchange.answers["aggTrades"] = lambda query: refusals.pop() if "fromId" in query and refusals else answer(query)
    began = time.monotonic()
    found = await told(rest, START, START + 1400 * 1000)
    assert time.monotonic() - began >= 2.0
    assert [row for shape, rows, _ in found for row in rows if shape == "aggTrades"] == market.aggregates
    assert [query.get("fromId") for path, query in exchange.asked if path == "aggTrades"] == [None] + ["1000"] * 3


async def test_what_binance_does_not_document_is_an_upstream_error(exchange, rest):
    for wrong in ([{"p": "1"}], [[1]], ["x"], [{"a": "first"}]):
        exchange.answer("aggTrades", wrong)
        with pytest.raises(UpstreamError):
            await told(rest, START, END)


@pytest.mark.parametrize("path", ["aggTrades", "klines"])
async def test_answers_that_lead_nowhere_are_an_upstream_error(exchange, rest, path):
    Market(exchange, END)
    rows = {
        "aggTrades": [aggregate(number) for number in range(ROWS_AT_MOST)],
        "klines": [kline(START - (ROWS_AT_MOST - number) * MINUTE) for number in range(ROWS_AT_MOST)],
    }
    exchange.answer(path, rows[path])
    with pytest.raises(UpstreamError, match=rf"{path} .* leads nowhere"):
        await told(rest, START, END)


async def test_an_exchange_that_does_not_answer_is_an_upstream_error(exchange, rest):
    exchange.answers["aggTrades"] = lambda _query: (503, {}, "")
    with pytest.raises(UpstreamError, match="503"):
        await told(rest, START, END)
