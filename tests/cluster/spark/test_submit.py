"""`tapehouse stream` on a Spark cluster of its own processes: a master, a worker, and `spark-submit` before them."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyspark
import pytest

import servers
from tapehouse.catalog import TRADES
from tapehouse.streaming.spark_session import jars

PROGRAM = Path(__file__).parents[3] / "deploy" / "spark" / "stream.py"
SPARK = Path(pyspark.__file__).parent / "bin"
LOOPBACK = "--host", "127.0.0.1", "--webui-port", "0"
WITHIN = 240.0

pytestmark = pytest.mark.timeout(600)


class Master(servers.Server):
    """The master of a standalone Spark cluster."""

    def __init__(self, folder):
        super().__init__("the master", folder)
        self.port = servers.free_port()
        self.address = f"spark://127.0.0.1:{self.port}"

    def command(self):
        return [SPARK / "spark-class", "org.apache.spark.deploy.master.Master", *LOOPBACK, "--port", str(self.port)]

    def is_ready(self):
        return "I have been elected leader" in self.said()


class Worker(servers.Server):
    """Its only worker, with one core."""

    def __init__(self, folder, master):
        super().__init__("the worker", folder)
        self.master = master

    def command(self):
        takes = "--cores", "1", "--memory", "1g", "--work-dir", str(self.folder / "work")
        return [SPARK / "spark-class", "org.apache.spark.deploy.worker.Worker", *LOOPBACK, *takes, self.master]

    def is_ready(self):
        return "Successfully registered with master" in self.said()

    def executors(self):
        """Return how many processes it has started for applications."""
        return len(list((self.folder / "work").glob("app-*/*")))


class Submitted(servers.Server):
    """`spark-submit` of the stream."""

    ready_within = WITHIN

    def __init__(self, folder, master, jars, environment):
        super().__init__("the stream", folder)
        self._master, self._jars, self._environment = master, jars, environment

    def command(self):
        given = "--master", self._master, "--driver-memory", "1g", "--jars", ",".join(jars(self._jars))
        return [SPARK / "spark-submit", *given, PROGRAM, "--port", "0"]

    def variables(self):
        return os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"} | self._environment

    def is_ready(self):
        return "Health at http" in self.said()


@pytest.fixture
def cluster(tmp_path) -> Iterator[Worker]:
    with Master(tmp_path / "master") as master, Worker(tmp_path / "worker", master.address) as worker:
        yield worker


@pytest.fixture
def put(tape_settings, put_on) -> Callable[..., None]:
    return put_on(tape_settings.kafka_bootstrap)


@pytest.fixture
def submitted(tmp_path, cluster, spark_jars, tape_settings, lake) -> Submitted:
    environment = {
        "TAPEHOUSE_SOURCES": "rss",  # no exchange is asked
        "TAPEHOUSE_KAFKA_BOOTSTRAP": tape_settings.kafka_bootstrap,
        "TAPEHOUSE_LAKE": lake.root,
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
        "TAPEHOUSE_SYMBOLS": "BTCUSDT,ETHUSDT",
        "TAPEHOUSE_SPARK_UI_PORT": "0",
    }
    return Submitted(tmp_path / "stream", cluster.master, spark_jars, environment)


def test_a_cluster_it_is_submitted_to_brings_every_trade_once(submitted, cluster, put, lake, market):
    put(market)
    with submitted:
        deadline = time.monotonic() + WITHIN
        while lake.scan(TRADES).select(pl.len()).collect().item() < len(market):
            assert submitted.process.poll() is None, submitted.said()[-3000:]
            assert time.monotonic() < deadline, submitted.said()[-3000:]
            time.sleep(0.2)
    ids = lake.scan(TRADES).select("symbol", "first_trade_id", "last_trade_id").collect()
    assert ids.height == len(market)
    assert not ids.is_duplicated().any()
    assert cluster.executors() == 1
