"""The test stand: the exchange in the box and the platform, each a process of its own, as a user would run them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import cpu_seconds, mapped_megabytes, resident_megabytes

ROOT = Path(__file__).parents[1]
TAPEHOUSE = (sys.executable, "-m", "tapehouse.cli")
PATIENCE = 120.0


@dataclass(frozen=True)
class Exchange:
    """A running exchange."""

    ws_url: str
    rest_url: str
    process: int

    def told(self) -> int:
        """Return how many trades it has told."""
        return int(json.loads(fetch(f"{self.rest_url}/_exchange"))["trades_told"])


@dataclass(frozen=True)
class Platform:
    """A running platform: its address, its lake, its process."""

    url: str
    lake: str
    process: subprocess.Popen[str]
    seconds_to_start: float

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        return cpu_seconds(self.process.pid)

    def resident_megabytes(self) -> float:
        """Return the memory occupied now."""
        return resident_megabytes(self.process.pid)

    def mapped_megabytes(self) -> float:
        """Return how much of that is the code of libraries and other mapped files."""
        return mapped_megabytes(self.process.pid)

    def count(self, metric: str) -> float:
        """Return a metric, summed over its labels."""
        lines = fetch(f"{self.url}/metrics").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{metric}[ {{]", line))

    def thread_seconds(self) -> dict[str, float]:
        """Return the CPU time used so far by kind of thread."""
        told = re.findall(r'tapehouse_thread_cpu_seconds_total{thread="(.*)"} (.*)', fetch(f"{self.url}/metrics"))
        return {thread: float(seconds) for thread, seconds in told}

    def accepted(self) -> float:
        """Return how many trades are held for the first time."""
        return self.count("tapehouse_trades_accepted_total")


@contextlib.contextmanager
def exchange(rate: float, symbols: int = 3, *, speed: str = "1", history: float = 1.0) -> Iterator[Exchange]:
    """Run an exchange that makes `rate` trades a second over all symbols, without bursts."""
    given = {"port": 0, "rate": rate, "symbols": symbols, "speed": speed, "history": history, "bursts": 0}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    process = subprocess.Popen([*TAPEHOUSE, "exchange", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        greeting = [process.stdout.readline() for _ in range(4)]
        yield Exchange(greeting[1].split()[-1], greeting[2].split()[-1], process.pid)
    finally:
        end(process)


@contextlib.contextmanager
def platform(folder: Path, source: Exchange, command: Sequence[str] = TAPEHOUSE, **settings: str) -> Iterator[Platform]:
    """Run the platform on an exchange, its lake in a folder; ended by SIGTERM, everything received is committed."""
    lake = str(folder / "delta")
    chosen = {
        "LAKE": lake,
        "STATE": str(folder / "state"),
        "BINANCE_WS_URL": source.ws_url,
        "BINANCE_REST_URL": source.rest_url,
        "BINANCE_ARCHIVE_URL": source.rest_url,
        "API_PORT": "0",
        "SYMBOLS": "*USDT",
        "SOURCES": "binance",
        **settings,
    }
    environment = os.environ | {f"TAPEHOUSE_{name}": value for name, value in chosen.items()}
    began = time.monotonic()
    process = subprocess.Popen([*command, "up"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        url = address_of(process)
        fetch(f"{url}/health")
        yield Platform(url, lake, process, time.monotonic() - began)
    finally:
        end(process)


@contextlib.contextmanager
def newcomers_install() -> Iterator[tuple[str, ...]]:
    """Give the command of a clone in which `make setup` was run: what `make up` needs and nothing else.

    Polars loads NumPy where it is installed, as it is for developers; the platform itself does without.
    """
    with folder() as place:
        clone = place / "tapehouse"
        for step in (["git", "clone", "--quiet", str(ROOT), str(clone)], ["make", "-C", str(clone), "setup"]):
            subprocess.run(step, check=True, stdout=subprocess.DEVNULL)
        yield (str(clone / ".venv/bin/tapehouse"),)


def address_of(process: subprocess.Popen[str]) -> str:
    """Return the address a platform says is to be opened; what it says from then on is read and dropped."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"Open (http\S+)", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it can go on writing
            return found[1]
    raise SystemExit("The platform did not start:\n" + "".join(said))


def end(process: subprocess.Popen[str]) -> None:
    """End a process as a service manager would, and wait for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def fetch(url: str) -> str:
    """Return what an address answers."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def wait_until_it_flows(platform: Platform, trades: float) -> None:
    """Wait until so many trades are held: connections are open and caches warm."""
    deadline = time.monotonic() + PATIENCE
    while platform.accepted() < trades:
        if time.monotonic() > deadline:
            raise SystemExit(f"{platform.accepted():.0f} of {trades:.0f} trades came within {PATIENCE:.0f} s")
        time.sleep(0.2)


def wait_until_complete(platform: Platform) -> None:
    """Wait until no trade is missing."""
    deadline = time.monotonic() + PATIENCE
    while platform.count("tapehouse_missing_trades") > 0:
        if time.monotonic() > deadline:
            raise SystemExit(f"trades are missing after {PATIENCE:.0f} s")
        time.sleep(0.05)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for a lake, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as name:
        yield Path(name)


def wait_until_known(platform: Platform, symbol: str) -> None:
    """Wait until a platform that learns its symbols from what comes knows this one."""
    deadline = time.monotonic() + PATIENCE
    while symbol not in json.loads(fetch(f"{platform.url}/health"))["symbols"]:
        if time.monotonic() > deadline:
            raise SystemExit(f"Nothing of {symbol} came within {PATIENCE:.0f} s")
        time.sleep(0.1)
