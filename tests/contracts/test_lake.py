"""The law of the Lake seam, held against every implementation of it."""

import importlib.util
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from threading import Thread

import duckdb
import polars as pl
import pytest

from tapehouse.catalog import CANDLES, COVERAGE, SIGNALS, TABLES, TRADES
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.signals import Signal
from tapehouse.streaming.rows import gold_signals

START = datetime(2024, 8, 8, 23, 59, 59, 999_000, tzinfo=UTC)


def trades(first: int, count: int, start: datetime = START) -> pl.DataFrame:
    """Trades a millisecond apart; the first is on one day, the rest on the next."""
    ids = list(range(first, first + count))
    times = [start + timedelta(milliseconds=step) for step in range(count)]
    columns = {
        "venue": ["binance"] * count,
        "symbol": ["BTCUSDT"] * count,
        "first_trade_id": ids,
        "last_trade_id": ids,
        "price": [Decimal("61837.00000001") + number for number in range(count)],
        "quantity": [Decimal("0.00000001")] * count,
        "taker_side": ["buy"] * count,
        "traded_at": times,
        "event_at": times,
        "received_at": times,
        "source": ["stream"] * count,
        "payload": [b'{"e":"trade","p":"\xff"}'] * count,
        "date": [moment.date() for moment in times],
    }
    return pl.DataFrame(columns, schema=dict(TABLES[TRADES].schema))


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def open_lake(request, tmp_path):
    """Opens the one lake of the test, each time anew."""
    if request.param == "folder":
        return lambda **others: DeltaLake(str(tmp_path / "lake"), **others)
    root, options = request.getfixturevalue("bucket_root"), request.getfixturevalue("bucket_options")
    return lambda **others: DeltaLake(root, storage_options=options, **others)


@pytest.fixture
def lake(open_lake):
    lake = open_lake()
    lake.create()
    return lake


def rows(lake, table=TRADES):
    return lake.scan(table).collect().sort("first_trade_id")


def test_rows_come_back_exactly_as_they_were_appended(lake):
    told = trades(100, 50)
    assert lake.append(TRADES, told, writer="engine", batch=0) is True
    assert told.equals(rows(lake))


def test_a_batch_is_committed_once_however_often_it_is_appended(lake):
    for _ in range(3):
        lake.append(TRADES, trades(100, 10), writer="engine", batch=7)
    assert lake.append(TRADES, trades(500, 10), writer="engine", batch=6) is False
    assert trades(100, 10).equals(rows(lake))
    assert lake.last_batch(TRADES, "engine") == 7


def test_writers_and_tables_count_their_batches_apart(lake):
    lake.append(TRADES, trades(1, 1), writer="engine", batch=3)
    assert lake.append(TRADES, trades(2, 1), writer="backfill", batch=0) is True
    assert (lake.last_batch(TRADES, "engine"), lake.last_batch(TRADES, "backfill")) == (3, 0)
    assert (lake.last_batch(TRADES, "nobody"), lake.last_batch(CANDLES, "engine")) == (-1, -1)


def test_a_second_opening_of_the_lake_sees_every_commit_and_refuses_its_batches(lake, open_lake):
    other = open_lake()
    assert other.last_batch(TRADES, "engine") == -1
    lake.append(TRADES, trades(1, 5), writer="engine", batch=0)
    assert trades(1, 5).equals(rows(other))
    assert other.append(TRADES, trades(1, 5), writer="engine", batch=0) is False


def test_a_batch_committed_by_another_in_between_is_not_committed_again(lake, open_lake):
    lake.append(TRADES, trades(1, 5), writer="engine", batch=0)
    other = open_lake()
    other.append(TRADES, trades(6, 5), writer="engine", batch=1)
    assert lake.append(TRADES, trades(6, 5), writer="engine", batch=1) is False
    assert lake.append(TRADES, trades(11, 5), writer="engine", batch=2) is True
    assert list(range(1, 16)) == rows(lake)["first_trade_id"].to_list()


def test_days_prune_and_no_days_are_no_rows(lake):
    lake.append(TRADES, trades(1, 5), writer="engine", batch=0)
    assert lake.scan(TRADES, dates=["2024-08-08"]).collect()["first_trade_id"].to_list() == [1]
    assert lake.scan(TRADES, dates=["2024-08-09", "2024-08-10"]).collect().height == 4
    for dates in ([], ["2020-01-01"]):
        assert lake.scan(TRADES, dates=dates).collect().height == 0


def test_days_of_a_symbol_are_those_whose_files_may_hold_it(lake):
    lake.append(TRADES, trades(1, 5), writer="engine", batch=0)
    later = trades(6, 1, START + timedelta(days=5)).with_columns(symbol=pl.lit("ETHUSDT"))
    lake.append(TRADES, later, writer="engine", batch=1)
    assert lake.dates(TRADES) == ["2024-08-08", "2024-08-09", "2024-08-13"]
    assert lake.dates(TRADES, symbol="BTCUSDT") == ["2024-08-08", "2024-08-09"]
    assert lake.dates(TRADES, symbol="ETHUSDT") == ["2024-08-13"]
    assert lake.dates(TRADES, symbol="XRPUSDT") == []


def test_days_since_something_became_known_are_those_whose_files_may_hold_it(lake):
    opened, day = 1_723_161_600_000_000, 86_400_000_000
    first, second, late = (
        Signal("volume_spike", "BTCUSDT", "1m", opened + after * day, 1.0, "confirmed", {}, revision, opened + known)
        for after, revision, known in ((0, 1, 60), (3, 1, 3 * day + 999), (0, 2, 5 * day))
    )
    for batch, signals in enumerate(([first], [second], [late])):
        lake.append(SIGNALS, gold_signals(signals), writer="engine", batch=batch)

    def dates(known_at: int, symbol: str | None = None) -> list[str]:
        return lake.dates(SIGNALS, symbol=symbol, known_since=datetime.fromtimestamp(known_at / 1e6, UTC))

    assert dates(first.known_at) == ["2024-08-09", "2024-08-12"]
    assert dates(second.known_at) == ["2024-08-09", "2024-08-12"]
    assert dates(second.known_at + day) == dates(late.known_at, "BTCUSDT") == ["2024-08-09"]
    assert dates(late.known_at + day) == dates(late.known_at, "ETHUSDT") == []


def test_an_empty_table_has_the_columns_of_the_catalog(lake):
    for name, table in TABLES.items():
        assert lake.scan(name).collect_schema() == pl.Schema(dict(table.schema))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda frame: frame.drop("payload"), "payload"),
        (lambda frame: frame.with_columns(pl.col("price").cast(pl.Float64)), "price"),
        (lambda frame: frame.with_columns(pl.col("traded_at").dt.replace_time_zone(None)), "traded_at"),
        (lambda frame: frame.with_columns(extra=pl.lit(1)), "extra"),
        (lambda frame: frame.select(reversed(frame.columns)), "order"),
    ],
)
def test_rows_that_do_not_fit_the_catalog_are_refused_by_name(lake, wrong, told):
    with pytest.raises(LakeError, match=told):
        lake.append(TRADES, wrong(trades(1, 1)), writer="engine", batch=0)
    assert rows(lake).height == 0


def test_an_unknown_table_is_named(lake):
    with pytest.raises(LakeError, match="bronze/nothing"):
        lake.scan("bronze/nothing")


def test_appends_of_several_threads_are_all_there_once(lake):
    def write(writer: int) -> None:
        for batch in range(5):
            lake.append(TRADES, trades(1000 * writer + 10 * batch, 10), writer=str(writer), batch=batch)

    threads = [Thread(target=write, args=(writer,)) for writer in range(1, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [1000 * writer + number for writer in range(1, 4) for number in range(50)]
    assert expected == rows(lake)["first_trade_id"].to_list()


def test_creating_again_changes_nothing(lake, open_lake):
    lake.append(TRADES, trades(1, 3), writer="engine", batch=0)
    lake.create()
    open_lake().create()
    assert trades(1, 3).equals(rows(lake))


@pytest.fixture
def warehouse():
    connection = duckdb.connect()
    connection.execute("SET autoinstall_known_extensions=false")
    connection.execute("SET TimeZone='UTC'")
    for name in ("httpfs", "delta"):
        folder = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
        connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/{name}.duckdb_extension'")
    yield connection
    connection.close()


def test_duckdb_reads_decimals_times_and_days_exactly(lake, warehouse):
    lake.append(TRADES, trades(1, 2), writer="engine", batch=0)
    if not lake.is_local:
        told = lake.storage_options
        warehouse.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{told['aws_access_key_id']}', SECRET '{told['aws_secret_access_key']}', "
            f"REGION '{told['aws_region']}', ENDPOINT '{told['aws_endpoint_url'].removeprefix('http://')}', "
            "USE_SSL false, URL_STYLE 'path')"
        )
    found = warehouse.execute(
        "select price, typeof(price), strftime(traded_at, '%Y-%m-%dT%H:%M:%S.%f'), typeof(traded_at), date, payload "
        f"from delta_scan('{lake.address(TRADES)}') order by first_trade_id"
    ).fetchall()
    kinds = ("DECIMAL(38,8)", "TIMESTAMP WITH TIME ZONE")
    payload = b'{"e":"trade","p":"\xff"}'
    day = date(2024, 8, 8)
    assert found == [
        (Decimal("61837.00000001"), kinds[0], "2024-08-08T23:59:59.999000", kinds[1], day, payload),
        (Decimal("61838.00000001"), kinds[0], "2024-08-09T00:00:00.000000", kinds[1], day + timedelta(days=1), payload),
    ]


def test_partitions_are_folders_named_for_their_day(lake):
    lake.append(TRADES, trades(1, 2), writer="engine", batch=0)
    folders = [PurePosixPath(path).relative_to(lake.address(TRADES)).parts[0] for path in lake.files(TRADES)]
    assert sorted(folders) == ["date=2024-08-08", "date=2024-08-09"]


@pytest.mark.parametrize(("table", "writer"), [(TRADES, "spark"), (TRADES, None), (CANDLES, None)])
def test_who_is_not_a_tables_writer_may_neither_append_nor_keep_it(lake, open_lake, table, writer):
    other = open_lake(writer=writer)
    with pytest.raises(LakeError, match=f"{table} is written by .* a table has one writer"):
        other.append(table, pl.DataFrame(schema=dict(TABLES[table].schema)), writer="engine", batch=0)
    with pytest.raises(LakeError, match="one writer"), other.writing(table):
        pass
    assert lake.last_batch(table, "engine") == -1


def test_to_a_reader_a_table_not_made_yet_is_empty_and_then_there(open_lake):
    reader = open_lake(writer=None)
    assert reader.scan(TRADES).collect().height == 0
    assert (reader.dates(TRADES), reader.last_batch(TRADES, "engine")) == ([], -1)
    lake = open_lake()
    lake.create()
    lake.append(TRADES, trades(1, 3), writer="engine", batch=0)
    assert trades(1, 3).equals(rows(reader))


def test_a_range_of_coverage_keeps_its_columns(lake):
    row = {
        "venue": "binance",
        "symbol": "BTCUSDT",
        "first_trade_id": 1,
        "last_trade_id": 9,
        "status": "held",
        "known_at": START,
        "date": START.date(),
    }
    told = pl.DataFrame([row], schema=dict(TABLES[COVERAGE].schema))
    lake.append(COVERAGE, told, writer="engine", batch=0)
    assert told.equals(rows(lake, COVERAGE))
