"""From the domain to the lake's frames and back nothing changes."""

import polars as pl
from hypothesis import given, strategies as st

from tapehouse.catalog import CANDLES, KLINES, SIGNALS, TABLES, TRADES
from tapehouse.market.candles import Candle
from tapehouse.market.events import Kline, Trade
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.streaming.rows import (
    bronze_klines,
    bronze_trades,
    candle_rows,
    gold_signals,
    klines_of,
    signals_of,
    silver_candles,
    trade_columns,
)
from tapehouse.streaming.verification import shown
from tapehouse.streaming.view import to_trades

times = st.integers(1_230_768_000_000_000, 4_102_444_799_999_999)
START = 1_723_161_600_000_000
amounts = st.integers(1, 2**63 - 1)
sums = st.integers(1, 10**38 - 1)
ids = st.integers(0, 10**15)
candles = st.builds(
    Candle, amounts, amounts, amounts, amounts, sums, sums, st.integers(1, 10**15), sums, sums, ids, ids
)
trades = st.builds(
    Trade,
    st.just("BTCUSDT"),
    ids,
    ids,
    amounts,
    amounts,
    st.sampled_from(["buy", "sell"]),
    times,
    st.none() | times,
    times,
    st.sampled_from(["stream", "rest", "archive"]),
)


@given(st.lists(st.tuples(trades, st.binary(max_size=9)), max_size=4))
def test_trades_come_back_as_they_were_stored(told):
    columns = trade_columns(told)
    stored = bronze_trades(columns, keep_payload=True)
    assert stored.schema == pl.Schema(TABLES[TRADES].schema)
    assert to_trades(columns) == to_trades(stored) == [trade for trade, _ in told]
    assert stored["payload"].to_list() == [payload for _, payload in told]
    assert (stored["date"] == stored["traded_at"].dt.date()).all()
    assert bronze_trades(columns, keep_payload=False)["payload"].null_count() == len(told)


@st.composite
def revisions(draw):
    state = draw(st.sampled_from(["closed", "gap", "quiet"]))
    candle = draw(candles) if state == "closed" or (state == "gap" and draw(st.booleans())) else None
    flat = draw(amounts) if state == "quiet" else None
    return CandleRow("BTCUSDT", "5m", draw(times), candle, flat, state, draw(st.integers(1, 99)), draw(times))


@given(st.lists(revisions(), max_size=4))
def test_revisions_come_back_as_they_were_stored(rows):
    stored = silver_candles(rows)
    assert stored.schema == pl.Schema(TABLES[CANDLES].schema)
    assert candle_rows(stored) == rows


@st.composite
def klines(draw):
    candle = draw(st.none() | candles)
    close = draw(amounts) if candle is None else candle.close
    return Kline("BTCUSDT", "1m", draw(times), candle, close, draw(times))


@given(st.lists(klines(), max_size=4))
def test_klines_come_back_as_they_were_stored(told):
    stored = bronze_klines([(kline, b"{}") for kline in told])
    assert stored.schema == pl.Schema(TABLES[KLINES].schema)
    assert klines_of(stored) == told


def test_numbers_are_shown_whole_and_without_idle_zeros():
    assert shown("quote_volume", 10**37 + 1) == "1000000000000000000000.0000000000000001"
    assert shown("volume", 120 * 10**8) == "120"
    assert (shown("open", 0), shown("trades", 10), shown("close", None)) == ("0", "10", "")


def test_signals_come_back_from_their_rows_as_they_went():
    evidence = {"times_before": 12.5, "regime": "high", "first_trade_id": 7, "last_trade_id": None, "seasonal": True}
    signals = [
        Signal("volume_spike", "BTCUSDT", "1m", START, 4.25, "confirmed", evidence, 2, START + 61_000_001),
        Signal("sentiment_extreme", "*", "1d", START, -2.5, "retracted", {}, 1, START + 61_000_002),
    ]  # fmt: skip
    frame = gold_signals(signals)
    assert frame.schema == TABLES[SIGNALS].schema
    assert frame["evidence"][0].startswith('{"first_trade_id":7,"last_trade_id":null,"regime"')
    assert signals_of(frame) == signals
