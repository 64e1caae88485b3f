"""`tapehouse up` in one process over a lake in a bucket: killed, doubled, its server gone; nothing is lost."""

import re
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import polars as pl
import pytest

from tapehouse.catalog import TRADES
from tapehouse.errors import IncompleteError
from tapehouse.lake.delta import DeltaLake
from tapehouse.profiles.storage import storage_options
from tapehouse.settings import Settings

HISTORY = 900
"""Seconds of trades that the exchange can tell of the time before it started."""
LAKE_ERROR = 4


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
def run(run_in, environment) -> Callable[..., Any]:
    """Start commands; none outlives the test."""
    return lambda *arguments, **more: run_in({**environment, **more}, *arguments)


def answers(url: str) -> Any:
    """Return what is answered, None while nothing is."""
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
    exchange.until(lambda: answers(f"{exchange_url}/api/v3/time"), "the exchange answers")
    api = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"

    def committed(after: str = "") -> str | None:
        health = answers(f"{api}/health")
        at = health and health["commit"]["committed_at"]
        return at if at and at > after and not _missing(health) else None

    up = run("up")
    up.until(committed, "a commit")

    second = run("up", TAPEHOUSE_API_PORT="0")
    assert second.ends() == LAKE_ERROR
    assert f"is being written by process {up.process.pid} on " in second.said()

    up.process.kill()
    up.ends()
    up = run("up")
    last = up.until(committed, "a commit after the kill")

    store.kill()
    assert up.ends(120) == LAKE_ERROR
    assert "AWS_ENDPOINT_URL" in up.said()
    assert store.account.secret_key not in up.said()
    store.start()
    up = run("up")
    up.until(lambda: committed(last), "a commit after the bucket was away")
    up.process.send_signal(signal.SIGTERM)
    assert up.ends() == 0

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    lake = DeltaLake(settings.lake, storage_options=storage_options(settings), writer=None)
    for (symbol,), rows in lake.scan(TRADES).collect().group_by("symbol"):
        held = pl.int_ranges(rows["first_trade_id"], rows["last_trade_id"] + 1, eager=True).explode().sort()
        assert held.to_list() == list(range(held.min(), held.max() + 1)), symbol
    rebuilt = run("rebuild", "BTCUSDT", *_these_days(), "--check")
    assert rebuilt.ends() == 0, rebuilt.said()
    verified = run("verify", "BTCUSDT", *_these_days())
    assert verified.ends() == IncompleteError.exit_code, verified.said()
    assert re.search(r"windows of BTCUSDT [1-9]\d* were compared, and agree", verified.said())


def _missing(health: Any) -> int:
    return sum(symbol["missing_trades"] for symbol in health["symbols"].values())


def _these_days() -> tuple[str, ...]:
    yesterday, tomorrow = (time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400 * days)) for days in (-1, 1))
    return "--from", yesterday, "--to", tomorrow
