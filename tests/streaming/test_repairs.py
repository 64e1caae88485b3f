"""Holes close to one another are asked for together, and never more than one answer can bring."""

from hypothesis import given, strategies as st

from tapehouse.ports import Hole
from tapehouse.streaming.holes import REACH
from tapehouse.streaming.repairs import TOGETHER, together

SECOND = 1_000_000


@given(st.sets(st.integers(0, 5000), max_size=40), st.sampled_from(["BTCUSDT", "ETHUSDT"]))
def test_every_missing_id_stays_in_exactly_one_hole(missing, symbol):
    holes = [Hole(symbol, number, number, number * SECOND, (number + 2) * SECOND) for number in missing]
    joined = together([*holes, Hole("XRPUSDT", 1, 1, 0, SECOND)])
    ours = [hole for hole in joined if hole.symbol == symbol]
    assert all(sum(hole.first_trade_id <= n <= hole.last_trade_id for hole in ours) == 1 for n in missing)
    assert all(hole.last_trade_id - hole.first_trade_id < TOGETHER for hole in ours)
    assert all(hole.after <= hole.first_trade_id * SECOND < hole.before for hole in ours)
    assert [hole for hole in joined if hole.symbol == "XRPUSDT"] == [Hole("XRPUSDT", 1, 1, 0, SECOND)]


def test_holes_that_lie_further_apart_in_time_than_a_repair_reaches_stay_apart():
    holes = [Hole("BTCUSDT", 1, 1, 0, SECOND), Hole("BTCUSDT", 3, 3, REACH, REACH + SECOND)]
    assert together(holes) == holes
