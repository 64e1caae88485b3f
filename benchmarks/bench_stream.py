"""The cluster profile at a steady rate: the age of a trade when bronze has it, of a candle when silver and the API do.

Exchange, producer, broker, Spark and the API run as they do on one machine, and share its cores. Event time runs faster
than the clock, so that minutes end often. Ages count from the receipt of a trade by the producer: to the commit that
holds it, or the message of the API that tells of it; of a candle from the receipt of the trade that proved it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import polars as pl

from benchmarks import bench_ages, stand, truth
from benchmarks.bench_kafka import producing
from benchmarks.bench_spark import SYMBOLS, running_broker
from benchmarks.measuring import Figure, at_most, check, quantile
from tapehouse.catalog import CANDLES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.settings import Settings

RATES = (300, 3_000)
GOAL = 1.0
"""Seconds a trade may take to bronze."""
LIVE_GOAL = 100
"""Milliseconds a trade may take to the candle that the API shows."""
EVENT_SECONDS = 30
"""Seconds of event time in a second."""
MINUTE = 60_000_000
WARM_SECONDS = 60.0
STARTED_WITHIN = 120.0


def run(seconds: float) -> Sequence[Figure]:
    """Measure at each rate, after a minute to be warm."""
    return [figure for rate in RATES for figure in _figures(rate, seconds)]


def _figures(rate: int, seconds: float) -> Sequence[Figure]:
    with (
        running_broker(SYMBOLS) as settings,
        stand.folder() as home,
        stand.exchange(rate / EVENT_SECONDS, speed=str(EVENT_SECONDS)) as exchange,
    ):
        stream = _start(settings)
        cluster = {"PROFILE": "cluster", "KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "LAKE": settings.lake}
        try:
            with producing(home, exchange, settings), stand.platform(home, exchange, **cluster) as platform:
                _wait_for_bronze(settings, stream)
                stand.wait_until_known(platform, bench_ages.SYMBOL)
                time.sleep(WARM_SECONDS)
                since = time.time()
                seen = bench_ages.follow(platform.url, seconds)
            time.sleep(3)
        finally:
            told = time.monotonic()
            stream.send_signal(signal.SIGTERM)
            status = stream.wait(60)
        ended = time.monotonic() - told
        check(status == 0, f"the stream ended with status {status}")
        lake = DeltaLake(settings.lake, writer=None)
        received = _received(lake, since, seconds)
        truth.check_trades(lake)
        trades, candles = list(_trade_ages(lake, since)), list(_candle_ages(lake, since))
        live = bench_ages.live_ages(lake, seen)
    return [
        Figure(f"{rate:,} msg/s: trades received", received / seconds, "msg/s"),
        at_most(f"{rate:,} msg/s: age of a trade in bronze, p50", quantile(trades, 0.5), "s", GOAL),
        at_most(f"{rate:,} msg/s: age of a trade in bronze, p99", quantile(trades, 0.99), "s", GOAL),
        Figure(f"{rate:,} msg/s: age of a candle's last change in silver, p50", quantile(candles, 0.5), "s"),
        Figure(f"{rate:,} msg/s: age of a candle's last change in silver, p99", quantile(candles, 0.99), "s"),
        Figure(f"{rate:,} msg/s: trade to live candle of the API, p50", live[0], "ms"),
        at_most(f"{rate:,} msg/s: trade to live candle of the API, p99", live[1], "ms", LIVE_GOAL),
        at_most(f"{rate:,} msg/s: SIGTERM to the end of the stream", ended, "s", 10.0),
    ]


def _received(lake: DeltaLake, since: float, seconds: float) -> int:
    """Return how many trades were received in so many seconds."""
    received = pl.col("received_at").dt.epoch("us")
    within = lake.scan(TRADES).filter(received.is_between(since * 1e6, (since + seconds) * 1e6))
    return int(within.select(pl.len()).collect().item())


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


def _candle_ages(lake: DeltaLake, since: float) -> Iterator[float]:
    traded = pl.col("traded_at").dt.epoch("us")
    proved = (
        lake.scan(TRADES)
        .group_by("symbol", opened=traded - traded % MINUTE - MINUTE)
        .agg(pl.col("received_at").dt.epoch("us").min())
        .collect()
    )
    at_of = {(symbol, opened): at for symbol, opened, at in proved.iter_rows()}
    for at, rows in _commits(lake, CANDLES, since):
        minutes = rows.filter(interval="1m", state="closed").select("symbol", pl.col("opened_at").dt.epoch("us"))
        # a minute after which none was traded is proved by its kline
        yield from ((at - at_of[window]) / 1e6 for window in minutes.iter_rows() if window in at_of)
