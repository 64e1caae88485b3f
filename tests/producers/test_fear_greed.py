"""The index as it is told: strings become numbers, a day is a key, and it is asked when a new value is due."""

import json

import pytest

from tapehouse.exchange.context.fear_greed import FearGreed as StandIn
from tapehouse.producers.fear_greed import UNTOLD, FearGreed, fear_greed_source, index_day, split
from tapehouse.producers.fetching import Answer, Validators
from tapehouse.settings import Settings
from tapehouse.tape.local import LocalTape

RECEIVED = 1_800_000_000_000_000


def day(**changed) -> bytes:
    told = {"value": "28", "value_classification": "Fear", "timestamp": "1640908800"}
    return json.dumps(told | changed).encode()


def body(*days: bytes, error=None) -> bytes:
    told = {"name": "Fear and Greed Index", "data": [json.loads(each) for each in days], "metadata": {"error": error}}
    return json.dumps(told).encode()


class Asking:
    """Answers in turn what it is given, and notes what it was asked for."""

    def __init__(self, *bodies: bytes | None) -> None:
        self._bodies = list(bodies)
        self.limits: list[str] = []

    async def __call__(self, address, *, params=None, secret_headers=None) -> Answer:
        assert (address, secret_headers) == ("http://index/", None)
        self.limits.append(params["limit"])
        told = self._bodies.pop(0)
        return Answer(told or b"", "application/json", address, Validators(), not_modified=told is None)


def index(interval=21_600.0) -> FearGreed:
    return FearGreed("http://index/", interval)


def test_a_value_is_a_number_of_its_utc_day():
    told = index_day(day(timestamp="1640995199"), RECEIVED)
    assert (told.kind, told.source, told.key) == ("sentiment", "fear_greed", "2021-12-31")
    assert told.fields == {"value": 28, "value_classification": "Fear"}
    assert told.observed_at == 1_640_995_199_000_000


@pytest.mark.parametrize(
    "changed",
    [
        {"value": "101"},
        {"value": "-1"},
        {"value": "a lot"},
        {"value": 28},
        {"value": "nan"},
        {"value": "2_8"},
        {"value": "028"},
        {"value": " 28"},
        {"value": "\uff12\uff18"},
        {"timestamp": "1_640_908_800"},
        {"timestamp": "0"},
        {"timestamp": "9999999999999999999"},
        {"timestamp": "04-09-2022"},
        {"value_classification": "x" * 101},
        {"value_classification": None},
    ],
)
def test_what_cannot_be_true_is_refused(changed):
    import msgspec

    with pytest.raises((ValueError, msgspec.MsgspecError)):
        index_day(day(**changed), RECEIVED)


def test_the_days_come_oldest_first():
    days = [day(timestamp=str(at)) for at in (1_640_995_200, 1_640_908_800)]
    assert [json.loads(each)["timestamp"] for each in split(body(*days))] == ["1640908800", "1640995200"]


async def test_the_whole_history_is_asked_for_until_it_came_and_then_the_latest_month():
    told = body(day(time_until_update="60"))
    ask, upstream = Asking(b"<html>", told, told, told), index()
    found = [await upstream.fetch(ask) for _ in range(4)]
    assert ask.limits == ["0", "0", "31", "31"]
    assert found[0].problem
    assert list(found[0].frames) == [b"<html>"]
    assert [len(each.frames) for each in found[1:]] == [1, 1, 1]


async def test_where_the_days_do_not_say_when_the_next_is_due_the_newest_is_asked_for_alone():
    told = body(day(time_until_update="3600"))
    ask, upstream = Asking(body(day()), told, None, told, body(day()), None), index()
    found = [await upstream.fetch(ask) for _ in range(6)]
    assert ask.limits == ["0", "1", "31", "1", "31", "1"]
    assert [each.next_in for each in found] == [0.0, 3630.0, 0.0, 3630.0, 0.0, UNTOLD]


async def test_a_new_value_of_the_stand_in_is_told_within_a_minute_of_its_time(tmp_path, time, networked):
    """Over the recorded shape: of many days none says when the next is due."""

    class Market:
        def now(self) -> int:
            return time.clock.now()

    upstream = StandIn(Market(), seed=1)
    networked.answer = lambda request: (200, {}, upstream.answer("", request.url.params, {}).body)
    source = fear_greed_source(Settings(_env_file=None, state=tmp_path), time.clock)
    came = {}
    for batch in await time.run(source, LocalTape(), 3.5 * 86_400):
        for frame, received_at in zip(batch.frames, batch.received_at, strict=True):
            came.setdefault(index_day(frame, received_at).key, received_at)
    late = [at % 86_400_000_000 / 1e6 for at in sorted(set(came.values()))]
    assert len(late) == 4
    assert max(late) <= 61.0
    assert len(networked.asked) < 4 * 8 * 2


async def test_what_the_answer_says_went_wrong_is_told():
    found = await index().fetch(Asking(body(error="Error in parsing date_format")))
    assert "date_format" in found.problem


@pytest.mark.parametrize(
    ("until", "next_in"),
    [("3600", 3630.0), ("10", 300.0), ("-40", 300.0), ("99999", 21_600.0), ("soon", 0.0), ("nan", 0.0), (None, 0.0)],
)
async def test_it_is_asked_again_when_the_next_value_is_due_within_bounds(until, next_in):
    found = await index().fetch(Asking(body(day(time_until_update=until) if until else day())))
    assert found.next_in == next_in


async def test_an_answer_without_a_day_is_no_failure():
    found = await index().fetch(Asking(body()))
    assert (list(found.frames), found.problem, found.next_in) == ([], "", 0.0)
