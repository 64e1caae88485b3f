"""The past of coins by the command: each day once, whatever is repeated, and said where it is not to be had."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tapehouse.catalog import MARKET_DATA
from tapehouse.errors import UpstreamError
from tapehouse.lake.delta import DeltaLake
from tapehouse.profiles.history import run_backfill
from tapehouse.settings import load_settings

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = 40


class Gecko(BaseHTTPRequestHandler):
    """Tells forty days of every coin but ethereum."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        days = [int((TODAY - timedelta(days=day)).timestamp() * 1000) for day in range(DAYS, 0, -1)]
        told = {"prices": [[day, 1.5] for day in days], "market_caps": [], "total_volumes": []}
        refused = "ethereum" in self.path
        body = json.dumps({"error": "coin not found"} if refused else told).encode()
        self.send_response(404 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def settings(tmp_path) -> Iterator:
    Gecko.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Gecko) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield load_settings(_env_file=None, lake=str(tmp_path / "lake"), state=tmp_path / "state", coingecko_url=url)
        server.shutdown()


def days_of(settings) -> list[str]:
    return sorted(DeltaLake(settings.lake, writer=None).scan(MARKET_DATA).collect()["key"])


def fill(settings, *symbols, first=10, last=0) -> None:
    run_backfill(settings, symbols, TODAY - timedelta(days=first), TODAY - timedelta(days=last), "coingecko")


def test_each_day_asked_for_is_stored_once_and_what_is_held_is_not_asked_for_again(settings):
    fill(settings, "btcusdt")
    assert len(days_of(settings)) == 10
    fill(settings, "btcusdt")
    assert len(Gecko.asked) == 1
    fill(settings, "btcusdt", first=15)
    assert len(Gecko.asked) == 2
    assert len(days_of(settings)) == len(set(days_of(settings))) == 15


def test_a_coin_that_is_refused_is_named_and_the_others_come(settings):
    with pytest.raises(UpstreamError, match="ethereum"):
        fill(settings, "ETHUSDT", "BTCUSDT")
    assert {key.partition("/")[0] for key in days_of(settings)} == {"bitcoin"}
