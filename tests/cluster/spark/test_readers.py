"""What Spark writes, delta-rs, Polars and DuckDB read to the digit, and the other way round; in a bucket."""

import importlib.util
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from tapehouse.catalog import CANDLES, SPARK, STREAM, TABLES, TRADES
from tapehouse.errors import LakeError
from tapehouse.lake.bucket import client_options
from tapehouse.lake.delta import DeltaLake
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
def written_by_spark(session, lake, trades, tmp_path) -> pl.DataFrame:
    trades.write_parquet(tmp_path / "trades.parquet")
    rows = session.read.parquet(str(tmp_path / "trades.parquet"))
    for _ in range(2):  # told twice, as after a crash
        batch = rows.write.format("delta").option("txnAppId", SPARK).option("txnVersion", BATCH)
        batch.mode("append").save(address(lake.address(TRADES)))
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


def test_what_spark_writes_is_read_exactly_by_delta_rs_polars_and_duckdb(lake, written_by_spark, warehouse):
    assert written_by_spark.equals(lake.scan(TRADES).collect().sort("first_trade_id"))
    assert lake.last_batch(TRADES, SPARK) == BATCH
    options = client_options(lake.storage_options)
    by_polars = pl.scan_delta(lake.address(TRADES), storage_options=options).collect().sort("first_trade_id")
    assert written_by_spark.equals(by_polars.select(written_by_spark.columns))
    told = warehouse.execute(
        "select first_trade_id, price, quantity, epoch_us(traded_at), payload, date "
        f"from delta_scan('{lake.address(TRADES)}') order by 1"
    ).fetchall()
    at = int(AT.timestamp()) * 1_000_000 + AT.microsecond
    assert told == [
        (1, PRICE, QUANTITY, at, b'{"p":"\xff"}', date(2024, 8, 8)),
        (2, LARGEST, QUANTITY, at, b'{"p":"\xff"}', date(2024, 8, 9)),
    ]


def test_what_delta_rs_writes_is_read_exactly_by_spark(lake, session):
    rows = pl.DataFrame([candle(1), candle(2)], schema=dict(TABLES[CANDLES].schema))
    lake.append(CANDLES, rows, writer=STREAM, batch=0)
    read = session.read.format("delta").load(address(lake.address(CANDLES))).orderBy("revision").collect()
    found = [row.asDict() for row in read]
    for row in found:
        row["opened_at"], row["known_at"] = (row[name].astimezone(UTC) for name in ("opened_at", "known_at"))
    assert found == [candle(1), candle(2)]


@pytest.mark.usefixtures("written_by_spark")
def test_the_log_of_a_table_names_its_one_writer(lake):
    lake.append(CANDLES, pl.DataFrame([candle(1)], schema=dict(TABLES[CANDLES].schema)), writer=STREAM, batch=0)
    with pytest.raises(LakeError, match=f"{TRADES} is written by"):
        lake.append(TRADES, pl.DataFrame(schema=dict(TABLES[TRADES].schema)), writer=STREAM, batch=0)
    engines = {SPARK: "Apache-Spark", STREAM: "delta-rs"}
    for name in (TRADES, CANDLES):
        delta = DeltaTable(lake.address(name), storage_options=lake.delta_options)
        writes = [commit["engineInfo"] for commit in delta.history() if commit["operation"] == "WRITE"]
        assert len(writes) == 1
        assert writes[0].startswith(engines[TABLES[name].cluster_writer])


@pytest.mark.usefixtures("written_by_spark")
def test_spark_turns_no_feature_on_that_others_cannot_read(lake):
    protocol = DeltaTable(lake.address(TRADES), storage_options=lake.delta_options).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
