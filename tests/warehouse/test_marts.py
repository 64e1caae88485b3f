"""What the marts say is what the lake's rows give by another computation, to the last digit where it is an amount."""

import importlib.util
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from tapehouse.catalog import MARTS, SYMBOL_HOURS, TABLES, WAREHOUSE

_spec = importlib.util.spec_from_file_location("marts_by_hand", Path(__file__).with_name("marts_by_hand.py"))
by_hand = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(by_hand)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("interval", ["1m", "1h"])
def test_the_candles_are_the_highest_revisions_of_silver(built, world, read, interval):
    ours = read(built.file, f"select * exclude loaded_at from marts.fct_candle_{interval} order by symbol, opened_at")
    theirs = by_hand.candles(world.lake, interval)
    assert ours.equals(theirs.select(ours.columns))
    assert set(ours["state"]) >= {"closed", "gap"}
    assert (interval == "1m") == (ours["open"].null_count() > 0)  # a minute of which nothing is held has no price


@pytest.mark.parametrize("mart", by_hand.COMPUTED)
def test_facts_and_dimensions_are_what_the_lake_tells_by_another_computation(built, world, read, mart):
    ours = read(built.file, f"select columns(name -> name <> 'loaded_at') from marts.{mart}")
    theirs = by_hand.COMPUTED[mart](world.lake).select(ours.columns)
    assert ours.height > 1
    assert sorted(ours.rows(), key=repr) == sorted(theirs.rows(), key=repr)


def test_each_hour_is_what_its_minutes_give_by_another_computation(built, world, read):
    rows = read(built.file, "select * exclude (venue, date, loaded_at) from marts.agg_symbol_hour")
    ours = {(row.pop("symbol"), row.pop("opened_at")): row for row in rows.iter_rows(named=True)}
    theirs = by_hand.symbol_hours(world.lake)
    assert ours.keys() == theirs.keys()
    for hour, row in ours.items():
        assert row == {name: near(theirs[hour][name]) for name in row}, hour
    assert {row["news"] for row in ours.values()} > {0}
    assert any(row["completeness"] < 1 for row in ours.values())


def near(value):
    """A ratio is compared to the last digits of a float, an amount exactly."""
    return pytest.approx(value, rel=1e-12, abs=1e-15) if isinstance(value, float) else value


def test_a_day_tells_of_the_whole_market_what_its_hours_give(built, world, read):
    day = datetime(2026, 2, 28, tzinfo=UTC)
    (row,) = read(built.file, "select * from marts.agg_market_day where date = '2026-02-28'").to_dicts()
    hours = by_hand.symbol_hours(world.lake)
    of_btc = [hours["BTCUSDT", day.replace(hour=hour)] for hour in range(24)]
    assert row["btc_return"] == pytest.approx(float(of_btc[-1]["close"]) / float(of_btc[0]["open"]) - 1)
    assert row["mean_correlation"] == pytest.approx(by_hand.mean_correlation(hours, day), abs=1e-9)
    assert row["dollar_volume"] == sum(
        told["quote_volume"] for (_, at), told in hours.items() if at.date() == day.date()
    )
    assert (row["fear_greed"], row["symbols"]) == (by_hand.fear_and_greed(world.lake)["2026-02-28"], 2)
    assert row["fear_greed_change"] == 7
    assert math.isclose(row["btc_dominance"], 51.2)


def test_the_index_is_correlated_with_the_mean_return_of_the_days_that_have_both(built, world, read):
    days = read(
        built.file, "select date, fear_greed_return_correlation as told from marts.agg_market_day order by date"
    )
    hours, index = by_hand.symbol_hours(world.lake), by_hand.fear_and_greed(world.lake)
    told = dict(days.iter_rows())
    first, second, third = sorted(told)
    assert told[first] is None  # a single day moves with nothing
    assert abs(told[second]) == pytest.approx(1)
    assert told[third] == pytest.approx(by_hand.return_of_index(hours, index, third), abs=1e-8)
    assert abs(told[third]) < 0.999


def test_a_symbol_has_the_coin_and_the_assets_of_its_name(built, read):
    rows = read(built.file, "select * from marts.dim_symbol order by symbol").to_dicts()
    names = ("symbol", "base_asset", "quote_asset", "coingecko_id", "status", "tick_size", "step_size")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("BTCUSDT", "BTC", "USDT", "bitcoin", "TRADING", Decimal("0.01"), Decimal("0.00001")),
        ("ETHUSDT", "ETH", "USDT", "ethereum", "UNKNOWN", None, None),  # the exchange has not been asked about it
    ]


@pytest.mark.parametrize("name", MARTS)
def test_the_mart_the_catalog_and_the_published_table_have_the_same_columns_and_rows(built, world, read, name):
    table = TABLES[name]
    mart = read(built.file, f"select * from marts.{name.removeprefix('gold/')}").sort(table.sort_by)
    assert dict(mart.schema) == by_hand.schema_of(name)
    published = world.lake.scan(name).collect().sort(table.sort_by)
    assert published.height > 0
    assert published.equals(mart)


@pytest.mark.usefixtures("built")
def test_gold_is_read_by_another_engine_with_every_digit(world):
    folder = importlib.util.find_spec("duckdb_extension_delta").submodule_search_locations[0]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/delta.duckdb_extension'")
        quoted = f"{world.root}/{SYMBOL_HOURS}".replace("'", "''")
        theirs = pl.DataFrame(connection.sql(f"from delta_scan('{quoted}')")).sort("symbol", "opened_at")
    ours = world.lake.scan(SYMBOL_HOURS).collect().sort("symbol", "opened_at")
    assert ours.equals(theirs.select(ours.columns))


@pytest.mark.usefixtures("built")
def test_every_published_table_names_the_warehouse_as_its_only_writer(world):
    for name in MARTS:
        assert set(TABLES[name].writers.values()) == {WAREHOUSE}
        assert DeltaTable(world.lake.address(name)).transaction_version(WAREHOUSE) >= 0


def test_every_test_of_the_models_holds_over_all_the_warehouse_has(built):
    said = built("test")
    assert "unit test" in said
    assert "All well" in said
