"""Seconds from the command to the first answer of `/health`; and to be complete again after a kill in mid-stream."""

import signal
import time
from pathlib import Path
from statistics import median

from benchmarks import stand, stored, truth
from benchmarks.measuring import Figure, at_most
from tapehouse.lake.delta import DeltaLake

REPEATS = 3
DOWN = 5.0
"""Seconds between the kill and the next start: what the exchange tells meanwhile has to be fetched."""


def run(trades: int) -> list[Figure]:
    """Start on an empty lake and on a large one, then kill and start again."""
    empty = [start_on(None) for _ in range(REPEATS)]
    with stand.folder() as folder:
        lake = stored.fill(str(folder / "delta"), trades, rate=2_000)
        stored.tidy(lake, finished=False)
        rows = stored.rows_of(lake)
        large = [start_on(folder) for _ in range(REPEATS)]
    return [
        at_most("start on an empty lake", median(empty), "s", 3),
        at_most(f"start on {rows:,} trades", median(large), "s", 5),
        at_most(f"complete again after kill -9 and {DOWN:.0f} s", again_complete(), "s", 10),
    ]


def start_on(folder: Path | None) -> float:
    """Return the seconds until `/health` answers."""
    with (
        stand.folder() as fresh,
        stand.exchange(100) as exchange,
        stand.platform(folder or fresh, exchange) as platform,
    ):
        return platform.seconds_to_start


def again_complete(rate: float = 1_000) -> float:
    """Kill the platform; return the seconds from the next start until no id is missing, then check every id."""
    with stand.folder() as folder, stand.exchange(rate) as exchange:
        with stand.platform(folder, exchange) as platform:
            stand.wait_until_it_flows(platform, rate * 5)
            platform.process.send_signal(signal.SIGKILL)
            platform.process.wait()
        time.sleep(DOWN)
        began = time.monotonic()
        with stand.platform(folder, exchange) as platform:
            stand.wait_until_it_flows(platform, rate * DOWN)
            stand.wait_until_complete(platform)
            took = time.monotonic() - began
        truth.check_trades(DeltaLake(str(folder / "delta")))
    return took
