"""`tapehouse up` in the cluster profile: a tape on a real broker, a lake in a real bucket that another process writes.

The writer here is the embedded engine over the same tape: which engine writes is no matter to whoever follows.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tapehouse.api.encoding import as_number, to_json
from tapehouse.api.rows import candle_fields
from tapehouse.exchange.context.routes import FEAR_GREED
from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.profiles.storage import storage_options
from tapehouse.settings import Settings
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView
from tapehouse.tape.reader import KafkaTapeReader

SYMBOLS = ("BTCUSDT", "ETHUSDT")
START = 1_723_161_240_000
"""Milliseconds: a minute begins."""
SPEED = 20
"""Event time runs so many times as fast as ours: a minute is over in three seconds."""


def answers(url: str) -> Any:
    """Return what is answered, None while nothing is."""
    try:
        return httpx.get(url, timeout=10).raise_for_status().json()
    except httpx.HTTPError:
        return None


@pytest.fixture
def port() -> Callable[[], int]:
    import servers

    return servers.free_port


@pytest.fixture
def environment(object_store, bucket_root, port) -> dict[str, str]:
    at = f"127.0.0.1:{port()}"
    return {
        **object_store.environment,
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_LAKE": bucket_root,
        "TAPEHOUSE_KAFKA_BOOTSTRAP": f"127.0.0.1:{port()}",
        "TAPEHOUSE_SYMBOLS": ",".join(SYMBOLS),
        "TAPEHOUSE_BINANCE_WS_URL": f"ws://{at}",
        "TAPEHOUSE_BINANCE_REST_URL": f"http://{at}",
        "TAPEHOUSE_API_PORT": str(port()),
    }


@pytest.fixture
def run(run_in, environment) -> Callable[..., Any]:
    """Start commands; none outlives the test."""
    return lambda *arguments, **more: run_in({**environment, **more}, *arguments)


@pytest.fixture
def tape(run, environment, own_broker, port) -> None:
    """A market that goes onto the tape by itself."""
    environment["TAPEHOUSE_KAFKA_BOOTSTRAP"] = own_broker().bootstrap
    at = environment["TAPEHOUSE_BINANCE_REST_URL"]
    number = at.rpartition(":")[2]
    told = "--symbols", ",".join(SYMBOLS), "--rate", "2", "--speed", str(SPEED), "--history", "60"
    exchange = run("exchange", "--port", number, *told)
    exchange.until(lambda: answers(f"{at}/api/v3/time"), "the exchange answers")
    assert run("topics", "apply").ends() == 0
    producer = str(port())
    produce = run("produce", "binance", "--port", producer)
    produce.until(lambda: answers(f"http://127.0.0.1:{producer}/health"), "the producer answers")


class Writer:
    """The process that writes the lake, in a thread of the test."""

    def __init__(self, settings: Settings) -> None:
        self.lake = DeltaLake(settings.lake, storage_options=storage_options(settings), writer="embedded")
        self.lake.create()
        self.view = LiveView()
        recovered = recover(self.lake, settings.symbols)
        self._engine = EmbeddedEngine(self.lake, self.view, recovered, now=lambda: time.time_ns() // 1000)
        self._tape = KafkaTapeReader(settings, since=0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            self._engine.fold(self._tape.read(0.1))
            self._engine.commit_when_due()
        self._engine.close()

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)


@pytest.fixture
def write(environment, monkeypatch) -> Iterator[Callable[[], Writer]]:
    """Starts what writes the lake from the tape."""
    writing: list[Writer] = []

    def start() -> Writer:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        writing.append(Writer(Settings(_env_file=None)))
        return writing[-1]

    yield start
    for each in writing:
        each.close()


def candles(url: str, symbol: str, interval: str = "1m") -> list[dict[str, Any]]:
    answer = answers(f"{url}/ohlc/{symbol}?interval={interval}&limit=1000")
    return answer["candles"] if answer else []


def stored(url: str, symbol: str) -> list[dict[str, Any]]:
    return [candle for candle in candles(url, symbol) if candle["known_at"]]


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("tape")
def test_the_api_serves_history_from_the_bucket_and_the_present_from_the_tape(write, run, environment):
    url = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"
    up = run("up")
    up.until(lambda: candles(url, "BTCUSDT"), "candles of the tape alone, before anybody has made a lake")
    writer = write()
    up.until(lambda: len(stored(url, "BTCUSDT")) >= 4, "four candles of the lake")
    latest = answers(f"{url}/prices/latest")["prices"]
    assert sorted(price["symbol"] for price in latest) == sorted(SYMBOLS)
    for interval in ("1m", "5m", "15m", "1h", "4h", "1d"):
        assert candles(url, "BTCUSDT", interval)[-1]["state"] == "open"
    up.until(lambda: answers(f"{url}/health")["commit"]["committed_at"], "commits of the writer seen")
    health = answers(f"{url}/health")
    assert health["sources"]["binance"]["state"] == "connected"
    assert all(symbol["missing_trades"] == 0 for symbol in health["symbols"].values())

    up.kill()
    before = {symbol: stored(url, symbol) for symbol in SYMBOLS}
    assert before == {symbol: [] for symbol in SYMBOLS}
    known = {symbol: writer.view.last_trade(symbol).last_trade_id for symbol in SYMBOLS}
    again = run("up")
    again.until(lambda: answers(f"{url}/health"), "it answers again")
    again.until(
        lambda: all(
            price["last_trade_id"] > known[price["symbol"]] for price in answers(f"{url}/prices/latest")["prices"]
        ),
        "trades told after the kill",
    )
    again.until(lambda: _agree(writer, url), "every settled candle as the writer has it")
    assert answers(f"{url}/health")["symbols"]["BTCUSDT"]["missing_trades"] == 0
    assert again.stop() == 0


def _agree(writer: Writer, url: str) -> bool:
    """Tell whether the newest settled windows are the same to the follower and in the writer's tables, to the digit."""
    for symbol, name in itertools.product(SYMBOLS, ("1m", "5m")):
        told = {candle["opened_at"]: candle for candle in candles(url, symbol, name) if candle["known_at"]}
        rows = [row for row in writer.view.recent_candles(symbol, name) if row.known_at][-3:]
        for row in rows:
            ours = json.loads(to_json(candle_fields(row, as_number, writer.view.horizon)))
            theirs = told.get(ours["opened_at"])
            states = {"closed", "final"}
            if theirs is None or not (theirs["state"] == ours["state"] or {theirs["state"], ours["state"]} == states):
                return False
            if {**theirs, "state": ""} != {**ours, "state": ""}:
                return False
    return True


@pytest.mark.timeout(300)
def test_without_a_broker_it_serves_the_lake_and_says_so_and_follows_once_there_is_one(
    run, own_broker, put_on, environment, tmp_path
):
    broker = own_broker()
    broker.kill()
    url = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"
    lake = str(tmp_path / "lake")
    write_a_minute(DeltaLake(lake, writer="embedded"))
    up = run("up", TAPEHOUSE_KAFKA_BOOTSTRAP=broker.bootstrap, TAPEHOUSE_LAKE=lake)
    up.until(lambda: [candle["trades"] for candle in stored(url, "BTCUSDT")] == [2], "the candle of the lake")
    health = answers(f"{url}/health")
    assert health["status"] == "failing"
    assert health["sources"]["binance"]["state"] == "cut"
    assert broker.bootstrap in health["reasons"][0]
    broker.start()
    assert up.ends() not in {0, 1}
    assert "tapehouse topics apply" in up.said()
    assert "Traceback" not in up.said()

    assert run("topics", "apply", TAPEHOUSE_KAFKA_BOOTSTRAP=broker.bootstrap).ends() == 0
    broker.kill()
    up = run("up", TAPEHOUSE_KAFKA_BOOTSTRAP=broker.bootstrap, TAPEHOUSE_LAKE=lake)
    up.until(lambda: answers(f"{url}/health"), "it answers")
    broker.start()
    put_on(broker.bootstrap)([trade(4, START + 61_000)])
    up.until(lambda: answers(f"{url}/prices/latest")["prices"][0]["last_trade_id"] == 4, "it follows the tape")
    assert answers(f"{url}/health")["sources"]["binance"]["last_error"] == ""
    assert up.stop() == 0


@pytest.mark.timeout(300)
def test_while_the_store_is_gone_the_present_is_served_and_the_past_is_refused_in_words(
    run, own_object_store, tape_settings, put_on, environment
):
    store, put = own_object_store(), put_on(tape_settings.kafka_bootstrap)
    given = {**store.environment, "TAPEHOUSE_LAKE": f"s3://{store.bucket}/lake"}
    options = {name.lower(): value for name, value in store.environment.items()}
    lake = DeltaLake(given["TAPEHOUSE_LAKE"], storage_options=options, writer="embedded")
    write_a_minute(lake)
    url = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"
    up = run("up", TAPEHOUSE_KAFKA_BOOTSTRAP=tape_settings.kafka_bootstrap, TAPEHOUSE_SOURCES="binance", **given)
    up.until(lambda: len(stored(url, "BTCUSDT")) == 1, "the candle of the lake")

    store.kill()
    put([trade(4, START + 61_000)])
    up.until(lambda: answers(f"{url}/prices/latest")["prices"][0]["last_trade_id"] == 4, "it follows the tape")
    up.until(lambda: "The lake does not answer" in str(answers(f"{url}/health")["reasons"]), "it says so")
    refused = httpx.get(f"{url}/ohlc/BTCUSDT")
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert "The lake cannot be read just now." in refused.json()["detail"]
    assert httpx.get(f"{url}/market").status_code == 200, "what memory has is given"
    put([trade(5, START + 120_000)])
    up.until(lambda: answers(f"{url}/prices/latest")["prices"][0]["last_trade_id"] == 5, "it goes on")

    store.start()
    write_a_minute(lake, 1)
    up.until(lambda: len(stored(url, "BTCUSDT")) == 2, "the candle that was written since")
    up.until(lambda: "The lake" not in str(answers(f"{url}/health")["reasons"]), "it says no more")
    assert (up.said().count("lake_away"), up.said().count("lake_back")) == (1, 1)
    assert store.environment["AWS_SECRET_ACCESS_KEY"] not in up.said()
    store.kill()
    assert up.stop() == 0


@pytest.mark.timeout(300)
def test_a_start_while_the_store_is_gone_is_told_and_goes_on_once_it_is_back(
    run, own_object_store, tape_settings, put_on, environment
):
    store = own_object_store()
    given = {**store.environment, "TAPEHOUSE_LAKE": f"s3://{store.bucket}/lake"}
    options = {name.lower(): value for name, value in store.environment.items()}
    write_a_minute(DeltaLake(given["TAPEHOUSE_LAKE"], storage_options=options, writer="embedded"))
    store.kill()
    url = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"
    up = run("up", TAPEHOUSE_KAFKA_BOOTSTRAP=tape_settings.kafka_bootstrap, TAPEHOUSE_SOURCES="binance", **given)
    health = up.until(lambda: answers(f"{url}/health"), "it serves")
    assert "The lake does not answer: all waits for it." in health["reasons"][0]
    assert health["sources"]["binance"]["state"] == "connecting"
    for path in ("ohlc/BTCUSDT", "prices/latest", "signals", "news"):
        refused = httpx.get(f"{url}/{path}")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    put_on(tape_settings.kafka_bootstrap)([trade(4, START + 61_000)])

    store.start()
    up.until(lambda: len(stored(url, "BTCUSDT")) == 1, "the candle of the lake")
    up.until(lambda: answers(f"{url}/prices/latest")["prices"][0]["last_trade_id"] == 4, "it follows the tape")
    assert "The lake" not in str(answers(f"{url}/health")["reasons"])
    assert (up.said().count("lake_away"), up.said().count("lake_back")) == (1, 1)
    assert up.stop() == 0


def test_health_names_the_sources_that_another_process_asks(run, tape_settings, environment, tmp_path):
    at = environment["TAPEHOUSE_BINANCE_REST_URL"]
    exchange = run("exchange", "--port", at.rpartition(":")[2])
    exchange.until(lambda: answers(f"{at}/api/v3/time"), "the exchange answers")
    given = {
        "TAPEHOUSE_KAFKA_BOOTSTRAP": tape_settings.kafka_bootstrap,
        "TAPEHOUSE_LAKE": str(tmp_path / "lake"),
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
        "TAPEHOUSE_FEAR_GREED_URL": f"{at}{FEAR_GREED}",
    }
    run("produce", "fear_greed", "--port", "0", **given)
    url = f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"
    up = run("up", TAPEHOUSE_SOURCES="binance,fear_greed,rss", **given)

    def connected() -> Any:
        health = answers(f"{url}/health")
        return health if health and health["sources"]["fear_greed"]["state"] == "connected" else None

    health = up.until(connected, "what its producer says of the index")
    assert list(health["sources"]) == ["binance", "fear_greed", "rss"]
    told = health["sources"]["fear_greed"]
    assert (told["kind"], told["fresh_within"]) == ("polled", 3 * 21_600.0)
    assert told["requests_today"] in {1, 2}  # the second asks when the next value is due
    assert told["freshness_seconds"] < 60
    assert health["sources"]["rss"]["state"] == "connecting"
    assert "The feed rss is connecting (no producer has told of it)." in health["reasons"]
    metrics = httpx.get(f"{url}/metrics").text
    assert 'tapehouse_last_answer_timestamp_seconds{source="fear_greed"}' in metrics
    assert up.stop() == 0


@pytest.mark.usefixtures("tape")
def test_health_says_what_the_producer_of_the_exchange_knows_its_clock_and_why_the_feed_is_cut(run, environment):
    at, url = environment["TAPEHOUSE_BINANCE_REST_URL"], f"http://127.0.0.1:{environment['TAPEHOUSE_API_PORT']}"
    up = run("up")

    def exchange() -> Any:
        health = answers(f"{url}/health")
        return health and health["sources"]["binance"]

    told = up.until(lambda: (found := exchange()) and found["clock_offset_seconds"] is not None and found, "the offset")
    assert (told["state"], told["rest_endpoint"].rpartition("//")[2]) == ("connected", at.rpartition("//")[2])
    assert [connection["name"] for connection in told["connections"]] == ["tape", "binance-1"]
    orders = {"refuse": {"status": 451, "on": "both"}, "cut_now": True}
    httpx.post(f"{at}/_exchange/faults", json=orders).raise_for_status()
    cut = up.until(lambda: (found := exchange()) and found["state"] == "cut" and "451" in found["last_error"] and found)
    assert "TAPEHOUSE_BINANCE_WS_URL" in cut["last_error"]
    assert any("451" in reason for reason in answers(f"{url}/health")["reasons"])
    assert up.stop() == 0


def trade(ident: int, at: int) -> tuple[int, bytes]:
    """Return a trade as a frame with the time of its receipt (microseconds); `at` in milliseconds."""
    told = b'{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"61000.01","q":"0.5","T":%d,"m":true,"M":true}'
    return at * 1000, b'{"stream":"btcusdt@trade","data":%s}' % (told % (at, ident, at))


def write_a_minute(lake: DeltaLake, minute: int = 0) -> None:
    """Put a closed candle of two trades into a lake, and a trade after it."""
    lake.create()
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, SYMBOLS), now=lambda: START * 1000)
    opened = START + minute * 60_000
    told = [trade(2 * minute + ident, opened + later) for ident, later in enumerate((0, 59_999, 60_000), 1)]
    engine.fold([Batch([frame for _, frame in told], [received_at for received_at, _ in told])])
    engine.close()
