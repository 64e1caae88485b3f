"""The REST API tells the tape, all of it and nothing else, in Binance's words."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import polars as pl
import pytest

from tapehouse.exchange.main import running_exchange

MINUTE = 60_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")


def told(exchange, symbol: str) -> pl.DataFrame:
    """Every trade of a symbol up to the playhead."""
    rows = exchange.tape.between(exchange.tape.starts_at, exchange.playhead)
    return rows.filter(pl.col("symbol") == symbol).sort("first_trade_id")


def as_trade(row: dict, text) -> dict:
    worth = Decimal(row["price"]) * Decimal(row["quantity"]) / 10**16
    return {
        "id": row["first_trade_id"],
        "price": text(row["price"]),
        "qty": text(row["quantity"]),
        "quoteQty": f"{worth:.8f}",
        "time": row["traded_at"] // 1000,
        "isBuyerMaker": row["buyer_is_maker"],
        "isBestMatch": True,
    }


def folded(rows: Iterable[dict], opened: int, length: int, close_before: Decimal) -> list:
    """The kline of a window by plain arithmetic."""
    inside = [row for row in rows if opened <= row["traded_at"] < opened + length]
    prices = [Decimal(row["price"]) / 10**8 for row in inside] or [close_before]
    fills = [
        (Decimal(row["quantity"]) / 10**8, price, row["buyer_is_maker"])
        for row, price in zip(inside, prices, strict=False)
    ]
    sums = (
        sum((quantity for quantity, _, _ in fills), Decimal()),
        sum((quantity * price for quantity, price, _ in fills), Decimal()),
        sum((quantity for quantity, _, maker in fills if not maker), Decimal()),
        sum((quantity * price for quantity, price, maker in fills if not maker), Decimal()),
    )
    volume, worth, taker_volume, taker_worth = (f"{value:.8f}" for value in sums)
    shown = [f"{price:.8f}" for price in (prices[0], max(prices), min(prices), prices[-1])]
    closes = (opened + length) // 1000 - 1
    return [opened // 1000, *shown, volume, closes, worth, len(inside), taker_volume, taker_worth, "0"]


async def answer(client, path: str, **parameters):
    response = await client.get(f"/api/v3{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def test_the_exchange_answers_and_its_time_is_the_playhead(rest, begins_at):
    assert await answer(rest, "/ping") == {}
    assert await answer(rest, "/time") == {"serverTime": begins_at // 1000}
    in_microseconds = await rest.get("/api/v3/time", headers={"X-MBX-TIME-UNIT": "MICROSECOND"})
    assert in_microseconds.json() == {"serverTime": begins_at}
    assert (await rest.get("/api/v3/nowhere")).status_code == 404


async def test_exchange_info_tells_symbols_filters_status_and_limits(options, asking, text):
    async with (
        running_exchange(replace(options, on_break=["ETHUSDT"], weight_limit=1234)) as exchange,
        asking(exchange) as rest,
    ):
        described = await answer(rest, "/exchangeInfo")
        alone = await answer(rest, "/exchangeInfo", symbol="BNBUSDT")
        two = await answer(rest, "/exchangeInfo", symbols='["BNBUSDT","BTCUSDT"]')
        pairs = exchange.tape.pairs
    assert described["rateLimits"] == [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1234}
    ]
    by_name = {symbol["symbol"]: symbol for symbol in described["symbols"]}
    assert {name: symbol["status"] for name, symbol in by_name.items()} == {
        "BTCUSDT": "TRADING", "ETHUSDT": "BREAK", "BNBUSDT": "TRADING",
    }  # fmt: skip
    assert (by_name["BTCUSDT"]["baseAsset"], by_name["BTCUSDT"]["quoteAsset"]) == ("BTC", "USDT")
    for name, symbol in by_name.items():
        filters = {entry["filterType"]: entry for entry in symbol["filters"]}
        assert filters["PRICE_FILTER"]["tickSize"] == text(pairs[name].price_tick)
        assert filters["LOT_SIZE"]["stepSize"] == text(pairs[name].quantity_step)
    assert [symbol["symbol"] for symbol in alone["symbols"]] == ["BNBUSDT"]
    assert [symbol["symbol"] for symbol in two["symbols"]] == ["BNBUSDT", "BTCUSDT"]


@pytest.mark.parametrize("limit", [1, 500, 1000])
async def test_trades_are_the_last_ones_told_in_order(exchange, rest, text, limit):
    expected = [as_trade(row, text) for row in told(exchange, "BTCUSDT").tail(limit).iter_rows(named=True)]
    assert await answer(rest, "/trades", symbol="BTCUSDT", limit=limit) == expected


async def test_without_a_limit_there_are_500_trades_and_never_more_than_1000(rest):
    assert len(await answer(rest, "/trades", symbol="BTCUSDT")) == 500
    assert len(await answer(rest, "/trades", symbol="BTCUSDT", limit=5000)) == 1000


async def test_historical_trades_give_every_trade_from_an_id_on_once(exchange, rest, text):
    rows = told(exchange, "ETHUSDT")
    first = rows["first_trade_id"].item(0)
    found = []
    for place in range(0, 4000, 700):
        found += await answer(rest, "/historicalTrades", symbol="ETHUSDT", fromId=first + place, limit=700)
    assert found == [as_trade(row, text) for row in rows.head(len(found)).iter_rows(named=True)]
    assert len(found) == 4200


async def test_historical_trades_know_nothing_before_the_beginning_nor_beyond_the_playhead(exchange, rest):
    rows = told(exchange, "ETHUSDT")
    first, last = rows["first_trade_id"].item(0), rows["first_trade_id"].item(-1)
    early = await answer(rest, "/historicalTrades", symbol="ETHUSDT", fromId=0, limit=3)
    late = await answer(rest, "/historicalTrades", symbol="ETHUSDT", fromId=last - 1, limit=1000)
    assert [trade["id"] for trade in early] == [first, first + 1, first + 2]
    assert [trade["id"] for trade in late] == [last - 1, last]
    assert await answer(rest, "/historicalTrades", symbol="ETHUSDT", fromId=last + 1) == []


async def test_historical_trades_are_absent_where_they_are_switched_off(options, asking):
    async with (
        running_exchange(replace(options, historical_trades=False)) as exchange,
        asking(exchange) as rest,
    ):
        assert (await rest.get("/api/v3/historicalTrades", params={"symbol": "BTCUSDT"})).status_code == 404
        assert (await rest.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT"})).status_code == 200


async def test_aggregates_cover_the_trades_exactly_and_sum_to_them(exchange, rest, text):
    rows = told(exchange, "BTCUSDT")
    found = await answer(rest, "/aggTrades", symbol="BTCUSDT", fromId=0, limit=1000)
    found += await answer(rest, "/aggTrades", symbol="BTCUSDT", fromId=found[-1]["a"] + 1, limit=1000)
    assert [aggregate["a"] for aggregate in found] == [found[0]["a"] + place for place in range(2000)]
    assert found[0]["f"] == rows["first_trade_id"].item(0)
    assert all(after["f"] == before["l"] + 1 for before, after in pairwise(found))
    assert any(aggregate["l"] > aggregate["f"] for aggregate in found)
    by_id = {row["first_trade_id"]: row for row in rows.iter_rows(named=True)}
    for aggregate in found:
        fills = [by_id[number] for number in range(aggregate["f"], aggregate["l"] + 1)]
        assert aggregate["q"] == text(sum(fill["quantity"] for fill in fills))
        assert {
            (text(fill["price"]), fill["buyer_is_maker"], fill["traded_at"] // 1000) for fill in fills
        } == {(aggregate["p"], aggregate["m"], aggregate["T"])}  # fmt: skip


async def test_aggregates_between_two_times_are_those_of_every_millisecond_of_it(exchange, rest, begins_at):
    start, end = begins_at // 1000 - 90_000, begins_at // 1000 - 70_000
    found = await answer(rest, "/aggTrades", symbol="BTCUSDT", startTime=start, endTime=end, limit=1000)
    rows = told(exchange, "BTCUSDT").filter((pl.col("traded_at") // 1000).is_between(start, end))
    assert 0 < len(found) < 1000
    assert (found[0]["f"], found[-1]["l"]) == (rows["first_trade_id"].item(0), rows["last_trade_id"].item(-1))
    last_millisecond = found[-1]["T"]
    again = await answer(rest, "/aggTrades", symbol="BTCUSDT", startTime=start, endTime=last_millisecond, limit=1000)
    assert again == found


async def test_the_last_aggregates_are_given_where_nothing_is_named(exchange, rest):
    found = await answer(rest, "/aggTrades", symbol="BNBUSDT", limit=20)
    assert len(found) == 20
    assert found[-1]["l"] == told(exchange, "BNBUSDT")["last_trade_id"].item(-1)


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_every_minute_is_the_fold_of_its_trades_in_every_field_and_quiet_ones_are_flat(exchange, rest, symbol):
    rows = told(exchange, symbol).to_dicts()
    first = exchange.tape.starts_at - exchange.tape.starts_at % MINUTE
    expected, close = [], Decimal(rows[0]["price"]) / 10**8
    for opened in range(first, exchange.playhead, MINUTE):
        expected.append(folded(rows, opened, MINUTE, close))
        close = Decimal(expected[-1][4])
    found = await answer(rest, "/klines", symbol=symbol, interval="1m", limit=1000)
    assert found == expected
    assert any(row[8] == 0 for row in expected) == (symbol == "BNBUSDT")


@pytest.mark.parametrize(("interval", "minutes"), [("5m", 5), ("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1440)])
async def test_longer_candles_are_the_fold_of_their_trades_too(exchange, rest, interval, minutes):
    rows = told(exchange, "BTCUSDT").to_dicts()
    length = minutes * MINUTE
    first = exchange.tape.starts_at - exchange.tape.starts_at % length
    expected = [folded(rows, opened, length, Decimal()) for opened in range(first, exchange.playhead, length)]
    assert await answer(rest, "/klines", symbol="BTCUSDT", interval=interval) == expected


async def test_klines_from_a_time_to_a_time_are_the_windows_that_open_there(rest, begins_at):
    minute = begins_at // MINUTE * 60_000
    every = await answer(rest, "/klines", symbol="BTCUSDT", interval="1m", limit=1000)

    async def asked(**bounds):
        return await answer(rest, "/klines", symbol="BTCUSDT", interval="1m", **bounds)

    assert await asked(startTime=minute - 600_000, endTime=minute - 300_000) == every[-11:-5]
    assert await asked(startTime=minute - 600_000 + 1, endTime=minute - 300_000 - 1) == every[-10:-6]
    assert await asked(startTime=minute - 600_000, limit=2) == every[-11:-9]
    assert await asked(endTime=minute - 300_000, limit=2) == every[-7:-5]
    assert await asked(startTime=minute + 60_000) == []


async def test_answers_in_microseconds_have_the_tapes_own_times(exchange, rest):
    response = await rest.get(
        "/api/v3/trades", params={"symbol": "BTCUSDT"}, headers={"X-MBX-TIME-UNIT": "microsecond"}
    )
    assert [trade["time"] for trade in response.json()] == told(exchange, "BTCUSDT")["traded_at"].tail(500).to_list()


@pytest.mark.parametrize(
    ("path", "parameters", "code"),
    [
        ("/trades", {}, -1102),
        ("/trades", {"symbol": ""}, -1102),
        ("/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("/klines", {"symbol": "NOPEUSDT", "interval": "1m"}, -1121),
        ("/exchangeInfo", {"symbol": "NOPEUSDT"}, -1121),
        ("/aggTrades", {"symbol": "btcusdt"}, -1100),
        ("/aggTrades", {"symbol": "BTCUSDT", "fromId": "x"}, -1100),
        ("/aggTrades", {"symbol": "BTCUSDT", "fromId": "-1"}, -1100),
        ("/aggTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "1"}, -1128),
        ("/trades", {"symbol": "BTCUSDT", "limit": "0"}, -1130),
        ("/exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("/ticker/price", {"symbols": '["BTCUSDT"]', "symbol": "BTCUSDT"}, -1128),
    ],
)
async def test_a_wrong_question_is_answered_with_binances_code(rest, path, parameters, code):
    response = await rest.get(f"/api/v3{path}", params=parameters)
    assert response.status_code == 400
    assert response.json()["code"] == code
    assert response.json()["msg"]


async def test_tickers_end_at_the_last_trade(exchange, rest, text):
    last = told(exchange, "BTCUSDT").tail(1).to_dicts()[0]
    assert await answer(rest, "/ticker/price", symbol="BTCUSDT") == {
        "symbol": "BTCUSDT", "price": text(last["price"]),
    }  # fmt: skip
    assert [entry["symbol"] for entry in await answer(rest, "/ticker/price")] == list(exchange.tape.pairs)
    day = await answer(rest, "/ticker/24hr", symbol="BTCUSDT")
    rows = told(exchange, "BTCUSDT")
    assert (day["firstId"], day["lastId"], day["count"]) == (
        rows["first_trade_id"].item(0), last["first_trade_id"], rows.height,
    )  # fmt: skip
    assert day["volume"] == text(rows["quantity"].sum())
    book = await answer(rest, "/ticker/bookTicker", symbol="BTCUSDT")
    assert Decimal(book["bidPrice"]) < Decimal(book["askPrice"])
