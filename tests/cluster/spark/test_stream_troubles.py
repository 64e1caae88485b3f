"""`tapehouse stream` when what it stands on is missing or goes away: it says what, ends, and the next start goes on."""

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from tapehouse.catalog import REJECTED, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.profiles.storage import open_lake_to_read
from tapehouse.settings import load_settings

pytestmark = pytest.mark.timeout(600)

WITHIN = 240.0
STREAM_ERROR, LAKE_ERROR = 7, 4


@pytest.fixture
def store(own_object_store):
    return own_object_store()


@pytest.fixture
def broker(own_broker):
    return own_broker()


@pytest.fixture
def environment(broker, store, spark_jars, tmp_path) -> dict[str, str]:
    """A stream over a bucket and a broker that both are the test's own."""
    return {
        **store.environment,
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_SOURCES": "rss",  # no exchange is asked
        "TAPEHOUSE_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TAPEHOUSE_KAFKA_PARTITIONS": "2",
        "TAPEHOUSE_LAKE": f"s3://{store.bucket}/lake",
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
        "TAPEHOUSE_SYMBOLS": "BTCUSDT,ETHUSDT",
        "TAPEHOUSE_SPARK_JARS": str(spark_jars),
        "TAPEHOUSE_SPARK_MASTER": "local[2]",
        "TAPEHOUSE_SPARK_UI_PORT": "0",
    }


@pytest.fixture
def run(run_in, environment) -> Callable[..., Any]:
    return lambda *arguments: run_in(environment, *arguments)


@pytest.fixture
def put(environment, put_on) -> Callable[..., None]:
    return put_on(environment["TAPEHOUSE_KAFKA_BOOTSTRAP"])


@pytest.fixture
def lake(environment) -> DeltaLake:
    given = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    return open_lake_to_read(load_settings(lake=environment["TAPEHOUSE_LAKE"], **given))


def count(lake: DeltaLake, table: str) -> int:
    return lake.scan(table).select(pl.len()).collect().item()


def test_it_waits_for_the_broker_and_ends_without_topics_with_the_command_that_makes_them(run, broker):
    broker.kill()
    stream = run("stream", "--port", "0")
    stream.until(lambda: "broker_away" in stream.said(), "it says that no broker answers", WITHIN)
    assert stream.stop() == 0
    stream = run("stream", "--port", "0")
    stream.until(lambda: "broker_away" in stream.said(), "it says that no broker answers", WITHIN)
    broker.start()
    assert stream.ends(WITHIN) != 0
    assert "tapehouse topics apply" in stream.said()
    assert "Traceback" not in stream.said()


def test_a_store_that_is_gone_ends_it_in_words_and_the_next_start_loses_nothing(run, put, store, lake, market):
    assert run("topics", "apply").ends() == 0
    first, second = market[:200], market[200:400]
    put(first)
    stream = run("stream", "--port", "0")
    stream.until(lambda: count(lake, TRADES) == len(first), "the first trades are in bronze", WITHIN)
    store.kill()
    put([*second, (market[400][0], b"\x00 no trade of BTCUSDT")])
    assert stream.ends(WITHIN) in {STREAM_ERROR, LAKE_ERROR}
    said = stream.said()
    assert "s3://" in said or store.endpoint in said
    assert store.environment["AWS_SECRET_ACCESS_KEY"] not in said
    store.start()
    again = run("stream", "--port", "0")
    again.until(lambda: count(lake, TRADES) >= 400 and count(lake, REJECTED) == 1, "all of it is in bronze", WITHIN)
    trades = lake.scan(TRADES).select("symbol", "first_trade_id", "last_trade_id").collect()
    assert trades.height == 400
    assert not trades.is_duplicated().any()
    assert again.stop() == 0
