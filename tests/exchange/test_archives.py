"""Archives of days that are over hold the tape's rows in the layout of data.binance.vision."""

import csv
import hashlib
import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from tapehouse.exchange.main import running_exchange

MINUTE = 60_000_000
DAY = 1440 * MINUTE


def just_after_midnight(year: int) -> int:
    """Ten past midnight of 5 March."""
    return int(datetime(year, 3, 5, 0, 10, tzinfo=UTC).timestamp()) * 1_000_000


@pytest.fixture(params=[2026, 2024], ids=["in microseconds", "in milliseconds"])
async def archived(options, request, asking):
    """An exchange a while after midnight, its client, the day before, and the unit of that year's times."""
    begins_at = just_after_midnight(request.param)
    async with (
        running_exchange(replace(options, begins_at=begins_at, history=1500.0)) as exchange,
        asking(exchange) as client,
    ):
        yield exchange, client, f"{request.param}-03-04", 1 if request.param == 2026 else 1000


async def rows_in(client, folder: str, name: str) -> list[list[str]]:
    """The rows of an archive, once its checksum has been found right."""
    answer = await client.get(f"/data/spot/daily/{folder}/{name}.zip")
    assert answer.status_code == 200
    checksum = await client.get(f"/data/spot/daily/{folder}/{name}.zip.CHECKSUM")
    assert checksum.text == f"{hashlib.sha256(answer.content).hexdigest()}  {name}.zip\n"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as bundle:
        assert bundle.namelist() == [f"{name}.csv"]
        return list(csv.reader(io.StringIO(bundle.read(f"{name}.csv").decode())))


def of_the_day(exchange, symbol: str) -> pl.DataFrame:
    midnight = exchange.playhead - exchange.playhead % DAY
    rows = exchange.tape.between(exchange.tape.starts_at, midnight).filter(pl.col("symbol") == symbol)
    assert rows.height > 1000
    return rows.sort("first_trade_id")


async def test_trades_of_the_day_are_the_tapes(archived, text):
    exchange, client, day, divisor = archived
    expected = [
        [
            str(row["first_trade_id"]),
            text(row["price"]),
            text(row["quantity"]),
            f"{Decimal(row['price']) * Decimal(row['quantity']) / 10**16:.8f}",
            str(row["traded_at"] // divisor),
            str(row["buyer_is_maker"]),
            "True",
        ]
        for row in of_the_day(exchange, "ETHUSDT").iter_rows(named=True)
    ]
    assert await rows_in(client, "trades/ETHUSDT", f"ETHUSDT-trades-{day}") == expected


async def test_aggregates_of_the_day_hold_each_of_its_trades_once(archived, text):
    exchange, client, day, divisor = archived
    rows = of_the_day(exchange, "BTCUSDT")
    found = await rows_in(client, "aggTrades/BTCUSDT", f"BTCUSDT-aggTrades-{day}")
    covered = [number for row in found for number in range(int(row[3]), int(row[4]) + 1)]
    assert covered == rows["first_trade_id"].to_list()
    assert len(found) < rows.height
    told = {row["first_trade_id"]: row for row in rows.iter_rows(named=True)}
    for number, price, quantity, first, last, time, maker, best in found:
        fills = [told[trade] for trade in range(int(first), int(last) + 1)]
        assert (price, best) == (text(fills[0]["price"]), "True")
        assert (int(number), maker) == (fills[0]["aggregate_id"], str(fills[0]["buyer_is_maker"]))
        assert quantity == text(sum(fill["quantity"] for fill in fills))
        assert int(time) == fills[0]["traded_at"] // divisor


async def test_klines_of_the_day_are_those_of_rest(archived):
    exchange, client, day, divisor = archived
    found = await rows_in(client, "klines/ETHUSDT/1m", f"ETHUSDT-1m-{day}")
    asked = {"symbol": "ETHUSDT", "interval": "1m", "limit": 1000}
    unit = {"X-MBX-TIME-UNIT": "MICROSECOND"} if divisor == 1 else {}
    every = (await client.get("/api/v3/klines", params=asked, headers=unit)).json()
    midnight = (exchange.playhead - exchange.playhead % DAY) // divisor
    assert found == [[str(value) for value in row] for row in every if row[0] < midnight]
    assert len(found) == 15


async def test_what_is_asked_twice_is_the_same_twice(archived):
    _, client, day, _ = archived
    path = f"/data/spot/daily/trades/BNBUSDT/BNBUSDT-trades-{day}.zip"
    assert (await client.get(path)).content == (await client.get(path)).content
    assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "trades/BTCUSDT/BTCUSDT-trades-2026-03-05.zip",  # today
        "trades/BTCUSDT/BTCUSDT-trades-2026-03-05.zip.CHECKSUM",
        "trades/BTCUSDT/BTCUSDT-trades-2026-03-06.zip",  # tomorrow
        "trades/BTCUSDT/BTCUSDT-trades-2026-03-03.zip",  # before the tape
        "trades/BTCUSDT/BTCUSDT-trades-2026-02-30.zip",  # no day
        "trades/BTCUSDT/ETHUSDT-trades-2026-03-04.zip",
        "trades/BTCUSDT/BTCUSDT-aggTrades-2026-03-04.zip",
        "trades/NOPEUSDT/NOPEUSDT-trades-2026-03-04.zip",
        "klines/BTCUSDT/1m/BTCUSDT-5m-2026-03-04.zip",
        "klines/BTCUSDT/7m/BTCUSDT-7m-2026-03-04.zip",
        "trades/BTCUSDT/..%2F..%2Fpasswd",
    ],
)
async def test_there_is_no_archive_of_other_days_or_names(options, asking, path):
    begins_at = just_after_midnight(2026)
    async with (
        running_exchange(replace(options, begins_at=begins_at, history=1500.0)) as exchange,
        asking(exchange) as client,
    ):
        assert (await client.get(f"/data/spot/daily/{path}")).status_code == 404
