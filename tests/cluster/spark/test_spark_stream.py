"""`tapehouse stream` as a person runs it: real trades and awkward ones over a real broker into a bucket, killed twice.

The embedded engine's tables are what its own must be; a start without the checkpoint, and late trades, included.
"""

import importlib.util
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import msgspec
import obstore
import polars as pl
import pytest
from confluent_kafka import Message
from deltalake import DeltaTable
from prometheus_client.parser import text_string_to_metric_families

from tapehouse.catalog import (
    CANDLES,
    CANDLES_TOPIC,
    DISCREPANCIES,
    KLINES,
    KLINES_TOPIC,
    OTHER_EVENTS,
    REJECTED,
    TABLES,
    TRADES,
    WAREHOUSE,
)
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.lake.objects import objects
from tapehouse.market.windows import SECOND, WATERMARK_DELAY
from tapehouse.ports import Batch
from tapehouse.profiles.history import run_rebuild
from tapehouse.settings import Settings, load_settings
from tapehouse.streaming.recovery import read_coverage

WITHIN = 240.0
STREAM_ERROR = 7
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
WINDOW = ["symbol", "interval", "opened_at"]

_spec = importlib.util.spec_from_file_location("awkward_tape", Path(__file__).with_name("awkward_tape.py"))
awkward_tape = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(awkward_tape)
MIDNIGHT = awkward_tape.MIDNIGHT

pytestmark = [pytest.mark.timeout(900), pytest.mark.recordings]


class Stubborn(BaseHTTPRequestHandler):
    """An exchange over REST that tells one kline of BTCUSDT with a `high` that no trade had, and nothing else."""

    told: bytes = b"[]"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        answer = self.answer(url.path, dict(parse_qsl(url.query)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, path: str, asked: dict[str, str]) -> bytes:
        return self.told if path.endswith("/klines") and asked["symbol"] == "BTCUSDT" else b"[]"

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def served(exchange: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), exchange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def stubborn() -> Iterator[str]:
    """The address of an exchange that differs with us."""
    yield from served(Stubborn)


class Offering(Stubborn):
    """An exchange over REST that has every trade of BTCUSDT and its minutes, and nothing else."""

    trades: Mapping[int, dict[str, object]] = {}
    klines: Mapping[int, bytes] = {}
    """The row of each minute, by its opening in milliseconds."""

    def answer(self, path: str, asked: dict[str, str]) -> bytes:
        if path.endswith("/klines"):
            span = range(int(asked["startTime"]), int(asked["endTime"]) + 1)
            return b"[%s]" % b",".join(row for opened, row in self.klines.items() if opened in span)
        first = int(asked.get("fromId", 0))
        wanted = range(first, first + int(asked.get("limit", 0))) if path.endswith("/historicalTrades") else ()
        return json.dumps([self.trades[ident] for ident in wanted if ident in self.trades]).encode()


@pytest.fixture
def offering(market, oracle) -> Iterator[str]:
    """The address of an exchange that has all of the market's BTCUSDT."""
    Offering.klines = {
        int(opened.timestamp()) * 1000: awkward_tape.kline("BTCUSDT", opened, row)[1][1:-1]
        for opened, row in awkward_tape.minutes_of("BTCUSDT", market, oracle).items()
    }
    told = [json.loads(frame)["data"] for _, frame in market if b"BTCUSDT" in frame]
    Offering.trades = {
        each["t"]: {"id": each["t"], "price": each["p"], "qty": each["q"], "time": each["T"], "isBuyerMaker": each["m"]}
        for each in told
    }
    yield from served(Offering)


@pytest.fixture
def tape(recorded_minutes, market, oracle) -> Any:
    return awkward_tape.Tape(recorded_minutes, market, oracle)


@pytest.fixture
def environment(environment, own_broker, stubborn) -> dict[str, str]:
    return {
        **environment,
        "TAPEHOUSE_BINANCE_REST_URL": stubborn,
        "TAPEHOUSE_KAFKA_BOOTSTRAP": own_broker().bootstrap,
        "TAPEHOUSE_SYMBOLS": ",".join(SYMBOLS),
    }


@pytest.fixture
def put(environment, put_on) -> Callable[..., None]:
    return put_on(environment["TAPEHOUSE_KAFKA_BOOTSTRAP"])


@pytest.fixture
def abort(environment, abort_on) -> Callable[..., None]:
    return abort_on(environment["TAPEHOUSE_KAFKA_BOOTSTRAP"])


@pytest.fixture
def told_candles(environment, raw_records) -> Callable[[], list[Message]]:
    """The records on the topic of candles."""
    settings = Settings(_env_file=None, kafka_bootstrap=environment["TAPEHOUSE_KAFKA_BOOTSTRAP"])
    return lambda: raw_records(settings, CANDLES_TOPIC)


def as_batch(frames: list[tuple[int, bytes]]) -> Batch:
    return Batch([frame for _, frame in frames], [at for at, _ in frames])


def candles_of(lake: DeltaLake) -> pl.DataFrame:
    return highest_revisions(lake.scan(CANDLES)).drop("known_at", "revision").collect().sort(WINDOW)


def rows_of(lake: DeltaLake, table: str, *order: str) -> pl.DataFrame:
    return lake.scan(table).collect().sort(*order)


def count(lake: DeltaLake, table: str) -> int:
    return lake.scan(table).select(pl.len()).collect().item()


def assert_same(lake: DeltaLake, expected: DeltaLake) -> None:
    """The trades, and the candles that count: in all fields."""
    assert rows_of(lake, TRADES, "symbol", "first_trade_id").equals(
        rows_of(expected, TRADES, "symbol", "first_trade_id")
    )
    assert candles_of(lake).equals(candles_of(expected))


def metrics(url: str) -> Counter[str]:
    """Return the values of the metrics by name, summed over labels."""
    values: Counter[str] = Counter()
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=10).raise_for_status().text):
        for sample in family.samples:
            values[sample.name] += sample.value
    return values


class Streams:
    """Streams over the same topics and the same bucket, one after the other."""

    def __init__(self, run_in: Callable[..., Any], environment: dict[str, str], lake: DeltaLake) -> None:
        self._run_in, self._environment, self._lake = run_in, environment, lake
        self._random = Random(7)

    def start(self) -> Any:
        return self._run_in(self._environment, "stream", "--port", "0")

    def start_and_commit(self) -> Any:
        """Start one and return it a moment after its first commit: anywhere in what follows from that."""
        before = count(self._lake, TRADES)
        stream = self.start()
        stream.until(lambda: count(self._lake, TRADES) > before, "bronze goes on", WITHIN)
        time.sleep(self._random.random())
        return stream


@pytest.fixture
def streams(run_in, environment, bucket_lake) -> Streams:
    assert run_in(environment, "topics", "apply").ends() == 0
    return Streams(run_in, environment, bucket_lake)


def test_whatever_is_killed_late_or_taken_back_the_bucket_holds_the_embedded_engines_tables(
    run_in, environment, streams, tape, put, abort, bucket_lake, embedded_lake, changes_of, jvm_of, told_candles
):
    lake = bucket_lake
    put(tape.parts[0])
    abort(tape.aborted)
    streams.start_and_commit().kill()
    put(tape.parts[1])
    put(tape.klines, KLINES_TOPIC)
    kill_jvm(streams.start_and_commit(), jvm_of)
    stream = streams.start()
    expected = embedded_lake([as_batch(each) for each in (*tape.parts, tape.klines)])
    until_same(stream, lake, expected)
    assert_what_is_no_trade_is_stored_as_well(lake, expected)

    changes = changes_of(lake), changes_of(expected)
    put(tape.late[0])
    until_same(stream, lake, embedded_lake([as_batch(tape.late[0])]))
    assert_late_trades_changed_the_same(*changes)
    assert_it_tells_how_it_fares(stream, lake, tape)
    assert_a_dispute_is_settled(stream, lake, put)
    assert stream.stop() == 0

    remove_checkpoint(lake)
    changes = changes_of(lake), changes_of(expected)
    put(tape.late[1])
    stream = streams.start()
    until_same(stream, lake, embedded_lake([as_batch(tape.late[1])]))
    assert metrics(stream.url)["tapehouse_trades_late_total"] == len(tape.late[1])
    assert stream.stop() == 0
    assert_same(lake, expected)
    assert_late_trades_changed_the_same(*changes)
    assert count(lake, DISCREPANCIES) == 1
    assert_each_revision_is_told(lake, told_candles())
    assert_one_engine_committed(lake)
    assert_a_rebuild_finds_nothing(run_in, environment, lake)


def kill_jvm(stream: Any, jvm_of: Callable[[int], int | None]) -> None:
    os.kill(jvm_of(stream.process.pid), signal.SIGKILL)
    assert stream.ends() == STREAM_ERROR


def until_same(stream: Any, lake: DeltaLake, expected: DeltaLake) -> None:
    """Wait until the stream's lake has the candles of the embedded engine; then it has the trades as well."""
    whole = count(expected, TRADES)
    stream.until(
        lambda: count(lake, TRADES) >= whole and candles_of(lake).equals(candles_of(expected)),
        "the tables of the embedded engine",
        WITHIN,
    )
    assert_same(lake, expected)


def assert_what_is_no_trade_is_stored_as_well(lake: DeltaLake, expected: DeltaLake) -> None:
    """What is refused, other events and klines; and there are candles that klines alone can prove."""
    for table in (REJECTED, OTHER_EVENTS, KLINES):
        assert rows_of(lake, table, "payload").equals(rows_of(expected, table, "payload"))
    assert {"closed", "gap", "quiet"} <= set(candles_of(lake)["state"])


def assert_late_trades_changed_the_same(ours: Callable[[], pl.DataFrame], theirs: Callable[[], pl.DataFrame]) -> None:
    """The candles with new revisions are those of the embedded engine, on both sides of midnight, and no other."""
    assert ours().equals(theirs())
    assert ours()["opened_at"].dt.date().n_unique() == 2


def assert_it_tells_how_it_fares(stream: Any, lake: DeltaLake, tape: Any) -> None:
    """/metrics, /health and Spark's page, after the first of the late."""
    stream.until(lambda: metrics(stream.url)["tapehouse_stream_batch_seconds_count"] > 0, "Spark tells of a batch")
    stream.until(lambda: metrics(stream.url)["tapehouse_stream_behind"] == 0, "nothing waits")
    told = metrics(stream.url)
    assert told["tapehouse_stream_rows_per_second"] > 0
    assert 0 < told["tapehouse_stream_batch_seconds_sum"] < WITHIN * told["tapehouse_stream_batch_seconds_count"]
    newest = lake.scan(TRADES).select(pl.col("traded_at").dt.epoch("us").max()).collect().item()
    assert told["tapehouse_stream_watermark_seconds"] == (newest - WATERMARK_DELAY) / SECOND
    assert told["tapehouse_trades_late_total"] == len(tape.late[0])
    assert told["tapehouse_commit_age_seconds_count"] >= 1
    health = stream.health()
    missing = len(tape.aborted) + len(tape.late[1])
    assert (health["status"], health["behind"], health["missing_trades"]) == ("degraded", 0, missing)
    assert min(health["batch"], health["rows"], health["seconds"]) > 0
    page = re.search(r"Spark's page is (http://127\.0\.0\.1:\d+)", stream.said())[1]
    assert "tapehouse" in httpx.get(f"{page}/StreamingQuery/", timeout=20).raise_for_status().text


def assert_a_dispute_is_settled(stream: Any, lake: DeltaLake, put: Callable[..., None]) -> None:
    """What the exchange tells otherwise, over REST as well, is recorded with the next batch."""
    closed = candles_of(lake).filter(symbol="BTCUSDT", interval="1m", state="closed")
    row = closed.row(3, named=True)
    message, Stubborn.told = awkward_tape.kline("BTCUSDT", row["opened_at"], row | {"high": Decimal(77)})
    put([(MIDNIGHT, message)], KLINES_TOPIC)
    known = lake.scan(TRADES).filter(symbol="ETHUSDT").select("payload").tail(1).collect().item()

    def is_recorded() -> bool:
        put([(MIDNIGHT, known)])
        return count(lake, DISCREPANCIES) > 0

    duplicates = metrics(stream.url)["tapehouse_trades_duplicate_total"]
    stream.until(is_recorded, "the difference is recorded", WITHIN)
    found = lake.scan(DISCREPANCIES).select("symbol", "column", "theirs", "status").collect()
    assert found.rows() == [("BTCUSDT", "high", "77", "stays")]
    stream.until(lambda: metrics(stream.url)["tapehouse_trades_duplicate_total"] > duplicates, "duplicates are counted")


def remove_checkpoint(lake: DeltaLake) -> None:
    store = objects(lake.root, lake.storage_options)
    paths = [each["path"] for listed in obstore.list(store, prefix="_checkpoints") for each in listed]
    assert paths
    obstore.delete(store, paths)


def assert_each_revision_is_told(lake: DeltaLake, records: list[Message]) -> None:
    """The topic of candles has every revision of the table, some more than once, and nothing else."""
    rows = lake.scan(CANDLES).collect().iter_rows(named=True)
    stored = {(f"binance:{row['symbol']}".encode(), msgspec.json.encode(row)) for row in rows}
    assert {(record.key(), record.value()) for record in records} == stored


def assert_one_engine_committed(lake: DeltaLake) -> None:
    """Every commit to a table is of the engine and the writer that the catalog states for it."""
    for table in TABLES.values():
        if table.writer == WAREHOUSE:
            assert not DeltaTable.is_deltatable(lake.address(table.name), storage_options=lake.delta_options)
            continue
        commits = DeltaTable(lake.address(table.name), storage_options=lake.delta_options).history()
        assert all(commit["engineInfo"].startswith("delta-rs") for commit in commits)
        assert lake.last_batch(table.name, table.writers["embedded"]) < 0


def assert_a_rebuild_finds_nothing(run_in: Callable[..., Any], environment: dict[str, str], lake: DeltaLake) -> None:
    """`tapehouse rebuild` computes from the bucket what the stream has written: with --check, and without."""
    rows = count(lake, CANDLES)
    span = datetime(2024, 8, 8, tzinfo=UTC), datetime(2024, 8, 10, tzinfo=UTC)
    given = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    settings = load_settings(profile="cluster", lake=environment["TAPEHOUSE_LAKE"], **given)
    for symbol in SYMBOLS:
        run_rebuild(settings, symbol, *span, check=True)
    asked = "BTCUSDT", "--from", "2024-08-08", "--to", "2024-08-10"
    assert run_in(environment, "rebuild", *asked).ends() == 0
    assert count(lake, CANDLES) == rows


def test_holes_and_klines_that_no_producer_knows_to_be_missing_are_asked_for(
    environment, streams, put, market, offering, bucket_lake
):
    """As where records were deleted before they were read: nobody else is going to fetch them."""
    environment["TAPEHOUSE_BINANCE_REST_URL"] = offering
    ours = [each for each in market if b"BTCUSDT" in each[1]]
    put(ours[:40] + ours[47:90])
    stream = streams.start()
    stream.until(lambda: count(bucket_lake, TRADES) == 90, "what is missing has come", WITHIN)
    stream.until(lambda: read_coverage(bucket_lake)[1] == {}, "nothing is missing", WITHIN)
    told = rows_of(bucket_lake, TRADES, "first_trade_id")
    assert told["first_trade_id"].to_list() == [1000 + place for place in range(90)]
    assert told.filter(source="rest")["first_trade_id"].to_list() == [1040 + place for place in range(7)]
    candles = candles_of(bucket_lake).filter(interval="1m")
    assert "gap" not in candles["state"].to_list()[1:], "the first window is one: what came before is not known"
    closed = set(candles.filter(state="closed")["opened_at"][:-1])  # a minute's kline is waited for a minute long
    stream.until(
        lambda: closed <= set(rows_of(bucket_lake, KLINES, "opened_at")["opened_at"]),
        "every candle is compared",
        WITHIN,
    )
    assert count(bucket_lake, DISCREPANCIES) == 0
    assert stream.stop() == 0
