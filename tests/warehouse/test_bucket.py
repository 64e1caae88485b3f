"""The warehouse of a lake in a bucket is that of the same lake in a folder, and is published into the bucket."""

from pathlib import Path

import obstore
import polars as pl
import pytest

from tapehouse.catalog import SYMBOL_HOURS
from tapehouse.lake.objects import objects

pytestmark = pytest.mark.slow

LOADED = ("fct_candle_1m", "fct_candle_1h", "fct_market_snapshot", "fct_sentiment_daily", "fct_news", "agg_symbol_hour")
"""Marts whose rows say when a build loaded them."""
OTHERS = ("agg_market_day", "dim_date", "dim_source")


@pytest.fixture
def in_bucket(world, bucket_root, bucket_options):
    """The lake of all tests, object by object in a bucket: a table's log names its files by where they lie in it."""
    bucket = objects(bucket_root, bucket_options)
    for file in sorted(Path(world.root).rglob("*")):
        if file.is_file():
            obstore.put(bucket, str(file.relative_to(world.root)), file)
    return type(world)(bucket_root, storage_options=bucket_options)


def test_a_lake_in_a_bucket_gives_the_warehouse_of_the_same_lake_in_a_folder(
    built, in_bucket, object_store, make_command, read, tmp_path
):
    command = make_command(tmp_path, in_bucket.root, **object_store.environment)
    said = command("build")
    assert object_store.environment["AWS_SECRET_ACCESS_KEY"] not in said
    for mart in LOADED:
        query = f"select * exclude loaded_at from marts.{mart} order by all"
        assert read(command.file, query).equals(read(built.file, query)), mart
    for mart in OTHERS:
        query = f"select * from marts.{mart} order by all"
        assert read(command.file, query).equals(read(built.file, query)), mart
    before = published(in_bucket.lake)
    assert before.equals(read(command.file, "select * from marts.agg_symbol_hour order by symbol, opened_at"))
    in_bucket.take_the_lost()
    command("build")
    after = published(in_bucket.lake)
    assert after.equals(read(command.file, "select * from marts.agg_symbol_hour order by symbol, opened_at"))
    assert after["volume"].sum() > before["volume"].sum()


def published(lake) -> pl.DataFrame:
    return lake.scan(SYMBOL_HOURS).collect().sort("symbol", "opened_at")
