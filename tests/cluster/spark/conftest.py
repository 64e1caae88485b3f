"""One Spark for all its tests, topics of a test's own, the engine over a lake of its own, and a lake in a bucket."""

import gzip
import importlib.util
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import polars as pl
import pytest
from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession

from tapehouse.catalog import CANDLES, TRADES_TOPIC
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.market.signals import Detection
from tapehouse.ports import Batch
from tapehouse.profiles.storage import open_lake_to_read
from tapehouse.settings import Settings, load_settings
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.spark import SparkEngine
from tapehouse.streaming.spark_session import start_session
from tapehouse.streaming.view import LiveView
from tapehouse.tape.codec import headers_of, key_of

START = 1_723_161_000_000  # milliseconds, 2024-08-08 23:50
CLOCK = (START + 3_600_000) * 1000

SYMBOLS = ("ETHUSDT", "SOLUSDT", "BTCUSDT")

KEEN = Detection(baseline=8, outlier_score=1.0, taker_score=0.5, minimum_quote_volume=0)
"""Sees signals in the twenty minutes of the market."""

Message = tuple[str, Batch]
"""A topic, and what is put on it together."""


@pytest.fixture(scope="session")
def cluster_settings(spark_jars, object_store) -> Settings:
    """Settings of a Spark that takes little of the machine and reaches the object store."""
    keys = object_store.environment
    return load_settings(
        profile="cluster",
        symbols=("BTCUSDT", "ETHUSDT"),
        lake=f"s3://{object_store.bucket}/spark",
        spark_jars=spark_jars,
        spark_master="local[2]",
        spark_ui_port=0,
        **{
            name: keys[name]
            for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        },
    )


@pytest.fixture(scope="session")
def spark(cluster_settings) -> Iterator[SparkSession]:
    session = start_session(cluster_settings)
    yield session
    session.stop()


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.create()
    return lake


@pytest.fixture
def bucket(object_store) -> Mapping[str, str]:
    """The variables that put a command's lake, and with it its checkpoint, in a bucket; the test's own."""
    return {**object_store.environment, "TAPEHOUSE_LAKE": f"s3://{object_store.bucket}/{uuid.uuid4().hex[:8]}"}


@pytest.fixture
def bucket_lake(bucket) -> DeltaLake:
    """That lake, to be read."""
    keys = {name: value for name, value in bucket.items() if name.startswith("AWS_")}
    return open_lake_to_read(load_settings(lake=bucket["TAPEHOUSE_LAKE"], **keys))


@pytest.fixture
def environment(bucket, spark_jars, tmp_path) -> dict[str, str]:
    """The variables of commands that work on that lake, with a Spark that takes little of the machine."""
    return {
        **bucket,
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_KAFKA_PARTITIONS": "2",
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
        "TAPEHOUSE_SPARK_JARS": str(spark_jars),
        "TAPEHOUSE_SPARK_MASTER": "local[2]",
        "TAPEHOUSE_SPARK_UI_PORT": "0",
    }


class Tables:
    """The tables of a lake, asked in SQL."""

    def __init__(self, lake: DeltaLake) -> None:
        self._lake = lake
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")

    def rows(self, table: str, columns: str, rest: str = "") -> list[tuple[Any, ...]]:
        """Return columns of a table; `rest` is what stands behind FROM."""
        self._connection.register("told", self._lake.scan(table).collect().to_arrow())
        return self._connection.execute(f"SELECT {columns} FROM told {rest}").fetchall()


@pytest.fixture(scope="session")
def oracle() -> Any:
    """What tables must say, computed apart: tests/e2e/oracle.py."""
    found = importlib.util.spec_from_file_location("oracle", Path(__file__).parents[2] / "e2e" / "oracle.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture
def audit(oracle) -> Callable[[DeltaLake, Any], Any]:
    """Hold the tables of a lake against an exchange's own tape."""
    return lambda lake, tape: oracle.Audit(Tables(lake), tape)


@pytest.fixture
def jvm_of() -> Callable[[int], int | None]:
    """Tell the process id of the JVM that the process of a stream has started, None where there is none."""

    def find(pid: int) -> int | None:
        threads = Path(f"/proc/{pid}/task").iterdir()  # any of them may have started it
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
        found = (int(child) for child in children if b"java" in Path(f"/proc/{child}/cmdline").read_bytes())
        return next(found, None)

    return find


@pytest.fixture
def changes_of() -> Callable[[DeltaLake], Callable[[], pl.DataFrame]]:
    """Remember the candles of a lake; what this returns gives those that have a newer revision, as they are then."""
    window = ["symbol", "interval", "opened_at"]

    def remember(lake: DeltaLake) -> Callable[[], pl.DataFrame]:
        before = lake.scan(CANDLES).select(*window, "revision").collect()

        def changed() -> pl.DataFrame:
            newer = lake.scan(CANDLES).join(before.lazy(), on=[*window, "revision"], how="anti")
            return highest_revisions(newer).drop("known_at", "revision").collect().sort(window)

        return changed

    return remember


@pytest.fixture
def embedded_lake(tmp_path) -> Callable[[list[Batch]], DeltaLake]:
    """Take batches through the embedded engine into a lake of its own; called again, it goes on where it ended."""
    ticks = itertools.count(CLOCK, 300_000)

    def run(batches: list[Batch]) -> DeltaLake:
        lake = DeltaLake(str(tmp_path / "embedded"))
        lake.create()
        engine = EmbeddedEngine(lake, LiveView(), recover(lake, SYMBOLS, KEEN), now=lambda: next(ticks))
        for batch in batches:
            engine.fold([batch])
            engine.commit_when_due()
        engine.close()
        return lake

    return run


@pytest.fixture
def start_engine() -> Callable[..., SparkEngine]:
    """The normal start of the engine."""
    ticks = itertools.count(CLOCK, 333_333)

    def start(lake: DeltaLake, application: str = "test") -> SparkEngine:
        recovered = recover(lake, SYMBOLS, KEEN)
        engine = SparkEngine(lake, recovered, now=lambda: next(ticks))
        engine.application.set_result(application)
        return engine

    return start


@pytest.fixture
def records(spark) -> Callable[[list[Message]], DataFrame]:
    """Rows as Spark's Kafka source gives them, without a broker: topics in the order of the messages."""

    def make(messages: list[Message], first_offset: int = 0) -> DataFrame:
        offset = itertools.count(first_offset)
        rows = [
            (
                key_of(batch.symbol),
                frame,
                topic,
                0,
                next(offset),
                received_at,
                headers_of(batch.shape, received_at, symbol=batch.symbol, binary=place in batch.binary),
            )
            for topic, batch in messages
            for place, (frame, received_at) in enumerate(zip(batch.frames, batch.received_at, strict=True))
        ]
        ddl = (
            "key binary, value binary, topic string, partition int, offset long, micros long, "
            "headers array<struct<key:string,value:binary>>"
        )
        return (
            spark.createDataFrame(rows, ddl)
            .selectExpr(
                "key", "value", "topic", "partition", "offset", "timestamp_micros(micros) AS timestamp", "headers"
            )
            .coalesce(1)
        )

    return make


@pytest.fixture
def abort_on() -> Callable[[str], Callable[..., None]]:
    """Put frames on the topic of trades of a broker in a transaction, and take it back."""

    def producing(bootstrap: str) -> Callable[..., None]:
        producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "wavering"})
        producer.init_transactions(30)

        def abort(frames: Sequence[tuple[int, bytes]]) -> None:
            producer.begin_transaction()
            for received_at, frame in frames:
                producer.produce(TRADES_TOPIC, frame, headers=headers_of("stream", received_at))
            assert producer.flush(30) == 0
            producer.abort_transaction(30)

        return abort

    return producing


@pytest.fixture(scope="session")
def recorded_minutes(recordings) -> list[tuple[int, bytes]]:
    """The ten recorded minutes of BTCUSDT over midnight: (received in microseconds, frame)."""
    frames = []
    for day in ("20240808", "20240809"):
        with gzip.open(recordings / "1-binance-ws" / f"hftbacktest_spot_btcusdt_{day}.gz", "rt") as lines:
            stamped = (line.strip().partition(" ") for line in lines)
            frames += [(int(at) // 1000, text.encode()) for at, _, text in stamped if '@trade"' in text[:40]]
    return frames


@pytest.fixture
def market() -> list[tuple[int, bytes]]:
    """Twenty minutes over midnight of two symbols: (received in microseconds, frame), each sent at once."""
    return sorted([*_tape("BTCUSDT", 1000, Random(1)), *_tape("ETHUSDT", 7, Random(2))])


def _tape(symbol: str, number: int, random: Random) -> Iterator[tuple[int, bytes]]:
    at = START
    while at < START + 20 * 60_000:
        amounts = {"p": f"{random.randint(1, 9)}.5", "q": f"0.{random.randint(1, 9)}"}
        fields = {"e": "trade", "E": at, "s": symbol, "t": number, **amounts, "T": at, "m": random.random() < 0.5}
        yield at * 1000, json.dumps({"stream": f"{symbol.lower()}@trade", "data": fields}).encode()
        number += 1
        at += random.choices([0, 900, 4_000, 9_000, 130_000], [40, 30, 20, 9, 1])[0]
