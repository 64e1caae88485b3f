"""The producer: socket to committed transactions of Kafka, the broker and the exchange on the same machine.

Afterwards every id between the first and the last of each symbol must be on the topic, once.
"""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
from websockets.sync.client import connect

from benchmarks import bench_ages, stand
from benchmarks.measuring import Figure, at_least, at_most, check, cpu_seconds, resident_megabytes
from tapehouse.catalog import TRADES_TOPIC
from tapehouse.market.coverage import Ranges
from tapehouse.producers.binance.decode import decode_rest, decode_stream
from tapehouse.settings import Settings
from tapehouse.tape.reader import KafkaTapeReader
from tapehouse.tape.topics import apply_topics

GOAL = 50_000
TAPE_RATE = 25_000
"""Trades a second of event time where the exchange sends as fast as it is read."""
RECORDS = rf'tapehouse_tape_records_total{{topic="{TRADES_TOPIC}"}}'

sys.path.append(str(Path(__file__).parents[1] / "deploy" / "local"))  # programs of the repository, not a package


@dataclass(frozen=True)
class Observed:
    """A run: records and CPU seconds of the producer, seconds, megabytes, and its ages as (at most, how many)."""

    records: float
    cpu: float
    seconds: float
    megabytes: float
    ages: list[tuple[float, float]]

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def cost(self) -> float:
        """CPU seconds a million records."""
        return self.cpu / self.records * 1e6

    def age(self, share: float) -> float:
        """Return the bound of the age that this share of the transactions does not exceed."""
        return next(bound for bound, count in self.ages if count >= share * self.ages[-1][1])


def run(seconds: float) -> list[Figure]:
    """Measure as fast as it goes, at two paces, and over many symbols."""
    fast = observe(seconds, TAPE_RATE, speed="max")
    slow, usual = observe(seconds, 300), observe(seconds, 3_000)
    many = observe(seconds, 3_000, symbols=300)
    calm, brisk = live_ages(seconds, 300), live_ages(seconds, 3_000)
    return [
        at_least("socket to committed transactions", fast.rate, "msg/s", GOAL),
        Figure("CPU seconds of the producer per million", fast.cost, "s"),
        Figure("memory of the producer", fast.megabytes, "MB"),
        *_ages("300 msg/s", slow),
        *_ages("3,000 msg/s", usual),
        Figure("300 msg/s: trade to live candle of the API, p50", calm[0], "ms"),
        at_most("300 msg/s: trade to live candle of the API, p99", calm[1], "ms", 100),
        Figure("3,000 msg/s: trade to live candle of the API, p50", brisk[0], "ms"),
        at_most("3,000 msg/s: trade to live candle of the API, p99", brisk[1], "ms", 100),
        at_most("3,000 msg/s: CPU over 300 symbols / over 3", many.cost / usual.cost, "", 1.2),
    ]


def _ages(name: str, seen: Observed) -> list[Figure]:
    return [Figure(f"{name}: age at commit, {100 * share:.0f} %", seen.age(share), "s") for share in (0.5, 0.99)]


def observe(seconds: float, rate: float, *, symbols: int = 3, speed: str = "1") -> Observed:
    """Run the producer at a rate, and check what it put on the topic."""
    with _brokers() as (home, settings):
        with stand.exchange(rate, symbols, speed=speed) as exchange, producing(home, exchange, settings) as (url, pid):
            _wait_for(url, rate)
            before, cpu, began = _metrics(url), cpu_seconds(pid), time.monotonic()
            time.sleep(seconds)
            after, used, took = _metrics(url), cpu_seconds(pid) - cpu, time.monotonic() - began
            memory = resident_megabytes(pid)
        check_ids(settings)
    ages = [
        (float(found[1]), after[name] - before.get(name, 0.0))
        for name in after
        if (found := re.fullmatch(r'tapehouse_tape_age_seconds_bucket{le="(.*)"}', name))
    ]
    return Observed(after[RECORDS] - before[RECORDS], used, took, memory, ages)


def live_ages(seconds: float, rate: float) -> tuple[float, float]:
    """Return (p50, p99) in milliseconds from a trade at a client of the exchange to its candle at a client of ours.

    The API follows the tape; nobody writes the lake.
    """
    with (
        _brokers() as (home, settings),
        stand.exchange(rate) as exchange,
        producing(home, exchange, settings) as (url, _),
    ):
        _wait_for(url, rate)
        cluster = {"PROFILE": "cluster", "KAFKA_BOOTSTRAP": settings.kafka_bootstrap}
        with stand.platform(home, exchange, **cluster) as platform, ThreadPoolExecutor(1) as beside:
            stand.wait_until_known(platform, bench_ages.SYMBOL)
            told = beside.submit(_trades_told, exchange, seconds + 2)
            seen = bench_ages.follow(platform.url, seconds)
            return bench_ages.ages_between(told.result(), seen)


def _trades_told(exchange: stand.Exchange, seconds: float) -> list[tuple[int, int]]:
    """Return (arrival in microseconds, id) of each trade that the exchange tells a client."""
    told = []
    with connect(f"{exchange.ws_url}/ws/{bench_ages.SYMBOL.lower()}@trade", max_size=None) as socket:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = socket.recv(timeout=10)
            told.append((time.time_ns() // 1000, int(msgspec.json.decode(message)["t"])))
    return told


@contextlib.contextmanager
def _brokers() -> Iterator[tuple[Path, Settings]]:
    """Run a broker with every topic; give a folder and how to reach it."""
    import parts  # noqa: PLC0415  # found through the line above
    import servers  # noqa: PLC0415

    jars = parts.fetch_kafka(parts.kept_folder() / "kafka-jars")
    with stand.folder() as home, servers.Broker(home / "broker", jars=jars) as broker:
        settings = Settings(kafka_bootstrap=broker.bootstrap)
        list(apply_topics(settings))
        yield home, settings


@contextlib.contextmanager
def producing(home: Path, exchange: stand.Exchange, settings: Settings) -> Iterator[tuple[str, int]]:
    """Run `tapehouse produce binance`; give its address and its process."""
    given = {
        "KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "BINANCE_WS_URL": exchange.ws_url,
        "BINANCE_REST_URL": exchange.rest_url,
        "SYMBOLS": "*USDT",
        "STATE": str(home / "state"),
    }
    environment = os.environ | {f"TAPEHOUSE_{name}": value for name, value in given.items()}
    command = [*stand.TAPEHOUSE, "produce", "binance", "--port", "0"]
    process = subprocess.Popen(command, cwd=home, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = iter(process.stderr.readline, "")
        url = next(found[1] for line in said if (found := re.search(r"(http://\S+)/health", line)))
        threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it can go on writing
        yield url, process.pid
    finally:
        stand.end(process)


def _metrics(url: str) -> dict[str, float]:
    lines = [line for line in stand.fetch(f"{url}/metrics").splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def _wait_for(url: str, records: float) -> None:
    deadline = time.monotonic() + stand.PATIENCE
    while _metrics(url).get(RECORDS, 0.0) < records:
        check(time.monotonic() < deadline, "nothing comes onto the topic")
        time.sleep(0.2)


def check_ids(settings: Settings) -> None:
    """Check that every id between the first and the last of each symbol is on the topic once."""
    reader = KafkaTapeReader(settings, since=0, topics=[TRADES_TOPIC])
    held: dict[str, Ranges] = defaultdict(Ranges)
    while batches := reader.read(5.0):
        for batch in batches:
            if batch.shape == "stream":
                ranges = [(trade.s, trade.t, trade.t) for trade in decode_stream(batch).trades]
            else:
                ranges = [(each.symbol, each.first_trade_id, each.last_trade_id) for each, _ in decode_rest(batch)[0]]
            for symbol, first, last in ranges:
                check(held[symbol].missing(first, last) == [(first, last)], f"{symbol} {first} is there twice")
                held[symbol].add(first, last)
    check(bool(held), "nothing is on the topic")
    for symbol, ids in held.items():
        check(not ids.holes(), f"of {symbol} are missing {ids.holes()[:3]}")
