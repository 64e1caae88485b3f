"""What Spark's workers write, every engine reads to the digit, Spark as well what others write; in a bucket."""

import importlib.util
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import msgspec
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tapehouse.catalog import CANDLES, EMBEDDED, STREAM, TABLES, TRADES, WAREHOUSE
from tapehouse.errors import LakeError
from tapehouse.lake.bucket import client_options
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.loose_files import LooseFile, write_files
from tapehouse.lake.place import open_place
from tapehouse.settings import Settings
from tapehouse.streaming.spark_session import address, bucket_keys, configuration

BATCH = 7
AT = datetime(2024, 8, 8, 23, 59, 59, 999_000, tzinfo=UTC)
PRICE, QUANTITY = Decimal("61837.00000001"), Decimal("0.00000001")
LARGEST = Decimal("999999999999999999999999999999.99999999")


@pytest.fixture
def lake(bucket_root, bucket_options) -> DeltaLake:
    """The cluster's lake, its tables made by the process beside Spark."""
    root = bucket_root.replace(" ", "-").replace("é", "e")
    lake = DeltaLake(root, storage_options=bucket_options, writer=STREAM)
    lake.create()
    return lake


@pytest.fixture
def session(spark, lake, object_store, spark_jars, monkeypatch):
    """Spark, told how the bucket is reached as the settings tell it."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None, lake=lake.root, spark_jars=spark_jars)
    for name, value in configuration(settings):
        if name.startswith("spark.hadoop."):
            spark.conf.set(name.removeprefix("spark.hadoop."), value)
    for name, value in bucket_keys(settings):
        spark.conf.set(name, value)
    return spark


@pytest.fixture
def trades() -> pl.DataFrame:
    row = {
        "venue": "binance",
        "symbol": "BTCUSDT",
        "first_trade_id": 1,
        "last_trade_id": 1,
        "price": PRICE,
        "quantity": QUANTITY,
        "taker_side": "buy",
        "traded_at": AT,
        "event_at": None,
        "received_at": AT,
        "source": "stream",
        "payload": b'{"p":"\xff"}',
        "date": AT.date(),
    }
    other = {**row, "first_trade_id": 2, "last_trade_id": 9, "price": LARGEST, "date": date(2024, 8, 9)}
    return pl.DataFrame([row, other], schema=dict(TABLES[TRADES].schema))


@pytest.fixture
def written_by_workers(spark, lake, trades) -> pl.DataFrame:
    root, options = lake.root, lake.storage_options

    def write(batches):
        for _ in batches:
            for file in write_files(open_place(root, options), TABLES[TRADES], trades, "live"):
                yield pa.RecordBatch.from_pylist([{"file": msgspec.json.encode(file)}])

    told = spark.range(1).coalesce(1).mapInArrow(write, "file binary").collect()
    files = [msgspec.json.decode(row["file"], type=LooseFile) for row in told]
    assert len(files) == 2  # one a day
    for _ in range(2):  # told twice, as after a crash
        lake.append(TRADES, trades.clear(), writer=STREAM, batch=BATCH, files=files)
    return trades


@pytest.fixture
def warehouse(bucket_options):
    connection = duckdb.connect()
    connection.execute("SET autoinstall_known_extensions=false")
    connection.execute("SET TimeZone='UTC'")
    for name in ("httpfs", "delta"):
        folder = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
        connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{bucket_options['aws_access_key_id']}', REGION 'us-east-1', "
        f"SECRET '{bucket_options['aws_secret_access_key']}', USE_SSL false, URL_STYLE 'path', "
        f"ENDPOINT '{bucket_options['aws_endpoint_url'].removeprefix('http://')}')"
    )
    yield connection
    connection.close()


def candle(revision: int) -> dict:
    amounts = dict.fromkeys(("open", "high", "low", "close", "volume", "taker_buy_volume"), PRICE)
    return {
        "venue": "binance",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "opened_at": AT.replace(second=0, microsecond=0),
        **amounts,
        "quote_volume": Decimal("0.0006183700000001"),
        "trades": 1,
        "taker_buy_quote_volume": Decimal("0.0006183700000001"),
        "first_trade_id": 1,
        "last_trade_id": 1,
        "state": "closed",
        "revision": revision,
        "known_at": AT,
        "date": AT.date(),
    }


def test_what_workers_write_is_read_exactly_by_delta_rs_polars_and_duckdb(lake, written_by_workers, warehouse):
    assert written_by_workers.equals(lake.scan(TRADES).collect().sort("first_trade_id"))
    assert lake.last_batch(TRADES, STREAM) == BATCH
    options = client_options(lake.storage_options)
    by_polars = pl.scan_delta(lake.address(TRADES), storage_options=options).collect().sort("first_trade_id")
    assert written_by_workers.equals(by_polars.select(written_by_workers.columns))
    told = warehouse.execute(
        "select first_trade_id, price, quantity, epoch_us(traded_at), payload, date "
        f"from delta_scan('{lake.address(TRADES)}') order by 1"
    ).fetchall()
    at = int(AT.timestamp()) * 1_000_000 + AT.microsecond
    assert told == [
        (1, PRICE, QUANTITY, at, b'{"p":"\xff"}', date(2024, 8, 8)),
        (2, LARGEST, QUANTITY, at, b'{"p":"\xff"}', date(2024, 8, 9)),
    ]


def test_spark_reads_exactly_what_its_workers_wrote(lake, session, written_by_workers):
    read = session.read.format("delta").load(address(lake.address(TRADES))).orderBy("first_trade_id").toArrow()
    told = pl.DataFrame(pl.from_arrow(read))
    assert written_by_workers.equals(told.select(written_by_workers.columns).cast(dict(TABLES[TRADES].schema)))


def test_what_delta_rs_writes_is_read_exactly_by_spark(lake, session):
    rows = pl.DataFrame([candle(1), candle(2)], schema=dict(TABLES[CANDLES].schema))
    lake.append(CANDLES, rows, writer=STREAM, batch=0)
    read = session.read.format("delta").load(address(lake.address(CANDLES))).orderBy("revision").collect()
    found = [row.asDict() for row in read]
    for row in found:
        row["opened_at"], row["known_at"] = (row[name].astimezone(UTC) for name in ("opened_at", "known_at"))
    assert found == [candle(1), candle(2)]


@pytest.mark.usefixtures("written_by_workers")
def test_one_engine_commits_to_every_table(lake):
    lake.append(CANDLES, pl.DataFrame([candle(1)], schema=dict(TABLES[CANDLES].schema)), writer=STREAM, batch=0)
    for table in TABLES.values():
        if table.name.startswith(("gold/dim_", "gold/fct_", "gold/agg_")):
            assert set(table.writers.values()) == {WAREHOUSE}
            assert not DeltaTable.is_deltatable(lake.address(table.name), storage_options=lake.delta_options)
            continue
        assert set(table.writers.values()) == {EMBEDDED, STREAM}
        delta = DeltaTable(lake.address(table.name), storage_options=lake.delta_options)
        assert all(commit["engineInfo"].startswith("delta-rs") for commit in delta.history())
    with pytest.raises(LakeError, match="a table has one writer"):
        DeltaLake(lake.root, storage_options=lake.storage_options, writer="spark").append(
            TRADES, pl.DataFrame(schema=dict(TABLES[TRADES].schema)), writer="spark", batch=0
        )


@pytest.mark.usefixtures("written_by_workers")
def test_no_table_turns_a_feature_on_that_others_cannot_read(lake):
    protocol = DeltaTable(lake.address(TRADES), storage_options=lake.delta_options).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
