"""What the platform takes while it runs: memory at a high rate, many symbols instead of few, and next to nothing.

CPU and resident memory are those of the platform's process alone, as Linux counts them; trades are checked afterwards.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import stand, truth
from benchmarks.measuring import Figure, at_most
from tapehouse.lake.delta import DeltaLake

SAMPLE_EVERY = 1.0


@dataclass(frozen=True)
class Observed:
    """A run: CPU seconds, wall seconds, trades, the memory (megabytes) once a second, mapped files among it."""

    cpu: float
    seconds: float
    trades: float
    memory: list[float]
    mapped: float


def observe(seconds: float, rate: float, symbols: int, command: Sequence[str] = stand.TAPEHOUSE) -> Observed:
    """Run the platform at a rate over so many symbols."""
    with stand.folder() as folder:
        with stand.exchange(rate, symbols) as exchange, stand.platform(folder, exchange, command) as platform:
            stand.wait_until_it_flows(platform, rate * 2)
            began, cpu, held = time.monotonic(), platform.cpu_seconds(), platform.accepted()
            memory = []
            while time.monotonic() < began + seconds:
                time.sleep(SAMPLE_EVERY)
                memory.append(platform.resident_megabytes())
            took, used = time.monotonic() - began, platform.cpu_seconds() - cpu
            ended, trades = time.time_ns() // 1000, platform.accepted() - held
            mapped = platform.mapped_megabytes()
        lake = DeltaLake(str(folder / "delta"))
        truth.check_trades(lake)
        truth.receipt_lag(lake, ended - int(took * 1e6), ended)
    return Observed(used, took, trades, memory, mapped)


def run_memory(seconds: float) -> list[Figure]:
    """200,000 messages a second for some minutes."""
    seen = observe(seconds, 200_000, 3).memory
    half = len(seen) // 2
    early, late = sorted(seen[:half])[half // 2], sorted(seen[half:])[half // 2]
    return [
        at_most(f"most memory in {seconds:.0f} s at 200,000 msg/s", max(seen), "MB", 400),
        Figure("median of the first half", early, "MB"),
        at_most("growth from the first half to the second", late - early, "MB", 20),
    ]


def run_symbols(seconds: float, rate: float = 200_000) -> list[Figure]:
    """One total rate over 3 symbols and over 400."""
    few, many = (observe(seconds, rate, symbols) for symbols in (3, 400))
    cost_few, cost_many = few.cpu / few.trades * 1e6, many.cpu / many.trades * 1e6
    return [
        Figure(f"3 symbols, {rate:,.0f} msg/s: CPU seconds per million", cost_few, "s"),
        Figure(f"400 symbols, {rate:,.0f} msg/s: CPU seconds per million", cost_many, "s"),
        at_most("400 symbols / 3 symbols", cost_many / cost_few, "", 1.3),
    ]


def run_rest(seconds: float) -> list[Figure]:
    """100 messages a second over 3 symbols, installed as a newcomer installs it."""
    with stand.newcomers_install() as command:
        seen = observe(seconds, 100, 3, command)
    return [
        at_most("at rest: part of a core", seen.cpu / seen.seconds * 100, "%", 3),
        at_most("at rest: memory", max(seen.memory), "MB", 200),
        Figure("of which mapped files: the code of libraries", seen.mapped, "MB"),
    ]
