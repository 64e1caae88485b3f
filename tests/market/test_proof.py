"""What may be said of a window that is over: each kind of evidence, and the want of it."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from tapehouse.market.candles import COLUMNS, Candle
from tapehouse.market.coverage import Ranges
from tapehouse.market.events import Kline
from tapehouse.market.proof import (
    CLOSED,
    GAP,
    OPEN,
    QUIET,
    Neighbour,
    differences,
    judge_empty,
    judge_held,
    quiet_price,
)


def candle(first: int, last: int, *, close: int = 5, trades: int | None = None) -> Candle:
    return Candle(4, 9, 1, close, 70, 300, last - first + 1 if trades is None else trades, 30, 120, first, last)


def kline(told: Candle | None, *, close: int = 5, has_ids: bool = True) -> Kline:
    return Kline("BTCUSDT", "1m", 0, told, close if told is None else told.close, 0, has_ids)


def neighbour(first: int, last: int, told: Kline | None = None, close: int = 5) -> Neighbour:
    return Neighbour(candle(first, last, close=close), told)


OURS = candle(10, 14)
ALONE = Ranges([(10, 14)])

# A window with held trades, (10, 14): (what is held, its kline, the window before, the window after) and its state

PROVED = {
    "the ids on both sides are held": (Ranges([(9, 15)]), None, None, None),
    "the window before ends, and the one after begins, where this one does": (
        ALONE, None, neighbour(3, 9), neighbour(15, 20)
    ),
    "the exchange tells both its ids": (ALONE, kline(OURS), None, None),
    "the exchange's kline without ids counts the same trades and sums": (ALONE, kline(OURS, has_ids=False), None, None),
    "the kline of the window before tells its last id": (
        Ranges([(10, 15)]), None, neighbour(3, 7, kline(candle(3, 9))), None
    ),
    "the kline of the window after tells its first id": (
        Ranges([(9, 14)]), None, None, neighbour(17, 20, kline(candle(15, 20)))
    ),
}  # fmt: skip
NOT_PROVED = {
    "nobody tells where it begins": (Ranges([(10, 15)]), None, None, None, GAP),
    "the window before ended earlier": (Ranges([(10, 15)]), None, neighbour(3, 8), None, GAP),
    "the exchange tells an earlier first id": (Ranges([(10, 15)]), kline(candle(8, 14)), None, None, GAP),
    "the exchange tells a later last id": (Ranges([(9, 14)]), kline(candle(10, 16)), None, None, GAP),
    "an id inside is missing": (Ranges([(9, 11), (13, 15)]), None, None, None, GAP),
    "an id inside is missing, whatever a kline counts": (
        Ranges([(10, 11), (13, 14)]), kline(OURS, has_ids=False), None, None, GAP
    ),
    "nothing came after it": (Ranges([(9, 14)]), None, None, None, OPEN),
    "what came after it does not follow": (Ranges([(9, 14)]), None, None, neighbour(17, 20), GAP),
    "a kline without ids counts more": (
        ALONE, kline(candle(10, 14, trades=6), has_ids=False), None, None, GAP
    ),
    "a kline's ids contradict its own count": (Ranges([(9, 14)]), kline(candle(10, 14, trades=4)), None, None, OPEN),
    "a kline begins after the first id held": (Ranges([(10, 15)]), kline(candle(11, 14)), None, None, GAP),
    "a kline ends before the last id held": (Ranges([(9, 14)]), kline(candle(10, 13)), None, None, OPEN),
}  # fmt: skip


@pytest.mark.parametrize("evidence", PROVED.values(), ids=PROVED)
def test_a_window_is_closed_when_both_ends_are_proved_and_all_between_is_held(evidence):
    assert judge_held(OURS, evidence[1], evidence[0], *evidence[2:]) == CLOSED


@pytest.mark.parametrize("evidence", NOT_PROVED.values(), ids=NOT_PROVED)
def test_a_window_is_not_closed_when(evidence):
    held, told, before, after, state = evidence
    assert judge_held(OURS, told, held, before, after) == state


def test_the_very_first_trade_of_a_symbol_needs_no_proof_before_it():
    assert judge_held(candle(0, 3), None, Ranges([(0, 4)]), None, None) == CLOSED


@given(st.sets(st.integers(8, 16)), st.booleans(), st.booleans())
def test_no_window_is_closed_while_one_of_its_ids_is_missing(ids, told, has_ids):
    window = sorted(ids & set(range(10, 15)))
    if not window:
        return
    held = Ranges((each, each) for each in ids)
    ours = candle(window[0], window[-1], trades=len(window))
    state = judge_held(ours, kline(candle(10, 14), has_ids=has_ids) if told else None, held, None, None)
    if state == CLOSED:
        assert held.covers(window[0], window[-1])
        assert window == [10, 11, 12, 13, 14] or not told


# A window without any


@pytest.mark.parametrize(
    ("told", "after", "state"),
    [
        (None, neighbour(10, 12), QUIET),
        (None, neighbour(11, 12), GAP),
        (None, None, OPEN),
        (kline(None), None, QUIET),
        (kline(None), neighbour(99, 99), QUIET),
        (kline(candle(10, 11)), None, GAP),
        (kline(candle(10, 11)), neighbour(12, 13), GAP),
    ],
)
def test_an_empty_window_is_quiet_by_the_next_id_or_by_the_exchanges_word(told, after, state):
    assert judge_empty(told, neighbour(3, 9), after) == state


def test_a_quiet_window_has_the_close_before_it_which_only_the_kline_knows_over_a_hole():
    before = neighbour(3, 9, close=5)
    assert quiet_price(None, before, neighbour(10, 12)) == 5
    assert quiet_price(kline(None, close=7), before, neighbour(10, 12)) == 5
    assert quiet_price(kline(None, close=7), before, neighbour(20, 21)) == 7
    assert quiet_price(kline(None, close=7), before, None) == 7
    told_later_close = neighbour(3, 7, kline(candle(3, 9, close=8)), close=5)
    assert quiet_price(None, told_later_close, neighbour(10, 12)) == 8


# Compared with the exchange's


@pytest.mark.parametrize("column", COLUMNS)
def test_a_difference_in_any_column_is_named_with_both_values(column):
    theirs = msgspec.structs.replace(OURS, **{column: getattr(OURS, column) + 1})
    expected = [(column, getattr(OURS, column), getattr(theirs, column))]
    assert differences(OURS, None, kline(theirs)) == expected
    without_ids = [] if column.endswith("trade_id") else expected
    assert differences(OURS, None, kline(theirs, has_ids=False)) == without_ids


def test_equal_candles_differ_in_nothing():
    assert differences(OURS, None, kline(OURS)) == []
    assert differences(None, 5, kline(None, close=5)) == []


def test_a_quiet_window_is_compared_by_its_price_and_by_having_no_trades():
    assert differences(None, 5, kline(None, close=6)) == [("close", 5, 6)]
    assert differences(None, 5, kline(OURS)) == [("trades", 0, 5)]
    assert differences(OURS, None, kline(None, close=6)) == [("trades", 5, 0), ("close", 5, 6)]
