"""What Spark is told at its start stands on a command line, where every user of the machine reads it."""

from pathlib import Path

import pytest

from tapehouse.settings import Settings
from tapehouse.streaming.spark_session import bucket_keys, configuration

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
