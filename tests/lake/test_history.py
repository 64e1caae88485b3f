from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tapehouse.catalog import CANDLES, COVERAGE, KLINES, TABLES, TRADES
from tapehouse.lake import history

DAY = datetime(2024, 8, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rows_of(table, rows):
    schema = dict(TABLES[table].schema)
    defaults = {"venue": "binance", "symbol": "BTCUSDT", "interval": "1m"}
    full = [dict.fromkeys(schema) | {key: defaults[key] for key in defaults if key in schema} | row for row in rows]
    return pl.DataFrame(full, schema=schema)


def candle(minute, revision, known_after, **more):
    opened_at = DAY + minute * MINUTE
    known_at = DAY + known_after * MINUTE
    return {"opened_at": opened_at, "revision": revision, "known_at": known_at, "date": opened_at.date(), **more}


@pytest.fixture
def traded(lake, make_trades):
    """Three days of trades of one symbol, ten a day, and another symbol between them."""
    for day in range(3):
        rows = [make_trades(10 * day, 10, symbol, DAY + timedelta(days=day)) for symbol in ("ETHUSDT", "BTCUSDT")]
        lake.append(TRADES, pl.concat(rows), writer="engine", batch=day)
    return lake


@pytest.fixture
def candles(lake):
    rows = [candle(0, 0, 1), candle(1, 0, 2), candle(1, 1, 9), candle(2, 0, 3), candle(0, 0, 1, symbol="ETHUSDT")]
    lake.append(CANDLES, rows_of(CANDLES, reversed(rows)), writer="engine", batch=0)
    return lake


def ids(frame):
    return frame["first_trade_id"].to_list()


def revisions(frame):
    return [((row["opened_at"] - DAY) // MINUTE, row["revision"]) for row in frame.rows(named=True)]


def test_trades_come_in_order_of_id_without_payload_unless_asked(traded):
    found = history.trades(traded, "BTCUSDT")
    assert ids(found) == list(range(30))
    assert "payload" not in found.columns
    assert history.trades(traded, "BTCUSDT", payload=True)["payload"][0] == b'{"t":0}'


def test_trades_are_bounded_by_time_with_the_end_left_out(traded):
    start, end = DAY + timedelta(days=1), DAY + timedelta(days=1, milliseconds=5)
    assert ids(history.trades(traded, "BTCUSDT", start, end)) == [10, 11, 12, 13, 14]
    assert ids(history.trades(traded, "BTCUSDT", end=DAY + timedelta(days=1))) == list(range(10))


def test_trades_are_bounded_by_id(traded):
    assert ids(history.trades(traded, "BTCUSDT", first_trade_id=8, last_trade_id=11)) == [8, 9, 10, 11]


def test_a_row_over_several_ids_is_found_by_any_of_them(lake, make_trades):
    wide = make_trades(5, 1).with_columns(last_trade_id=pl.lit(9, pl.Int64))
    lake.append(TRADES, wide, writer="engine", batch=0)
    assert ids(history.trades(lake, "BTCUSDT", first_trade_id=7, last_trade_id=7)) == [5]


@pytest.mark.parametrize(("limit", "first"), [(1, 29), (10, 20), (25, 5), (100, 0)])
def test_the_last_trades_reach_back_over_days(traded, limit, first):
    assert ids(history.last_trades(traded, "BTCUSDT", limit)) == list(range(first, 30))


def test_the_last_trades_are_found_across_wide_gaps_of_ids(lake, make_trades):
    for batch, first in enumerate((0, 10_000, 5_000_000)):
        lake.append(TRADES, make_trades(first, 2, start=DAY), writer="engine", batch=batch)
    assert ids(history.last_trades(lake, "BTCUSDT", 3)) == [10_001, 5_000_000, 5_000_001]


def test_a_symbol_or_a_lake_without_trades_gives_no_rows(lake, traded):
    assert history.last_trades(traded, "NOBODY", 5).height == 0
    assert history.last_trades(lake, "NOBODY", 5).columns == history.trades(lake, "NOBODY").columns


def test_the_highest_revision_of_a_candle_counts(candles):
    assert revisions(history.latest_candles(candles, "BTCUSDT", "1m")) == [(0, 0), (1, 1), (2, 0)]


def test_candles_can_be_asked_as_they_were_known(candles):
    found = history.latest_candles(candles, "BTCUSDT", "1m", as_of=DAY + 2 * MINUTE)
    assert revisions(found) == [(0, 0), (1, 0)]


def test_candles_are_bounded_and_limited_from_the_end(candles):
    found = history.latest_candles(candles, "BTCUSDT", "1m", DAY, DAY + 2 * MINUTE)
    assert revisions(found) == [(0, 0), (1, 1)]
    assert revisions(history.latest_candles(candles, "BTCUSDT", "1m", limit=2)) == [(1, 1), (2, 0)]


def test_candles_of_all_symbols_are_sorted_and_limited_each(candles):
    found = history.latest_candles(candles, None, "1m", limit=1)
    assert found["symbol"].to_list() == ["BTCUSDT", "ETHUSDT"]
    assert history.latest_candles(candles, None, "5m").height == 0


def test_a_kline_told_twice_is_one_row(lake):
    told = [
        {"opened_at": DAY, "received_at": DAY + wait * MINUTE, "trades": wait, "date": DAY.date()} for wait in (2, 1)
    ]
    lake.append(KLINES, rows_of(KLINES, told), writer="engine", batch=0)
    found = history.klines(lake, "BTCUSDT", "1m", DAY, DAY + MINUTE)
    assert found["trades"].to_list() == [2]
    assert history.klines(lake, "BTCUSDT", "1m", DAY + MINUTE).height == 0


def test_later_knowledge_of_coverage_overrides_earlier(lake):
    told = [(0, 99, "held", 1), (40, 49, "missing", 2), (45, 47, "held", 3)]
    for batch, (first, last, status, known) in enumerate(reversed(told)):
        known_at = DAY + known * MINUTE
        row = {
            "first_trade_id": first,
            "last_trade_id": last,
            "status": status,
            "known_at": known_at,
            "date": DAY.date(),
        }
        lake.append(COVERAGE, rows_of(COVERAGE, [row]), writer="engine", batch=batch)
    held, missing = history.coverage(lake, "BTCUSDT")
    assert list(held) == [(0, 39), (45, 47), (50, 99)]
    assert list(missing) == [(40, 44), (48, 49)]
