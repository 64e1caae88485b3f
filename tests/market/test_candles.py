from collections import defaultdict
from decimal import Decimal, localcontext
from functools import reduce

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from tapehouse.market.candles import COLUMNS, REDUCTIONS, Candle, as_candles, merge, merge_all, reduce_frame, to_candles
from tapehouse.market.coverage import Coverage
from tapehouse.market.events import Trade
from tapehouse.market.fixed_point import to_decimal
from tapehouse.market.windows import INTERVALS, ROLLED_UP_FROM, opened_at

START = 1_723_161_240_000_000
amounts = st.one_of(st.integers(1, 50), st.integers(1, 10**15))


@st.composite
def tapes(draw, most=12, longest_step=90_000):
    """Trades with consecutive ids; some share a millisecond at other prices, some lie minutes apart."""
    first_id, at = draw(st.integers(0, 10**12)), START + draw(st.integers(0, 10**11)) * 1000
    trades = []
    for place in range(draw(st.integers(1, most))):
        at += draw(st.one_of(st.just(0), st.integers(0, longest_step))) * 1000
        trades.append(
            Trade(
                symbol="BTCUSDT",
                first_trade_id=first_id + place,
                last_trade_id=first_id + place,
                price=draw(amounts),
                quantity=draw(amounts),
                taker_side=draw(st.sampled_from(["buy", "sell"])),
                traded_at=at,
                event_at=at,
                received_at=at,
                source="stream",
            )
        )
    return trades


def plain(trades) -> dict[str, Decimal | int]:
    """A candle from its definition, in decimals of as many digits as it takes."""
    with localcontext(prec=80):
        return by_definition(trades)


def by_definition(trades) -> dict[str, Decimal | int]:
    ordered = sorted(trades, key=lambda trade: trade.first_trade_id)
    prices = [to_decimal(trade.price) for trade in ordered]
    quantities = [to_decimal(trade.quantity) for trade in ordered]
    products = [price * quantity for price, quantity in zip(prices, quantities, strict=True)]
    buys = [trade.taker_side == "buy" for trade in ordered]
    return {
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": sum(quantities),
        "quote_volume": sum(products),
        "trades": len(ordered),
        "taker_buy_volume": sum(q for q, buy in zip(quantities, buys, strict=True) if buy),
        "taker_buy_quote_volume": sum(p for p, buy in zip(products, buys, strict=True) if buy),
        "first_trade_id": ordered[0].first_trade_id,
        "last_trade_id": ordered[-1].last_trade_id,
    }


def in_decimals(candle: Candle) -> dict[str, Decimal | int]:
    scales = dict.fromkeys(COLUMNS, 8) | {"quote_volume": 16, "taker_buy_quote_volume": 16}
    scales |= {"trades": 0, "first_trade_id": 0, "last_trade_id": 0}
    return {name: to_decimal(getattr(candle, name), scales[name]) for name in COLUMNS}


def as_frame(trades) -> pl.LazyFrame:
    names = ["first_trade_id", "last_trade_id", "price", "quantity", "taker_side", "traded_at"]
    rows = [[getattr(trade, name) for name in names] for trade in trades]
    return pl.LazyFrame(rows, schema=names, orient="row")


@given(tapes(), st.randoms())
def test_any_order_any_split_and_any_duplication_give_the_candle_of_the_definition(trades, random):
    sent = random.sample(trades, len(trades)) + random.choices(trades, k=len(trades) // 2)
    coverage, parts = Coverage(), defaultdict(list)
    for trade in sent:
        if coverage.accept(trade.first_trade_id, trade.last_trade_id):
            parts[random.randrange(4)].append(trade.as_candle())
    halves = [merge_all(part) for part in parts.values()]
    random.shuffle(halves)
    assert in_decimals(reduce(merge, halves)) == plain(trades)


@given(tapes(most=9))
def test_merging_is_commutative_and_associative(trades):
    one, two, three = (merge_all(trade.as_candle() for trade in trades[place::3]) for place in range(3))
    if two is not None:
        assert merge(one, two) == merge(two, one)
    if three is not None:
        assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(tapes(), st.randoms())
def test_columns_and_single_trades_give_the_same_candles(trades, random):
    shuffled = random.sample(trades, len(trades))
    minute = pl.col("traded_at") - pl.col("traded_at") % INTERVALS["1m"]
    reduced = reduce_frame(as_candles(as_frame(shuffled)).with_columns(minute=minute), ["minute"]).collect()
    windows = defaultdict(list)
    for trade in trades:
        windows[opened_at(trade.traded_at, "1m")].append(trade)
    found = dict(zip(reduced["minute"].to_list(), to_candles(reduced), strict=True))
    assert found == {opened: merge_all(t.as_candle() for t in window) for opened, window in windows.items()}
    assert {opened: in_decimals(candle) for opened, candle in found.items()} == {
        opened: plain(window) for opened, window in windows.items()
    }


@given(tapes())
def test_decimal_columns_give_the_same_candle_as_units(trades):
    frame = as_frame(trades).with_columns(
        [
            pl.Series(name, [to_decimal(getattr(trade, name)) for trade in trades], pl.Decimal(38, 8))
            for name in ("price", "quantity")
        ]
    )
    reduced = reduce_frame(as_candles(frame.with_columns(all=pl.lit(1))), ["all"]).collect()
    assert to_candles(reduced) == [merge_all(trade.as_candle() for trade in trades)]


@settings(max_examples=40)
@given(tapes(longest_step=40_000_000))
def test_rolling_up_from_minutes_to_the_day_equals_folding_the_trades_of_the_day(trades):
    candles = defaultdict(list)
    for trade in trades:
        candles[opened_at(trade.traded_at, "1m")].append(trade.as_candle())
    level = {opened: merge_all(parts) for opened, parts in candles.items()}
    for interval in ROLLED_UP_FROM:
        parents = defaultdict(list)
        for opened, candle in level.items():
            parents[opened_at(opened, interval)].append(candle)
        level = {opened: merge_all(parts) for opened, parts in parents.items()}
        direct = defaultdict(list)
        for trade in trades:
            direct[opened_at(trade.traded_at, interval)].append(trade)
        assert {opened: in_decimals(candle) for opened, candle in level.items()} == {
            opened: plain(window) for opened, window in direct.items()
        }


@pytest.mark.parametrize("amount", [1, 10**15, 2**63 - 1])
def test_the_product_of_the_largest_amounts_does_not_overflow(amount):
    trade = Trade("BTCUSDT", 1, 1, amount, amount, "buy", START, START, START, "stream")
    [candle] = to_candles(reduce_frame(as_candles(as_frame([trade])), ["traded_at"]).collect())
    assert candle == trade.as_candle()
    assert candle.quote_volume == candle.taker_buy_quote_volume == amount * amount


def test_several_trades_told_as_one_count_as_many_as_they_are():
    candle = Trade("BTCUSDT", 5, 8, 3, 4, "sell", START, None, START, "rest").as_candle()
    assert (candle.trades, candle.first_trade_id, candle.last_trade_id) == (4, 5, 8)
    assert (candle.volume, candle.taker_buy_volume) == (4, 0)


def test_no_trades_have_no_candle():
    assert merge_all([]) is None


def test_the_table_of_reductions_names_each_column_of_a_candle_once_and_in_order():
    assert tuple(reduction.column for reduction in REDUCTIONS) == Candle.__struct_fields__
