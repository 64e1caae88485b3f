"""How fast questions are answered: candles of stored trades computed again, and the last prices under load."""

import asyncio
import time
from statistics import median

from benchmarks import stand, stored
from benchmarks.measuring import Figure, at_most, check, quantile
from tapehouse.catalog import TRADES
from tapehouse.streaming.recovery import fold_bronze

REPEATS = 7
CONNECTIONS = 16


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
        times = asyncio.run(ask(platform.url, "/prices/latest", seconds, requests))
    name = f"/prices/latest at {len(times) / seconds:,.0f} requests/s while {rate:,.0f} msg/s come in"
    return [
        Figure(f"{name}, p50", median(times) * 1000, "ms"),
        at_most(f"{name}, p99", quantile(times, 0.99) * 1000, "ms", 5),
    ]


async def ask(address: str, path: str, seconds: float, requests: float) -> list[float]:
    """Send so many requests a second over a few connections, each at its time; return seconds from then to the answer.

    The requests are bare: a full HTTP client takes more of the machine than the platform does.
    """
    host, port = address.removeprefix("http://").split(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    began = time.perf_counter() + 0.5
    times: list[float] = []

    async def visitor(first: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in range(first, int(seconds * requests), CONNECTIONS):
            due = began + number / requests
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked = time.perf_counter()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            times.append(time.perf_counter() - asked)
            check(b" 200 " in head[:16] and b"price" in body, f"{head!r} {body[:200]!r}")
        writer.close()

    async with asyncio.TaskGroup() as group:
        for first in range(CONNECTIONS):
            group.create_task(visitor(first))
    return times
