"""`tapehouse up` in one process over a lake in a bucket: killed, doubled, its server gone; nothing is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tapehouse.catalog import TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.profiles.storage import storage_options
from tapehouse.settings import Settings

READY_WITHIN = 60.0
HISTORY = 900
"""Seconds of trades that the exchange can tell of the time before it started."""
LAKE_ERROR = 4


class Command:
    """A command of Tapehouse as a child process, with a log of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
        self._log = folder / f"{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tapehouse.cli", *arguments],
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        return self._log.read_text()

    def ends(self, within: float = READY_WITHIN) -> int:
        return self.process.wait(within)


@pytest.fixture
def store(own_object_store):
    return own_object_store()


@pytest.fixture
def environment(store) -> dict[str, str]:
    import servers

    at = f"127.0.0.1:{servers.free_port()}"
    return {
        **store.environment,
        "TAPEHOUSE_LAKE": f"s3://{store.bucket}/lakes/one",
        "TAPEHOUSE_SOURCES": "binance",
        "TAPEHOUSE_SYMBOLS": "BTCUSDT,ETHUSDT",
        "TAPEHOUSE_BINANCE_WS_URL": f"ws://{at}",
        "TAPEHOUSE_BINANCE_REST_URL": f"http://{at}",
        "TAPEHOUSE_BINANCE_ARCHIVE_URL": f"http://{at}",
        "TAPEHOUSE_API_PORT": str(servers.free_port()),
        "TAPEHOUSE_BACKFILL_HOURS": "0.1",
    }


@pytest.fixture
def run(tmp_path, environment) -> Iterator[Callable[..., Command]]:
    """Starts commands; none outlives the test."""
    started: list[Command] = []

    def start(*arguments: str, **more: str) -> Command:
        started.append(Command(tmp_path, {**environment, **more}, *arguments))
        return started[-1]

    yield start
    for command in reversed(started):
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait(15)


def until(command: Command, seen: Callable[[], object], what: str) -> Any:
    deadline = time.monotonic() + READY_WITHIN
    while not (found := seen()):
        assert command.process.poll() is None, f"it ended by itself:\n{command.said()[-4000:]}"
        assert time.monotonic() < deadline, f"{what}: not in {READY_WITHIN:.0f} s:\n{command.said()[-4000:]}"
        time.sleep(0.1)
    return found


def answer(url: str) -> Any:
    try:
        return httpx.get(url, timeout=10).raise_for_status().json()
    except httpx.HTTPError:
        return None


@pytest.mark.timeout(400)
def test_a_platform_over_a_bucket_loses_nothing_whatever_ends_it(run, environment, store, monkeypatch):
    exchange_url = environment["TAPEHOUSE_BINANCE_REST_URL"]
    port = exchange_url.rpartition(":")[2]
    exchange = run(
        "exchange", "--port", port, "--symbols", "BTCUSDT,ETHUSDT", "--rate", "200", "--history", str(HISTORY)
    )
    until(exchange, lambda: answer(f"{exchange_url}/api/v3/time"), "the exchange answers")
    api = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"

    def committed(after: str = "") -> str | None:
        health = answer(f"{api}/health")
        at = health and health["commit"]["committed_at"]
        return at if at and at > after and not _missing(health) else None

    up = run("up")
    until(up, committed, "a commit")

    second = run("up", TAPEHOUSE_API_PORT="0")
    assert second.ends() == LAKE_ERROR
    assert f"is being written by process {up.process.pid} on " in second.said()

    up.process.kill()
    up.ends()
    up = run("up")
    last = until(up, committed, "a commit after the kill")

    store.kill()
    assert up.ends(120) == LAKE_ERROR
    assert "AWS_ENDPOINT_URL" in up.said()
    assert store.account.secret_key not in up.said()
    store.start()
    up = run("up")
    until(up, lambda: committed(last), "a commit after the bucket was away")
    up.process.send_signal(signal.SIGTERM)
    assert up.ends() == 0

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    lake = DeltaLake(settings.lake, storage_options=storage_options(settings), writer=None)
    for (symbol,), rows in lake.scan(TRADES).collect().group_by("symbol"):
        held = pl.int_ranges(rows["first_trade_id"], rows["last_trade_id"] + 1, eager=True).explode().sort()
        assert held.to_list() == list(range(held.min(), held.max() + 1)), symbol
    for command in ("rebuild", "BTCUSDT", *_these_days(), "--check"), ("verify", "BTCUSDT", *_these_days()):
        checked = run(*command)
        assert checked.ends() == 0, checked.said()


def _missing(health: Any) -> int:
    return sum(symbol["missing_trades"] for symbol in health["symbols"].values())


def _these_days() -> tuple[str, ...]:
    yesterday, tomorrow = (time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400 * days)) for days in (-1, 1))
    return "--from", yesterday, "--to", tomorrow
