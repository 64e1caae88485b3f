"""The whole path as fast as it goes: socket, coverage, bronze committed, candles, live view; beside it cryptofeed.

The exchange is a process of its own and sends as fast as its reader takes. Afterwards every id must be in bronze once
and every closed candle equal to the exchange's kline. cryptofeed then reads such a socket, and stores nothing.
"""

import json
import subprocess
import sys
import time

from benchmarks import stand, truth
from benchmarks.measuring import Figure, at_least, at_most
from tapehouse.lake.delta import DeltaLake

GOAL = 400_000
TAPE_RATE = 25_000
"""Trades a second of event time: low, so that many minutes pass and close."""


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
            began, cpu, held = time.monotonic(), platform.cpu_seconds(), platform.accepted()
            time.sleep(seconds)
            accepted = platform.accepted() - held
            took, used = time.monotonic() - began, platform.cpu_seconds() - cpu
        lake = DeltaLake(str(folder / "delta"))
        trades = truth.check_trades(lake)
        compared, _ = truth.check_candles(lake)
    return [
        at_least(f"sustained for {took:.0f} s", accepted / took, "msg/s", GOAL),
        Figure("CPU seconds per million messages", used / accepted * 1e6, "s"),
        Figure("trades in bronze, each once", trades, ""),
        Figure("closed candles equal to the exchange's klines, all compared", compared, ""),
    ]


def measure_cryptofeed(seconds: float) -> dict[str, float]:
    """Run the peer against an exchange that waits for its reader."""
    with stand.exchange(TAPE_RATE, speed="max") as exchange:
        command = [sys.executable, "-m", "benchmarks.cryptofeed_peer", exchange.ws_url, exchange.rest_url, str(seconds)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=seconds + 60)
    return dict(json.loads(answer.stdout.splitlines()[0]))
