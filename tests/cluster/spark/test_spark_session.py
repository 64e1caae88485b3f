"""What Spark is told at its start stands where every user of the machine reads it; how its query reads the tape."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import DataFrame

from tapehouse import telemetry
from tapehouse.catalog import KLINES_TOPIC, TRADES_TOPIC
from tapehouse.settings import Settings
from tapehouse.streaming import spark_session
from tapehouse.streaming.spark_progress import Progress
from tapehouse.streaming.spark_session import bucket_keys, configuration, start_query

WITHIN = 120.0

KEYS = {"AWS_ACCESS_KEY_ID": "an id", "AWS_SECRET_ACCESS_KEY": "a secret", "AWS_SESSION_TOKEN": "a token"}


@pytest.fixture
def settings(spark_jars, monkeypatch) -> Settings:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None, lake="s3://bucket/lake", spark_jars=spark_jars)


def test_no_key_of_the_bucket_is_told_on_the_command_line(settings):
    told = " ".join(value for _, value in configuration(settings))
    assert not [key for key in KEYS.values() if key in told]


def test_the_keys_are_told_once_spark_runs(settings, spark):
    assert sorted(KEYS.values()) == sorted(value for _, value in bucket_keys(settings))
    command = Path(f"/proc/{spark.sparkContext._gateway.proc.pid}/cmdline").read_bytes()
    assert b"secret" not in command


def test_a_lake_in_a_folder_needs_no_key(settings):
    assert not list(bucket_keys(settings.model_copy(update={"lake": "data/delta"})))


class Kept(Progress):
    """Remembers what was told of each micro-batch: its rows, and the metrics after it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, float, float]] = []

    def onQueryProgress(self, event) -> None:  # noqa: N802  # Spark's name
        super().onQueryProgress(event)
        (behind,), (rows,) = (
            [sample.value for sample in gauge.collect()[0].samples]
            for gauge in (telemetry.stream_behind, telemetry.stream_rows_per_second)
        )
        self.told.append((self.rows, behind, rows))

    def until_taken(self, rows: int) -> None:
        deadline = time.monotonic() + WITHIN
        while sum(taken for taken, *_ in self.told) < rows or self.told[-1][1] > 0:
            assert time.monotonic() < deadline, self.told
            time.sleep(0.05)


@pytest.fixture
def read(spark, cluster_settings, tape_settings, tmp_path) -> Iterator[Callable[..., Kept]]:
    """Read what is on the topics from where a checkpoint says, by a query that hands over to `take`."""
    changes = {"kafka_bootstrap": tape_settings.kafka_bootstrap, "checkpoints": str(tmp_path / "checkpoints")}
    settings = cluster_settings.model_copy(update=changes)

    def run(take: Callable[[DataFrame, int], None], rows: int) -> Kept:
        progress = Kept()
        spark.streams.addListener(progress)
        query = start_query(spark, settings, take)
        try:
            progress.until_taken(rows)
        finally:
            query.stop()
            spark.streams.removeListener(progress)
        return progress

    return run


def test_a_query_takes_what_is_committed_once_tells_what_waits_and_goes_on_as_a_newer_version(
    read, tape_settings, put_on, abort_on, market, monkeypatch
):
    """The newer one reads another list of topics, and other columns, over the same checkpoint."""
    put, abort = (on(tape_settings.kafka_bootstrap) for on in (put_on, abort_on))
    put(market[:200])
    abort(market[200:250])
    put(market[250:300])
    put(market[:10], KLINES_TOPIC)
    monkeypatch.setattr(spark_session, "SUBSCRIBED", (TRADES_TOPIC,))
    monkeypatch.setattr(spark_session, "MOST_RECORDS", 150)
    found: list[bytes] = []
    progress = read(lambda records, _: found.extend(row.value for row in records.select("value").collect()), 250)
    assert sorted(found) == sorted(frame for _, frame in market[:200] + market[250:300])
    waiting = [behind for _, behind, _ in progress.told]
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[0] >= 100 > waiting[-1] == 0
    assert all(rows > 0 for *_, rows in progress.told)

    monkeypatch.undo()
    put(market[300:320])
    newer: list[tuple[str, bytes]] = []
    read(lambda records, _: newer.extend(map(tuple, records.select("topic", "value").distinct().collect())), 30)
    expected = [(KLINES_TOPIC, frame) for _, frame in market[:10]] + [(TRADES_TOPIC, f) for _, f in market[300:320]]
    assert sorted(newer) == sorted(expected)
