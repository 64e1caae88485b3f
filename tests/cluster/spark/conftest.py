"""One Spark for all its tests, topics of a test's own, and the engine over a lake of its own."""

import itertools
import json
from collections.abc import Callable, Iterator
from random import Random

import pytest
from pyspark.sql import DataFrame, SparkSession

from tapehouse.lake.delta import DeltaLake
from tapehouse.market.signals import Detection
from tapehouse.ports import Batch
from tapehouse.settings import Settings, load_settings
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.spark import SparkEngine
from tapehouse.streaming.spark_session import start_session
from tapehouse.streaming.view import LiveView
from tapehouse.tape.codec import headers_of, key_of

START = 1_723_161_000_000  # milliseconds, 2024-08-08 23:50
CLOCK = (START + 3_600_000) * 1000

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
def embedded_lake(tmp_path) -> Callable[[list[Batch]], DeltaLake]:
    """Take batches through the embedded engine into a lake of its own."""

    def run(batches: list[Batch]) -> DeltaLake:
        lake, ticks = DeltaLake(str(tmp_path / "embedded")), itertools.count(CLOCK, 300_000)
        lake.create()
        engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT", "ETHUSDT"], KEEN), now=lambda: next(ticks))
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
        recovered = recover(lake, ["BTCUSDT", "ETHUSDT"], KEEN)
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
