"""Holes: opened once, narrowed and closed, each between the times its trades lie between."""

import prometheus_client
import pytest

from tapehouse.market.windows import DAY
from tapehouse.ports import Hole
from tapehouse.streaming.holes import Holes, Lasting, NotOffered, Outlook

BETWEEN = (100, 900)


@pytest.fixture
def counted():
    """Give how far the counters of a symbol have moved since the test began: (opened, repaired, missing now)."""

    def value(name: str) -> float:
        return prometheus_client.REGISTRY.get_sample_value(name, {"symbol": "HOLEUSDT"}) or 0.0

    names = ("tapehouse_holes_opened_total", "tapehouse_holes_repaired_total")
    before = [value(name) for name in names]
    return lambda: (*(value(n) - b for n, b in zip(names, before, strict=True)), value("tapehouse_missing_trades"))


def test_a_hole_lies_between_the_times_of_its_neighbours_where_they_are_known(counted):
    holes, times = Holes(), {4: 400, 9: 500}
    opened = holes.update("HOLEUSDT", [(5, 8)], times.get, BETWEEN)
    assert opened == holes.of("HOLEUSDT") == holes.all() == [Hole("HOLEUSDT", 5, 8, 400, 500)]
    assert counted() == (1, 0, 4)


def test_a_hole_whose_neighbours_are_unknown_lies_between_the_bounds_given():
    assert Holes().update("HOLEUSDT", [(5, 8)], {}.get, BETWEEN) == [Hole("HOLEUSDT", 5, 8, *BETWEEN)]


def test_a_known_hole_is_not_opened_again_and_keeps_its_times(counted):
    holes = Holes()
    holes.update("HOLEUSDT", [(5, 8)], {4: 400, 9: 500}.get, BETWEEN)
    assert holes.update("HOLEUSDT", [(5, 8)], {}.get, BETWEEN) == []
    assert holes.of("HOLEUSDT") == [Hole("HOLEUSDT", 5, 8, 400, 500)]
    assert counted() == (1, 0, 4)


def test_the_parts_of_a_hole_inherit_its_times_on_the_sides_that_are_not_known(counted):
    holes = Holes()
    holes.update("HOLEUSDT", [(5, 20)], {4: 400, 21: 500}.get, BETWEEN)
    opened = holes.update("HOLEUSDT", [(5, 9), (12, 20)], {10: 430, 11: 440}.get, BETWEEN)
    assert opened == []
    assert holes.of("HOLEUSDT") == [Hole("HOLEUSDT", 5, 9, 400, 430), Hole("HOLEUSDT", 12, 20, 440, 500)]
    assert counted() == (1, 0, 14)


def test_a_closed_hole_is_gone_and_counted_and_a_narrowed_one_is_not_counted(counted):
    holes = Holes()
    holes.update("HOLEUSDT", [(5, 8), (11, 12)], {}.get, BETWEEN)
    holes.update("HOLEUSDT", [(6, 7), (11, 12)], {}.get, BETWEEN)
    assert counted() == (2, 0, 4)
    assert holes.update("HOLEUSDT", [(11, 12), (20, 20)], {}.get, BETWEEN) == [Hole("HOLEUSDT", 20, 20, *BETWEEN)]
    assert counted() == (3, 1, 3)
    holes.update("HOLEUSDT", [], {}.get, BETWEEN)
    assert holes.of("HOLEUSDT") == holes.all() == []
    assert counted() == (3, 3, 0)


def test_the_holes_of_each_symbol_are_its_own():
    holes = Holes()
    holes.update("HOLEUSDT", [(1, 2)], {}.get, BETWEEN)
    holes.update("OTHERUSDT", [(1, 2)], {}.get, BETWEEN)
    holes.update("HOLEUSDT", [], {}.get, BETWEEN)
    assert [hole.symbol for hole in holes.all()] == ["OTHERUSDT"]
    assert holes.of("NOBODY") == []


def test_trades_that_will_not_come_by_themselves_are_counted_by_what_would_bring_them():
    at = 100 * DAY
    being_fetched, refused = Hole("HOLEUSDT", 5, 5, at, at), Hole("HOLEUSDT", 8, 9, at, at)
    far = [Hole("HOLEUSDT", 1, 3, at - 8 * DAY, at), Hole("HOLEUSDT", 20, 20, at, at + 9 * DAY)]
    not_offered = NotOffered()
    not_offered.note(refused)
    not_offered.note(far[1])
    expected = Outlook(not_offered=2, left_to_backfill=4, backfill_from=at - 8 * DAY, backfill_to=at + 9 * DAY)
    assert not_offered.outlook([being_fetched, refused, *far]) == expected
    assert not_offered.outlook([being_fetched]) == not_offered.outlook([]) == Outlook(0, 0, 0, 0)


def test_a_hole_lasts_that_is_seen_in_every_look_for_so_long():
    now = iter([0.0, 5.0, 10.0, 11.0, 12.0, 22.0])
    lasting = Lasting(10.0, lambda: next(now))
    old, young = Hole("HOLEUSDT", 5, 8, 400, 500), Hole("HOLEUSDT", 20, 20, 600, 700)
    assert lasting.of([old]) == []
    assert lasting.of([old, young]) == []
    narrowed = Hole("HOLEUSDT", 7, 8, 400, 500)
    assert lasting.of([narrowed, young]) == [narrowed]
    assert lasting.of([]) == [], "a look without it, and it is seen as for the first time"
    assert lasting.of([narrowed]) == []
    assert lasting.of([narrowed]) == [narrowed]
