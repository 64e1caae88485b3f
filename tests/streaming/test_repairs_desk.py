"""The repair desk asks a real source, in the right order, no more at once than it may, and again after a while."""

import asyncio
import time
from itertools import pairwise

import pytest

from tapehouse.market.windows import DAY, SECOND
from tapehouse.ports import Batch, Hole
from tapehouse.streaming import repairs
from tapehouse.streaming.holes import REACH, NotOffered
from tapehouse.streaming.repairs import AT_ONCE, SURE_AFTER, TOGETHER, RepairDesk
from tapehouse.tape.local import LocalTape


class Upstream:
    """A source that answers when it is told to, with what it has of a hole."""

    name = "upstream"

    def __init__(self, *, has: set[int] | None = None, answers: bool = True) -> None:
        self.asked: list[Hole] = []
        self.asked_at: list[float] = []
        self.has = has
        self.under_way = 0
        self.most_at_once = 0
        self.may_answer = asyncio.Event()
        if answers:
            self.may_answer.set()

    async def run(self, tape) -> None:
        """Tell nothing by itself."""

    async def repair(self, hole, tape) -> bool:
        self.asked.append(hole)
        self.asked_at.append(time.monotonic())
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await self.may_answer.wait()
            ids = range(hole.first_trade_id, hole.last_trade_id + 1)
            found = [each for each in ids if self.has is None or each in self.has]
            await tape.append(Batch([str(each).encode() for each in found], [0] * len(found)))
            return len(found) == len(ids)
        finally:
            self.under_way -= 1


class Ids:
    """Which ids are missing; what is read from the tape closes holes, as the engine does."""

    def __init__(self, *holes: Hole) -> None:
        self.known = list(holes)
        self.tape = LocalTape()

    def holes(self) -> list[Hole]:
        came = {int(frame) for batch in self.tape.read(0) for frame in batch.frames}
        self.known = [hole for hole in self.known if not came & {hole.first_trade_id, hole.last_trade_id}]
        return self.known


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(repairs, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(repairs, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(repairs, "LONGEST_WAIT", 0.08)


def hole(number: int, symbol: str = "BTCUSDT", spans: int = SECOND) -> Hole:
    """A hole of one id, far enough from its neighbours to be asked for by itself."""
    first = number * 2 * TOGETHER
    return Hole(symbol, first, first, number * SECOND, number * SECOND + spans)


async def test_holes_are_asked_for_newest_first_and_only_so_many_at_once(working, eventually):
    ids, upstream = Ids(*map(hole, range(10))), Upstream(answers=False)
    async with working(RepairDesk(ids.holes, upstream, ids.tape)):
        await eventually(lambda: len(upstream.asked) == AT_ONCE)
        assert upstream.asked == [hole(9), hole(8), hole(7), hole(6)]
        upstream.may_answer.set()
        await eventually(lambda: ids.known == [])
    assert upstream.most_at_once == AT_ONCE
    assert [each.before for each in upstream.asked[AT_ONCE:]] == [hole(n).before for n in (5, 4, 3, 2, 1, 0)]
    assert len(upstream.asked) == 10


async def test_a_hole_that_stays_is_asked_for_again_after_ever_longer_waits(working, eventually):
    ids, upstream = Ids(hole(1)), Upstream(has=set())
    async with working(RepairDesk(ids.holes, upstream, ids.tape)):
        await eventually(lambda: len(upstream.asked) >= 5)
        upstream.has = None
        await eventually(lambda: ids.known == [])
    assert set(upstream.asked) == {hole(1)}
    waits = [later - earlier for earlier, later in pairwise(upstream.asked_at)]
    assert all(wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08, 0.08), strict=False))


async def test_what_the_exchange_was_asked_for_often_enough_and_does_not_have_is_known(working, eventually):
    ids, upstream, not_offered = Ids(hole(1), hole(2)), Upstream(has=set()), NotOffered()
    ids.known[1] = hole(2, spans=REACH + DAY)
    async with working(RepairDesk(ids.holes, upstream, ids.tape, not_offered)):
        await eventually(lambda: not_offered.outlook(ids.known).not_offered == 1)
        assert len(upstream.asked) >= SURE_AFTER
    far = ids.known[1]
    told = not_offered.outlook(ids.known)
    assert (told.left_to_backfill, told.backfill_from, told.backfill_to) == (1, far.after, far.before)


async def test_an_exchange_that_could_not_be_asked_has_refused_nothing(working, eventually):
    class Busy(Upstream):
        async def repair(self, hole, tape) -> None:
            await super().repair(hole, tape)

    ids, upstream, not_offered = Ids(hole(1)), Busy(has=set()), NotOffered()
    async with working(RepairDesk(ids.holes, upstream, ids.tape, not_offered)):
        await eventually(lambda: len(upstream.asked) > SURE_AFTER + 1)
    assert not_offered.outlook(ids.known).not_offered == 0


async def test_a_hole_under_way_is_not_asked_for_twice(working, eventually):
    ids, upstream = Ids(hole(1)), Upstream(answers=False)
    looks = 0

    def looked() -> list[Hole]:
        nonlocal looks
        looks += 1
        return ids.holes()

    async with working(RepairDesk(looked, upstream, ids.tape)):
        await eventually(lambda: looks > 20)
    assert upstream.asked == [hole(1)]


async def test_a_hole_that_closes_by_itself_before_the_second_look_is_never_asked_for(working, eventually):
    upstream, looks = Upstream(), []

    def seen_once() -> list[Hole]:
        looks.append(1)
        return [hole(1)] if len(looks) == 1 else []

    async with working(RepairDesk(seen_once, upstream, LocalTape())):
        await eventually(lambda: len(looks) > 10)
    assert upstream.asked == []


async def test_a_hole_that_spans_more_time_than_a_repair_reaches_is_left_to_the_back_fill(working, eventually):
    ids, upstream = Ids(hole(1, spans=REACH), hole(2, spans=REACH + DAY)), Upstream()
    async with working(RepairDesk(ids.holes, upstream, ids.tape)):
        await eventually(lambda: ids.known == [hole(2, spans=REACH + DAY)])
    assert upstream.asked == [hole(1, spans=REACH)]


async def test_neighbouring_holes_are_one_request(working, eventually):
    holes = [Hole("BTCUSDT", first, first, first * SECOND, (first + 2) * SECOND) for first in (10, 20, 30)]
    ids, upstream = Ids(*holes), Upstream()
    async with working(RepairDesk(ids.holes, upstream, ids.tape)):
        await eventually(lambda: ids.known == [])
    assert upstream.asked == [Hole("BTCUSDT", 10, 30, 10 * SECOND, 32 * SECOND)]


async def test_what_goes_wrong_in_a_repair_ends_the_desk_loudly():
    class BrokenError(Exception):
        """Something nobody foresaw."""

    class Broken(Upstream):
        async def repair(self, _hole, _tape) -> bool:
            raise BrokenError

    ids = Ids(hole(1))
    with pytest.raises(ExceptionGroup) as errors:
        await asyncio.wait_for(RepairDesk(ids.holes, Broken(), ids.tape).run(), 20)
    assert errors.group_contains(BrokenError)
