"""How fast questions are answered: candles of stored trades computed again, and the last prices under load."""

import asyncio
import time
from statistics import median

import httpx

from benchmarks import stand, stored
from benchmarks.measuring import Figure, at_most, check, quantile
from tapehouse.catalog import TRADES
from tapehouse.streaming.recovery import fold_bronze

REPEATS = 7


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
        times = asyncio.run(ask(f"{platform.url}/prices/latest", seconds, requests))
    name = f"/prices/latest at {len(times) / seconds:,.0f} requests/s while {rate:,.0f} msg/s come in"
    return [
        Figure(f"{name}, p50", median(times) * 1000, "ms"),
        at_most(f"{name}, p99", quantile(times, 0.99) * 1000, "ms", 5),
    ]


async def ask(url: str, seconds: float, requests: float) -> list[float]:
    """Send so many requests a second, each at its time whether or not those before are answered."""
    times: list[float] = []

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=32)) as client:

        async def one() -> None:
            began = time.perf_counter()
            answer = await client.get(url)
            times.append(time.perf_counter() - began)
            check(answer.status_code == 200 and "price" in answer.text, answer.text[:200])

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * requests)):
                await asyncio.sleep(max(0.0, began + number / requests - time.perf_counter()))
                group.create_task(one())
    return times
