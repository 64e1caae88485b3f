"""`tapehouse stream` at a steady rate: the age of a trade when bronze has it, of a candle when silver has it.

Event time runs faster than the clock, so that minutes end often; ages are between the time a message was put on Kafka
and the commit that holds what follows from it. Broker and sender share the machine's cores.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from confluent_kafka import Producer

from benchmarks.bench_spark import SYMBOLS, running_broker
from benchmarks.measuring import Figure, at_most, check, quantile
from tapehouse.catalog import CANDLES, TRADES, TRADES_TOPIC
from tapehouse.lake.delta import DeltaLake
from tapehouse.settings import Settings
from tapehouse.tape.codec import headers_of, key_of

RATES = (300, 3_000)
GOAL = 1.0
"""Seconds a trade may take to bronze."""
EVENT_SECONDS = 30
"""Seconds of event time in a second."""
MINUTE = 60_000_000
WARM_SECONDS = 60.0
STARTED_WITHIN = 120.0


def run(seconds: float) -> Sequence[Figure]:
    """Measure at each rate, after a minute to be warm."""
    return [figure for rate in RATES for figure in _figures(rate, seconds)]


def _figures(rate: int, seconds: float) -> Sequence[Figure]:
    with running_broker(SYMBOLS) as settings:
        sender = Sender(settings, rate)
        stream = _start(settings)
        try:
            sender.start()
            _wait_for_bronze(settings, stream)
            time.sleep(WARM_SECONDS)
            since = time.time()
            time.sleep(seconds)
            sender.stop()
            time.sleep(3)
        finally:
            sender.stop()
            told = time.monotonic()
            stream.send_signal(signal.SIGTERM)
            status = stream.wait(60)
        ended = time.monotonic() - told
        check(status == 0, f"the stream ended with status {status}")
        lake = DeltaLake(settings.lake, writer=None)
        ids = lake.scan(TRADES).select("symbol", "first_trade_id").collect()
        check(ids.height == ids.unique().height == sender.sent, f"{ids.height} trades in bronze of {sender.sent}")
        trades, candles = list(_trade_ages(lake, since)), list(_candle_ages(lake, since, sender))
    return [
        at_most(f"{rate:,} msg/s: age of a trade in bronze, p50", quantile(trades, 0.5), "s", GOAL),
        at_most(f"{rate:,} msg/s: age of a trade in bronze, p99", quantile(trades, 0.99), "s", GOAL),
        Figure(f"{rate:,} msg/s: age of a candle's last change in silver, p50", quantile(candles, 0.5), "s"),
        Figure(f"{rate:,} msg/s: age of a candle's last change in silver, p99", quantile(candles, 0.99), "s"),
        at_most(f"{rate:,} msg/s: SIGTERM to the end of the process", ended, "s", 10.0),
    ]


class Sender(threading.Thread):
    """Puts trades on the tape at a rate; `proved` is when the first trade after a minute (of event time) was sent."""

    def __init__(self, settings: Settings, rate: int) -> None:
        super().__init__(daemon=True)
        self._producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "linger.ms": 5})
        self._rate = rate
        self._ending = threading.Event()
        self.sent = 0
        self.proved: dict[tuple[str, int], int] = {}

    def run(self) -> None:
        """Send until told to stop."""
        began = time.time_ns() // 1000
        for number in count():
            due = began + number * 1_000_000 // self._rate
            while (now := time.time_ns() // 1000) < due:
                self._producer.poll(0)
                time.sleep(0.002)
            if self._ending.is_set():
                return
            traded_at = began + (due - began) * EVENT_SECONDS
            symbol = SYMBOLS[number % len(SYMBOLS)]
            self.proved.setdefault((symbol, traded_at - traded_at % MINUTE - MINUTE), now)
            self._producer.produce(
                TRADES_TOPIC,
                _frame(symbol, number, traded_at // 1000),
                key_of(symbol),
                headers=headers_of("stream", now),
            )
            self.sent += 1

    def stop(self) -> None:
        """End, with all that was sent on the tape."""
        self._ending.set()
        if self.is_alive():
            self.join()
            self._producer.flush(30)


def _frame(symbol: str, number: int, at: int) -> bytes:
    data = {"e": "trade", "E": at, "s": symbol, "t": number // len(SYMBOLS), "p": "61784.01000000"}
    data |= {"q": "0.00045000", "T": at, "m": number % 2 == 0, "M": True}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()


def _start(settings: Settings) -> "subprocess.Popen[bytes]":
    own = {
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_SOURCES": "coingecko",  # nothing is asked about candles that differ
        "TAPEHOUSE_SYMBOLS": ",".join(SYMBOLS),
        "TAPEHOUSE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "TAPEHOUSE_LAKE": settings.lake,
        "TAPEHOUSE_STATE": f"{settings.lake}-state",
        "TAPEHOUSE_SPARK_JARS": str(settings.spark_jars),
        "TAPEHOUSE_SPARK_MASTER": settings.spark_master,
        "TAPEHOUSE_SPARK_UI_PORT": "0",
    }
    with Path(f"{settings.lake}-log").open("wb") as log:
        command = [sys.executable, "-m", "tapehouse.cli", "stream", "--port", "0"]
        return subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)


def _wait_for_bronze(settings: Settings, stream: "subprocess.Popen[bytes]") -> None:
    lake, deadline = DeltaLake(settings.lake, writer=None), time.monotonic() + STARTED_WITHIN
    while lake.version(TRADES) < 1:
        check(stream.poll() is None and time.monotonic() < deadline, "the stream does not take the tape")
        time.sleep(0.5)


def _commits(lake: DeltaLake, table: str, since: float) -> Iterator[tuple[float, pl.DataFrame]]:
    """Give the rows each commit brought, and when it was made (microseconds)."""
    for entry in lake.place.log_entries(table):
        if entry.written_at < since or not entry.name.endswith(".json"):
            continue
        log = (Path(lake.address(table)) / "_delta_log" / entry.name).read_text().splitlines()
        added = [action["add"] for action in map(json.loads, log) if "add" in action]
        paths = [unquote(add["path"]) for add in added if add["dataChange"]]
        if paths:
            yield entry.written_at * 1e6, lake.scan_paths(table, paths).collect()


def _trade_ages(lake: DeltaLake, since: float) -> Iterator[float]:
    for at, rows in _commits(lake, TRADES, since):
        yield from ((at - rows["received_at"].dt.epoch("us")) / 1e6).to_list()


def _candle_ages(lake: DeltaLake, since: float, sender: Sender) -> Iterator[float]:
    for at, rows in _commits(lake, CANDLES, since):
        for symbol, opened in (
            rows.filter(interval="1m").select("symbol", pl.col("opened_at").dt.epoch("us")).iter_rows()
        ):
            yield (at - sender.proved[symbol, opened]) / 1e6
