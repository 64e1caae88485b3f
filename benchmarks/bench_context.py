"""What it takes to poll 200 feeds and 400 coins for a day, beside the same platform that polls nothing.

The upstreams run in a process of their own, on the same clock, which runs faster; each poll is a request over a socket,
each answer is read, linked, committed and shown. Afterwards every version is in the lake once.
"""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks import stand
from benchmarks.measuring import Figure, at_most, check, cpu_seconds, quantile, resident_megabytes
from benchmarks.upstreams import COINS, DAY, FEEDS
from tapehouse.catalog import CONTEXT_TABLES
from tapehouse.lake.delta import DeltaLake

SPEED = 192.0
"""So many times as fast as ours runs the clock of both: what lies minutes apart still comes one after the other."""
BASE_SECONDS = 60.0
STORIES_SEEN = 30


@contextlib.contextmanager
def upstreams(began: float, speed: float) -> Iterator[str]:
    """Run the upstreams; give their address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.upstreams", str(port), str(began), str(speed)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + stand.PATIENCE
        while True:
            try:
                stand.fetch(f"{url}/feeds/0")
                break
            except urllib.error.URLError:
                check(time.monotonic() < deadline and process.poll() is None, "the upstreams do not answer")
                time.sleep(0.05)
        yield url
    finally:
        stand.end(process)


@contextlib.contextmanager
def platform(url: str, began: float, speed: float, folder: Path, what: str) -> Iterator[stand.Platform]:
    """Run the platform around the polled sources."""
    command = [sys.executable, "-m", "benchmarks.polled", url, str(began), str(speed), str(folder), what]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield stand.Platform(stand.address_of(process), str(folder / "delta"), process, 0.0)
    finally:
        stand.end(process)


@dataclass(frozen=True)
class Observed:
    """A run: CPU seconds a simulated second, and the memory (MB) as it was looked at."""

    cpu: float
    memory: list[float]

    @property
    def usual(self) -> float:
        """What it had in the middle of its second half: with all that it comes to remember."""
        return median(self.memory[len(self.memory) // 2 :])


def observe(what: str, seconds: float) -> Observed:
    """Run for so many simulated seconds, and check what is stored."""
    began, memory = time.time(), list[float]()
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as name, upstreams(began, SPEED) as url:
        folder = Path(name)
        with platform(url, began, SPEED, folder, what) as running:
            process, until = running.process.pid, time.monotonic() + seconds / SPEED
            used = cpu_seconds(process)
            while time.monotonic() < until:
                time.sleep(0.25)
                memory.append(resident_megabytes(process))
            used = cpu_seconds(process) - used
        if what == "polled":
            _check(DeltaLake(str(folder / "delta")), seconds)
    return Observed(used / seconds, memory)


def _check(lake: DeltaLake, seconds: float) -> None:
    rows = {kind: lake.scan(table).drop("payload").collect() for kind, table in CONTEXT_TABLES.items()}
    for kind, told in rows.items():
        check(told.select("source", "key", "known_at").is_duplicated().sum() == 0, f"a version of {kind} twice")
    of_source = {source: frame for (source,), frame in rows["market_data"].group_by("source")}
    check(of_source["coingecko"]["key"].n_unique() == COINS, "not every coin was told")
    check(rows["news"]["source"].n_unique() == FEEDS, "not every feed was told")
    check(rows["news"].group_by("source", "key").len()["len"].max() == 1, "a story that did not change twice")
    check(rows["sentiment"].height > 3_000, "not the whole index was told")
    past = of_source["coingecko_history"].with_columns(coin=pl.col("key").str.split("/").list.first())
    check(past["coin"].n_unique() >= min(COINS, seconds / 120), "the past of too few coins")


def seen_after() -> list[float]:
    """Return the seconds from an answer that carries a story to the story in `/news`."""
    began, seen = time.time(), dict[str, float]()
    with (
        tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as name,
        upstreams(began, 1.0) as url,
        platform(url, began, 1.0, Path(name), "polled") as running,
    ):
        deadline = time.monotonic() + stand.PATIENCE
        while len(seen) < STORIES_SEEN:
            check(time.monotonic() < deadline, "the stories do not come")
            for story in json.loads(stand.fetch(f"{running.url}/news?limit=3"))["news"]:
                seen.setdefault(story["title"], time.time() - float(story["title"].removeprefix("served ")))
            time.sleep(0.01)
    return list(seen.values())


def run(*, quick: bool) -> list[Figure]:
    """Poll for a day of the clock, or a quarter of one, and poll nothing."""
    seconds = DAY / 4 if quick else DAY
    base, polled = observe("base", BASE_SECONDS * SPEED), observe("polled", seconds)
    ages = seen_after()
    name = f"{FEEDS} feeds and {COINS} coins"
    return [
        Figure("the platform that polls nothing: memory", base.usual, "MB"),
        at_most(f"{name}: memory beyond that", polled.usual - base.usual, "MB", 50),
        Figure(f"{name}: at the most, {SPEED:.0f} times as fast as time", max(polled.memory) - base.usual, "MB"),
        at_most(f"{name}: part of a core", (polled.cpu - base.cpu) * 100, "%", 2),
        at_most("from an answer to the story in /news, the longest of 30", quantile(ages, 1.0), "s", 1),
    ]
