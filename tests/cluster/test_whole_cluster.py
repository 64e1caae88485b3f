"""The whole profile as its user runs it: one command starts it, a part is killed, nothing is lost, another ends it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
LOOKS_FOR = 180.0


class Cluster:
    """A cluster in a folder of its own, in an empty directory."""

    def __init__(self, folder, jars):
        self.root = folder / "cluster"
        self.root.mkdir()
        for name in ("kafka-jars", "spark-jars"):
            (self.root / name).symlink_to(jars / name)
        self._folder = folder

    def run(self, *words):
        """Run `cluster.py up` or another of its commands to its end."""
        return subprocess.run(
            [sys.executable, "-B", ROOT / "deploy" / "local" / "cluster.py", *words],
            cwd=self._folder,
            env=os.environ | {"CLUSTER_FOLDER": str(self.root), "CLUSTER_PORTS": "free"},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def environment(self):
        lines = (self.root / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def tapehouse(self, *words):
        """Run a command of Tapehouse that means this cluster to its end."""
        return subprocess.run(
            [sys.executable, "-m", "tapehouse.cli", *words],
            cwd=self._folder,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def pids(self):
        services = json.loads((self.root / "status.json").read_text())["services"]
        return {name: standing["pid"] for name, standing in services.items() if standing["pid"]}

    def get(self, path):
        """Return the API's answer; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.environment['TAPEHOUSE_API_PORT']}{path}") as answer:
                return json.load(answer)
        except urllib.error.URLError:
            return None

    def candle(self):
        """Return the newest candle the API gives, if it gives one."""
        answer = self.get("/ohlc/BTCUSDT?interval=1m&limit=1")
        return answer["candles"][-1] if answer and answer["candles"] else None

    def rows(self, table):
        """Return the rows of BTCUSDT in a table, as a stranger with the keys reads them."""
        names = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        options = {name: self.environment[name] for name in names} | {"AWS_ALLOW_HTTP": "true"}
        found = pl.scan_delta(f"{self.environment['TAPEHOUSE_LAKE']}/{table}", storage_options=options)
        return found.filter(pl.col("symbol") == "BTCUSDT").collect()

    def ids(self):
        """Return the trade ids in bronze."""
        spans = self.rows("bronze/trades").select("first_trade_id", "last_trade_id").iter_rows()
        return [number for first, last in spans for number in range(first, last + 1)]


@pytest.fixture
def cluster(tmp_path, parts_folder, kafka_jars, spark_jars):
    assert kafka_jars.parent == spark_jars.parent == parts_folder
    made = Cluster(tmp_path, parts_folder)
    yield made
    made.run("down")


def until(seen, otherwise):
    """Look until something is there, and return it."""
    deadline = time.monotonic() + LOOKS_FOR
    while not (found := seen()):
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.5)
    return found


def missing(ids):
    """Return the ids between the first and the last that are not there."""
    return sorted(set(range(min(ids), max(ids) + 1)).difference(ids))


@pytest.mark.timeout(600)
def test_one_command_starts_it_a_kill_costs_nothing_and_another_ends_it(cluster):
    started = cluster.run("up")
    assert started.returncode == 0, started.stderr
    first = until(cluster.candle, lambda: "no candle on the API")
    until(lambda: cluster.candle()["last_trade_id"] > first["last_trade_id"], lambda: "the candle does not grow")

    killed = cluster.pids()["produce"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: cluster.pids().get("produce", killed) != killed, lambda: "the producer is not started again")
    after = cluster.candle()["last_trade_id"] + 100
    until(lambda: (cluster.candle() or first)["last_trade_id"] > after, lambda: "the API does not go on")

    until(lambda: max(cluster.ids(), default=0) > after, lambda: "the lake does not go on")
    # What came while no producer ran is asked for once there is one; newer trades are in bronze before it.
    until(lambda: not missing(cluster.ids()), lambda: f"trades are missing in bronze: {missing(cluster.ids())}")
    ids = cluster.ids()
    assert len(ids) == len(set(ids)), "a trade is in bronze twice"

    until(lambda: cluster.rows("silver/candles").height, lambda: "no candle is in the lake")
    today = datetime.now(UTC).date()
    span = [(today + timedelta(days=days)).isoformat() for days in (-1, 1)]
    rebuild = ("rebuild", "BTCUSDT", "--from", span[0], "--to", span[1])
    refused = cluster.tapehouse(*rebuild)
    assert (refused.returncode, "is being written by process" in refused.stderr) == (4, True), refused.stderr
    assert cluster.run("pause", "stream").returncode == 0
    rebuilt = cluster.tapehouse(*rebuild)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert cluster.run("resume", "stream").returncode == 0
    held = max(cluster.ids())
    until(lambda: max(cluster.ids()) > held, lambda: "the lake does not go on after a pause")

    pids = cluster.pids().values()
    assert cluster.run("up").returncode == 0
    assert cluster.run("down").returncode == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert "No cluster runs" in cluster.run("down").stderr
