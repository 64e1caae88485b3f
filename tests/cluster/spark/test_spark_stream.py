"""`tapehouse stream` as a person runs it: a process over a real broker, killed when it pleases."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

import polars as pl
import pytest

from tapehouse.catalog import CANDLES, DISCREPANCIES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.ports import Batch

WITHIN = 240.0
pytestmark = pytest.mark.timeout(900)


class Stream:
    """The command as a process group of its own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment, self._log = environment, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "tapehouse.cli", "stream", "--port", "0"]
            self.process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def jvm(self) -> int:
        """The process id of Spark's JVM; the threads that start children are the main one's siblings."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
        return next(int(child) for child in children if b"java" in Path(f"/proc/{child}/cmdline").read_bytes())

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def wait_for(is_so: Callable[[], bool], stream: Stream) -> None:
    deadline = time.monotonic() + WITHIN
    while not is_so():
        assert time.monotonic() < deadline, stream._log.read_text()[-3000:]
        time.sleep(0.2)


def run(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tapehouse.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


class Stubborn(BaseHTTPRequestHandler):
    """An exchange over REST that tells, whatever it is asked, one kline with a `high` that no trade had."""

    told: bytes = b"[]"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.told)))
        self.end_headers()
        self.wfile.write(self.told)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def stubborn() -> Iterator[str]:
    """The address of an exchange that differs with us."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Stubborn) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def disputed(lake: DeltaLake) -> bytes:
    """Return the exchange's message of a closed minute of BTCUSDT, wrong in its high; REST tells the same."""
    stored = lake.scan(CANDLES).filter(symbol="BTCUSDT", interval="1m", state="closed")
    row = stored.sort("opened_at").collect().row(3, named=True)
    opened = int(row["opened_at"].timestamp()) * 1000
    amounts = [str(row[name]) for name in ("open", "high", "low", "close", "volume")]
    amounts[1] = "77.00000000"
    bought = [str(row[name].quantize(Decimal("1e-8"))) for name in ("taker_buy_volume", "taker_buy_quote_volume")]
    quote, trades = str(row["quote_volume"].quantize(Decimal("1e-8"))), row["trades"]
    Stubborn.told = json.dumps([[opened, *amounts, opened + 59_999, quote, trades, *bought, "0"]]).encode()
    kline = {"t": opened, "T": opened + 59_999, "s": "BTCUSDT", "i": "1m", "f": row["first_trade_id"], "x": True}
    kline |= dict(zip(("o", "h", "l", "c", "v"), amounts, strict=True), L=row["last_trade_id"], n=trades, q=quote)
    kline |= {"V": bought[0], "Q": bought[1], "B": "0"}
    data = {"e": "kline", "E": opened + 60_000, "s": "BTCUSDT", "k": kline}
    return json.dumps({"stream": "btcusdt@kline_1m", "data": data}).encode()


@pytest.fixture
def environment(own_broker, spark_jars, tmp_path, stubborn) -> dict[str, str]:
    own = {
        "TAPEHOUSE_BINANCE_REST_URL": stubborn,
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_KAFKA_BOOTSTRAP": own_broker().bootstrap,
        "TAPEHOUSE_KAFKA_PARTITIONS": "2",
        "TAPEHOUSE_LAKE": str(tmp_path / "lake"),
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
        "TAPEHOUSE_SYMBOLS": "BTCUSDT,ETHUSDT",
        "TAPEHOUSE_SPARK_JARS": str(spark_jars),
        "TAPEHOUSE_SPARK_MASTER": "local[2]",
        "TAPEHOUSE_SPARK_UI_PORT": "0",
    }
    return {**os.environ, **own}


@pytest.fixture
def stream(environment, tmp_path) -> Iterator[Stream]:
    stream = Stream(environment, tmp_path / "stream.log")
    yield stream
    stream.end()


@pytest.fixture
def put(environment, put_on) -> Callable[..., None]:
    return put_on(environment["TAPEHOUSE_KAFKA_BOOTSTRAP"])


def tables(lake: DeltaLake) -> tuple[pl.DataFrame, pl.DataFrame]:
    candles = highest_revisions(lake.scan(CANDLES)).drop("known_at", "revision").collect()
    trades = lake.scan(TRADES).collect()
    return candles.sort("symbol", "interval", "opened_at"), trades.sort("symbol", "first_trade_id")


def test_a_driver_killed_again_and_again_leaves_each_trade_once_every_candle_right_and_disputes_settled(
    environment, stream, put, market, embedded_lake
):
    random = Random(7)
    frames = market[:300] + market[250:310] + market[300:500] + market[505:]
    assert run("topics", "apply", environment=environment).returncode == 0
    lake = DeltaLake(environment["TAPEHOUSE_LAKE"])
    lake.create()
    parts = [frames[:200], frames[200:400], frames[400:]]
    held = 0
    for part, victim in zip(parts, ("driver", "jvm", "driver"), strict=True):
        put(part)
        stream.start()
        wait_for(lambda before=held: lake.scan(TRADES).select(pl.len()).collect().item() > before, stream)
        time.sleep(random.random())  # anywhere in what follows from the commit
        if victim == "jvm":
            os.kill(stream.jvm(), signal.SIGKILL)
            assert stream.process.wait(60) == 7
        stream.end()
        held = lake.scan(TRADES).select(pl.len()).collect().item()
    stream.start()
    candles, trades = tables(embedded_lake([Batch([f for _, f in frames], [at for at, _ in frames])]))
    wait_for(lambda: tables(lake)[1].height >= trades.height and tables(lake)[0].height >= candles.height, stream)
    put([(market[-1][0], disputed(lake))], "klines")

    def has_recorded() -> bool:
        put(frames[-1:])  # what is found is stored with the next batch
        return lake.scan(DISCREPANCIES).collect().height > 0

    wait_for(has_recorded, stream)
    told = lake.scan(DISCREPANCIES).collect()
    assert told.select("symbol", "column", "theirs", "status").rows() == [("BTCUSDT", "high", "77", "stays")]
    stream.process.send_signal(signal.SIGTERM)
    assert stream.process.wait(30) == 0
    assert tables(lake)[1].equals(trades.select(tables(lake)[1].columns))
    assert tables(lake)[0].equals(candles)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        span = ("--from", "2024-08-08", "--to", "2024-08-10", "--check")
        assert run("rebuild", symbol, *span, environment=environment).returncode == 0
