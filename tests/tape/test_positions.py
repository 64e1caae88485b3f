"""A producer's position: each id is taken once, what is missing is known, and a start knows all of it again."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from tapehouse.market.coverage import JUMP_ALLOWANCE
from tapehouse.ports import Hole, Routed
from tapehouse.tape import positions as module
from tapehouse.tape.positions import Positions, position_key, read_positions

START = 1_723_161_254_000_000


def at(ident: int) -> int:
    return START + ident * 1000


def trade(first: int, last: int | None = None, symbol: str = "BTCUSDT") -> Routed:
    ids = (first, first if last is None else last)
    return Routed("crypto-prices", b"%d" % first, at(first), symbol, ids, at(first))


def again(positions: Positions) -> Positions:
    """What the next start reads back."""
    return read_positions({position_key(symbol): position.to_json() for symbol, position in positions.items()})


def take(positions: Positions, *ids: int) -> list[int]:
    return [ident for ident in ids if positions.take(trade(ident)) is not None]


@given(st.lists(st.integers(1, 40), min_size=1), st.lists(st.integers(1, 40)))
def test_each_id_is_taken_once_whatever_the_order_and_over_a_start(before, after):
    positions = Positions()
    taken = take(positions, *before)
    taken += take(again(positions), *after)
    assert sorted(set(before) | set(after)) == sorted(taken)


@given(st.lists(st.integers(1, 40), min_size=1))
def test_what_is_missing_is_known_the_same_after_a_start(ids):
    positions = Positions()
    take(positions, *ids)
    assert positions.holes() == again(positions).holes()
    held = set(ids)
    missing = {n for hole in positions.holes() for n in range(hole.first_trade_id, hole.last_trade_id + 1)}
    assert set(range(min(held), max(held))) - held == missing


def test_a_hole_lies_between_the_times_of_its_neighbours_and_goes_when_it_is_filled():
    positions = Positions()
    take(positions, 1, 2, 6)
    assert [Hole("BTCUSDT", 3, 5, at(2), at(6))] == positions.holes()
    take(positions, 4)
    assert [Hole("BTCUSDT", 3, 3, at(2), at(4)), Hole("BTCUSDT", 5, 5, at(4), at(6))] == positions.holes()
    assert positions.take(trade(3, 5)) is not None
    assert positions.holes() == []
    assert positions.take(trade(3, 5)) is None


def test_the_first_id_after_a_start_opens_the_hole_of_the_time_between():
    positions = Positions()
    take(positions, 1, 2)
    positions = again(positions)
    take(positions, 9)
    assert [Hole("BTCUSDT", 3, 8, at(2), at(9))] == positions.holes()


def test_a_closed_kline_tells_of_trades_that_never_came():
    positions = Positions()
    take(positions, 1, 2)
    told = Routed("klines", b"k", at(3), "BTCUSDT", traded_at=at(60), told_to=5)
    assert positions.take(told) is told
    assert [Hole("BTCUSDT", 3, 5, at(2), at(60))] == positions.holes()


def test_an_id_that_cannot_follow_is_refused_with_the_reason_and_opens_no_hole():
    positions = Positions()
    take(positions, 1)
    absurd = trade(JUMP_ALLOWANCE * 3)
    refused = positions.take(msgspec.structs.replace(absurd, traded_at=at(2)))
    assert "jumps from 1" in refused.reason
    assert positions.holes() == []


def test_what_is_refused_or_of_no_symbol_is_passed_on_and_changes_nothing():
    positions = Positions()
    refused = Routed("crypto-prices", b"x", 1, reason="unreadable")
    assert positions.take(refused) is refused
    assert positions == {}


def test_only_so_many_ranges_are_remembered_and_the_oldest_hole_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "MOST_RANGES", 3)
    positions = Positions()
    take(positions, *range(1, 20, 2))
    stored = positions["BTCUSDT"].to_json()
    assert len(msgspec.json.decode(stored)["held"]) == 3
    assert [(hole.first_trade_id, hole.last_trade_id) for hole in positions.holes()] == [(16, 16), (18, 18)]


def test_only_so_many_symbols_are_followed(monkeypatch):
    monkeypatch.setattr(module, "MOST_SYMBOLS", 1)
    positions = Positions()
    assert positions.take(trade(1)) is not None
    assert "more symbols" in positions.take(trade(1, symbol="ETHUSDT")).reason
    assert list(positions) == ["BTCUSDT"]


@pytest.mark.parametrize("value", [b"", b"null", b"[]", b"\xff", b'{"held":[[2,1]]}', b'{"held":[["a",1,1,1]]}'])
def test_a_position_that_cannot_be_read_is_none(value):
    assert read_positions({position_key("BTCUSDT"): value, b"owner:x": b"y"}) == {}
