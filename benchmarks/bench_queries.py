"""How fast questions are answered: candles of stored trades computed again; last prices and analytics under load."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import datetime
from statistics import median
from typing import Any

import polars as pl

from benchmarks import stand, stored
from benchmarks.measuring import Figure, at_most, check, quantile
from tapehouse.catalog import TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import latest_candles
from tapehouse.streaming.recovery import fold_bronze

REPEATS = 7
CONNECTIONS = 16
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
WEEK = 7 * 24 * 3600


def run_fold(trades: int = 5_000_000) -> list[Figure]:
    """Fold bronze trades to 1m candles from a compacted table; their count is checked against the rows."""
    with stand.folder() as folder:
        lake = stored.fill(str(folder / "delta"), trades, rate=2_000)
        stored.tidy(lake, finished=True)
        rows, times = stored.rows_of(lake), []
        for _ in range(REPEATS):
            began = time.perf_counter()
            candles = fold_bronze(lake.scan(TRADES))
            times.append(time.perf_counter() - began)
            check(sum(candle.trades for candle in candles.values()) == rows, "candles that count other trades")
    return [at_most(f"1m candles of {rows:,} stored trades", median(times), "s", 0.4)]


def run_latest(seconds: float, rate: float = 10_000, requests: float = 500) -> list[Figure]:
    """Ask for `/prices/latest` at a steady pace while trades come in."""
    with stand.folder() as folder, stand.exchange(rate) as exchange, stand.platform(folder, exchange) as platform:
        stand.wait_until_it_flows(platform, rate)
        times = asyncio.run(ask(platform.url, ["/prices/latest"], seconds, requests))
    name = f"/prices/latest at {requests:,.0f} requests/s while {rate:,.0f} msg/s come in"
    return [
        Figure(f"{name}, p50", median(times) * 1000, "ms"),
        at_most(f"{name}, p99", quantile(times, 0.99) * 1000, "ms", 5),
    ]


def run_analytics(seconds: float, rate: float = 10_000, requests: float = 20) -> list[Figure]:
    """Ask for `/analytics/{symbol}` with indicators over a week of history while trades come in."""
    with stand.folder() as folder, stand.exchange(rate) as exchange:
        lake = stored.fill(str(folder / "delta"), 120_000, rate=120_000 / WEEK, before=first_ids(exchange))
        stored.tidy(lake, finished=False)
        with stand.platform(folder, exchange) as platform:
            stand.wait_until_it_flows(platform, rate)
            stand.wait_until_complete(platform)  # it fetches what was told while the lake was filled
            paths = [f"/analytics/{symbol}?indicators=rsi,macd,bollinger" for symbol in SYMBOLS]
            for path in paths:
                check_analytics(json.loads(stand.fetch(platform.url + path)), lake)
            times = asyncio.run(ask(platform.url, paths, seconds, requests))
    name = f"/analytics/{{symbol}} at {requests:,.0f} requests/s, a week held, while {rate:,.0f} msg/s come in"
    return [
        Figure(f"{name}, p50", median(times) * 1000, "ms"),
        at_most(f"{name}, p99", quantile(times, 0.99) * 1000, "ms", 50),
    ]


def first_ids(exchange: stand.Exchange) -> dict[str, int]:
    """Return the first id of each symbol that the exchange has."""
    asked = f"{exchange.rest_url}/api/v3/historicalTrades?fromId=0&limit=1&symbol="
    return {symbol: int(json.loads(stand.fetch(asked + symbol))[0]["id"]) for symbol in SYMBOLS}


def check_analytics(answer: dict[str, Any], lake: DeltaLake) -> None:
    """Hold the profile of the week against the stored candles, and the week's completeness against its length."""
    told = answer["hourly_volume"]
    start = datetime.fromisoformat(told["start"])
    hours = latest_candles(lake, answer["symbol"], "1h", start).filter(pl.col("state").is_in(["closed", "quiet"]))
    check(sum(hour["trades"] for hour in told["hours"]) == hours["trades"].sum(), "a profile of other trades")
    check(told["completeness"]["proved"] >= WEEK / 3600 - 3, f"a week with holes: {told['completeness']}")


async def ask(address: str, paths: Sequence[str], seconds: float, requests: float) -> list[float]:
    """Send so many requests a second over a few connections, each at its time; return seconds from then to the answer.

    One that could not be sent at its time, as its connection still waited, counts from when it was due. The requests
    are bare: a full HTTP client takes more of the machine than the platform does.
    """
    host, port = address.removeprefix("http://").split(":")
    asked = [f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode() for path in paths]
    began = time.perf_counter() + 0.5
    times: list[float] = []

    async def visitor(first: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(first, int(seconds * requests), CONNECTIONS):
            due = began + number / requests
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(asked[number % len(asked)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            times.append(time.perf_counter() - due)
            check(b" 200 " in head[:16] and b"price" in body, f"{head!r} {body[:200]!r}")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for first in range(CONNECTIONS):
            group.create_task(visitor(first))
    return times
