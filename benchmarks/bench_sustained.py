"""The whole path as fast as it goes: socket, coverage, bronze committed, candles, live view; beside it cryptofeed.

The exchange is a process of its own and sends as fast as its reader takes; a client follows the live candles.
Afterwards every id must be in bronze once, every closed minute equal to the exchange's kline, every longer candle to
its minutes. cryptofeed then reads such a socket, and stores nothing.
"""

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from websockets.sync.client import connect

from benchmarks import bench_ages, stand, truth
from benchmarks.measuring import Figure, at_least, at_most, check
from tapehouse.lake.delta import DeltaLake

GOAL = 400_000
TAPE_RATE = 25_000
"""Trades a second of event time: low, so that many minutes pass and close."""
SMALL = 0.02
"""A kind of thread that takes less of the time is not named."""
THREADS = {
    "main": "the socket, its frames onto the tape, and answers",
    "fold": "coverage, candles and the live view",
    "commits": "rows of bronze and silver, as columns",
    "tokio-rt-worker": "Parquet and the log (deltalake)",
    "polars": "columns of the fold (Polars)",
    "jemalloc_bg_thd": "memory given back (jemalloc)",
    "maintain": "upkeep of the tables",
    "others": "all others",
}
"""What the threads of the platform do."""


def run(seconds: float) -> list[Figure]:
    """Measure both, one after the other."""
    ours = measure_platform(seconds)
    peer = measure_cryptofeed(min(seconds, 15.0))
    cost, peer_cost = ours[1].value, peer["cpu"] / peer["messages"] * 1e6
    return [
        *ours,
        Figure("cryptofeed, trades callback alone: messages a second", peer["messages"] / peer["seconds"], "msg/s"),
        Figure("cryptofeed: CPU seconds per million messages", peer_cost, "s"),
        at_most("CPU per message, Tapehouse / cryptofeed", cost / peer_cost, "", 0.5),
    ]


def measure_platform(seconds: float) -> list[Figure]:
    """Run the platform and check what it stored."""
    with stand.folder() as folder:
        with stand.exchange(TAPE_RATE, speed="max") as exchange, stand.platform(folder, exchange) as platform:
            stand.wait_until_it_flows(platform, GOAL)
            threads = platform.thread_seconds()
            began, cpu, held = time.monotonic(), platform.cpu_seconds(), platform.accepted()
            with ThreadPoolExecutor(1) as beside:
                beside.submit(bench_ages.follow, platform.url, seconds).result()
            accepted = platform.accepted() - held
            took, used = time.monotonic() - began, platform.cpu_seconds() - cpu
            spent = {name: told - threads.get(name, 0.0) for name, told in platform.thread_seconds().items()}
            with connect(platform.url.replace("http", "ws") + "/live", max_size=None):
                ends = stop(platform)
        lake = DeltaLake(str(folder / "delta"))
        trades = truth.check_trades(lake)
        compared, longer = truth.check_candles(lake)[0], truth.check_longer(lake)
    return [
        at_least(f"sustained for {took:.0f} s", accepted / took, "msg/s", GOAL),
        Figure("CPU seconds per million messages", used / accepted * 1e6, "s"),
        *_where(spent, accepted),
        at_most("Ctrl-C to the end of the process, everything committed, a client connected", ends, "s", 5),
        Figure("trades in bronze, each once", trades, ""),
        Figure("closed minutes equal to the exchange's klines, all compared", compared, ""),
        Figure("closed candles of longer intervals equal to their minutes", longer, ""),
    ]


def stop(platform: stand.Platform) -> float:
    """Press Ctrl-C; return the seconds until the process has ended as it should."""
    pressed = time.monotonic()
    platform.process.send_signal(signal.SIGINT)
    check(platform.process.wait(60) == 0, "it did not end well")
    return time.monotonic() - pressed


def _where(spent: dict[str, float], accepted: float) -> list[Figure]:
    """Say which threads the time went to, the larger parts by name."""
    parts = sorted(spent.items(), key=lambda part: -part[1])
    named = [(name, seconds) for name, seconds in parts if seconds >= SMALL * sum(spent.values())]
    others = sum(spent.values()) - sum(seconds for _, seconds in named)
    return [
        Figure(f"of which {THREADS.get(name, f'threads {name}')}", seconds / accepted * 1e6, "s")
        for name, seconds in [*named, ("others", others)]
    ]


def measure_cryptofeed(seconds: float) -> dict[str, float]:
    """Run the peer against an exchange that waits for its reader."""
    with stand.exchange(TAPE_RATE, speed="max") as exchange:
        command = [sys.executable, "-m", "benchmarks.cryptofeed_peer", exchange.ws_url, exchange.rest_url, str(seconds)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=seconds + 60)
    return dict(json.loads(answer.stdout.splitlines()[0]))
