"""The polite loop: what is asked and when, what reaches the tape, what is remembered; on a clock of the test's own."""

import itertools
import json
from random import Random

import httpx
import pytest
from prometheus_client import REGISTRY

from tapehouse.producers.fetching import GoneError
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Found
from tapehouse.tape.local import LocalTape

START = 1_700_006_400  # midnight, UTC
HOUR = 3600.0
DAY = 24 * HOUR


class Page:
    """An upstream with one address, whose whole answer is one frame."""

    source, shape = "coingecko", "market_data"

    def __init__(self, name="page", interval=60.0, fails=None, can_end=True) -> None:
        self.name, self.interval, self._fails, self.can_end = name, interval, fails, can_end

    async def fetch(self, ask) -> Found:
        answer = await ask(f"http://{self.name}/")
        if self._fails:
            raise self._fails
        return Found() if answer.not_modified else Found([answer.body])


@pytest.fixture
def start(tmp_path, time, world):
    """Make the source of some upstreams: a restart when it is called again."""

    def make(*upstreams, **options) -> PolledSource:
        return PolledSource(
            "page",
            upstreams or (Page(),),
            tmp_path,
            clock=time.clock,
            transport=world.transport(),
            random=Random(1),
            **options,
        )

    return make


@pytest.fixture
def tape() -> LocalTape:
    return LocalTape()


def state(source) -> str:
    return source.status().connections[0].state


async def test_it_asks_at_its_interval_and_a_little_later_never_sooner(time, world, start, tape):
    await time.run(start(), tape, HOUR)
    waits = [later - earlier for earlier, later in itertools.pairwise(world.times)]
    assert 54 <= len(world.asked) <= 60
    assert all(60.0 <= wait <= 66.0 for wait in waits)
    assert len(set(waits)) > 10


async def test_what_it_finds_goes_to_the_tape_with_its_source_and_time(time, start, tape):
    (batch,) = await time.run(start(), tape, 1.0)
    assert (batch.frames, batch.received_at, batch.shape, batch.symbol) == (
        [b"{}"], [START * 1_000_000], "market_data", "coingecko",
    )  # fmt: skip


async def test_what_it_holds_is_asked_for_with_its_validators_and_not_told_twice(time, world, start, tape):
    def answer(request):
        return (304, {}, b"") if request.headers.get("If-None-Match") == "v1" else (200, {"ETag": "v1"}, b"{}")

    world.answer = answer
    source = start()
    batches = await time.run(source, tape, 10 * 60.0)
    assert len(batches) == 1
    assert len(world.asked) > 8
    assert source.status().connected


async def test_after_a_restart_it_asks_for_everything_again_for_what_came_may_not_be_stored(time, world, start, tape):
    world.answer = lambda _request: (200, {"ETag": "v1"}, b"{}")
    await time.run(start(), tape, 1.0)
    await time.run(start(), tape, 61.0)
    assert [request.headers.get("If-None-Match") for _, request in world.asked] == [None, None]


async def test_a_process_that_is_started_again_and_again_asks_no_more_than_once_a_minute(time, world, start, tape):
    for _ in range(100):
        await time.run(start(Page(interval=HOUR)), tape, 1.0)
    assert len(world.asked) == 2


async def test_a_failing_upstream_is_asked_again_soon_and_then_only_now_and_then(time, world, start, tape):
    world.answer = lambda _request: (500, {}, b"")
    source = start()
    await time.run(source, tape, 10 * HOUR)
    waits = [later - earlier for earlier, later in itertools.pairwise(world.times)]
    assert all(2.0 <= wait <= 62.0 for wait in waits[:4])
    assert all(150.0 <= wait <= 300.0 for wait in waits[5:])
    assert source.status().state == state(source) == "circuit_open"
    assert "HTTP 500" in source.status().last_error


async def test_a_circuit_closes_with_the_first_good_answer(time, world, start, tape):
    world.answer = lambda _request: (500, {}, b"") if time.now < START + HOUR else (200, {}, b"{}")
    source = start()
    await time.run(source, tape, 2 * HOUR)
    assert source.status().connected
    assert source.status().connections[0].failures == 0
    assert world.times[-1] - world.times[-2] <= 66.0


async def test_a_refusal_that_only_a_person_can_mend_is_not_repeated_for_half_an_hour(time, world, start, tape):
    world.answer = lambda _request: (401, {}, b"")
    source = start()
    await time.run(source, tape, 10 * HOUR)
    assert 10 <= len(world.asked) <= 20
    assert state(source) == "circuit_open"


async def test_retry_after_is_obeyed_over_restarts(time, world, start, tape):
    world.answer = lambda _request: (429, {"Retry-After": "1000"}, b"")
    source = start(per_minute=10)
    await time.run(source, tape, 10.0)
    assert source.status().state == "limited"
    world.answer = lambda _request: (200, {}, b"{}")
    for _ in range(20):
        await time.run(start(per_minute=10), tape, 70.0)
    assert world.times[0] == 0.0
    assert 1000.0 <= world.times[1] <= 1200.0


async def test_one_that_always_finds_it_too_much_is_asked_ever_less_and_its_circuit_opens(time, world, start, tape):
    world.answer = lambda _request: (429, {"Retry-After": "1"}, b"")
    source = start(Page(interval=300.0))
    await time.run(source, tape, 1500.0)
    assert state(source) == "limited"
    await time.run(source := start(Page(interval=300.0)), tape, DAY - 1500.0)
    waits = [later - earlier for earlier, later in itertools.pairwise(world.times)]
    assert [wait >= least for wait, least in zip(waits, (300, 600, 1200, 2400), strict=False)] == [True] * 4
    assert all(3600.0 <= wait <= 3960.0 for wait in waits[4:])
    assert state(source) == source.status().state == "circuit_open"
    world.answer = lambda _request: (200, {}, b"{}")
    await time.run(source := start(Page(interval=300.0)), tape, 2 * HOUR)
    assert (state(source), source.status().connections[0].failures) == ("open", 0)


async def test_the_longest_wait_that_can_be_asked_for_is_kept_over_a_restart(time, world, start, tape):
    world.answer = lambda _request: (429, {"Retry-After": "99999999"}, b"")
    await time.run(start(), tape, 1.0)
    for _ in range(30):
        await time.run(start(), tape, 0.75 * HOUR)
    assert len(world.asked) == 1


async def test_an_upstream_that_found_it_too_much_is_asked_half_as_much_for_an_hour(time, world, start, tape):
    answers = itertools.chain([(429, {"Retry-After": "1"}, b"")], itertools.repeat((200, {}, b"{}")))
    world.answer = lambda _request: next(answers)
    await time.run(start(Page(interval=1.0), per_minute=10), tape, 2 * HOUR)
    assert per_minute(world.times, 10 * 60.0) == 5
    assert per_minute(world.times, 100 * 60.0) == 10


def per_minute(times: list[float], at: float) -> int:
    return max(sum(first <= each < first + 59.9 for each in times) for first in times if at <= first < at + 300)


async def test_a_days_questions_are_spread_over_the_day_and_counted_over_restarts(time, world, start, tape):
    for _ in range(24):
        await time.run(start(Page(interval=10.0), per_day=100), tape, HOUR)
    assert 90 <= len(world.asked) <= 100
    assert max(later - earlier for earlier, later in itertools.pairwise(world.times)) < 0.5 * HOUR


async def test_gone_ends_it_for_good_and_the_others_go_on(time, world, start, tape):
    world.answer = lambda request: (410, {}, b"") if request.url.host == "old" else (200, {}, b"{}")
    await time.run(start(Page("old"), Page("new")), tape, HOUR, loops=1)
    source = start(Page("old"), Page("new"))
    await time.run(source, tape, HOUR)
    assert sum(request.url.host == "old" for _, request in world.asked) == 1
    assert source.status().connected
    assert "gone" in source.status().notes[0]


async def test_only_what_can_end_is_ended_by_being_gone(time, world, start, tape):
    world.answer = lambda _request: (410, {}, b"") if time.now < START + HOUR else (200, {}, b"{}")
    await time.run(start(), tape, 1.0)  # what could end is remembered as ended
    source = start(Page(can_end=False))
    await time.run(source, tape, 5 * HOUR)
    assert (state(source), source.status().notes) == ("open", ())


@pytest.mark.parametrize(
    ("there", "problem"), [((200, {}, b"<html>"), "not JSON"), ((410, {}, b""), "gone"), (httpx.ConnectError(""), "")]
)
async def test_where_it_moved_is_not_remembered_when_nothing_readable_is_there(
    time, world, start, tape, there, problem
):
    """Captive portals send everybody to a page of theirs, and say that it is for good."""

    class Json(Page):
        async def fetch(self, ask):
            answer = await ask("http://page/")
            return Found([answer.body], problem="" if answer.body == b"{}" else "not JSON")

    def answer(request):
        if time.now >= START + HOUR:
            return (200, {}, b"{}")
        return (301, {"Location": "http://portal/"}, b"") if request.url.host == "page" else there

    world.answer = answer
    source = start(Json(can_end=False))
    await time.run(source, tape, HOUR)
    assert problem in source.status().last_error
    hosts = [request.url.host for _, request in world.asked]
    assert hosts.count("page") == hosts.count("portal") >= 2
    asked = len(hosts)
    await time.run(source := start(Json(can_end=False)), tape, 2 * HOUR)
    assert state(source) == "open"
    assert {request.url.host for _, request in world.asked[asked:]} == {"page"}


async def test_where_it_moved_is_left_when_it_fails_there_and_it_ends_only_if_it_is_gone_from_there_too(
    time, world, start, tape
):
    def answer(request):
        if request.url.host == "page":
            return 301, {"Location": "http://elsewhere/"}, b""
        return (200, {}, b"{}") if time.now < START + HOUR else (410, {}, b"")

    world.answer = answer
    source = start()
    await time.run(source, tape, 2 * HOUR, loops=1)
    hosts = [request.url.host for _, request in world.asked]
    assert hosts[-3:] == ["elsewhere", "page", "elsewhere"]
    assert hosts.count("page") == 2
    assert state(source) == "ended"


async def test_where_it_moved_for_good_is_asked_from_then_on_and_left_when_that_fails(time, world, start, tape):
    def answer(request):
        if request.url.host == "page":
            return 301, {"Location": "http://elsewhere/"}, b""
        return (200, {}, b"{}") if time.now < START + HOUR else (404, {}, b"")

    world.answer = answer
    await time.run(start(), tape, 0.5 * HOUR)
    await time.run(start(), tape, 0.4 * HOUR)
    hosts = [request.url.host for _, request in world.asked]
    assert hosts.count("page") == 1
    await time.run(start(), tape, 5 * HOUR)
    assert world.asked[-2][1].url.host == "page"


async def test_one_that_is_down_slows_no_other(time, world, start, tape):
    world.answer = lambda request: httpx.ConnectError("no") if request.url.host == "down" else (200, {}, b"{}")
    source = start(Page("down"), Page("up"))
    await time.run(source, tape, HOUR, loops=2)
    assert 54 <= sum(request.url.host == "up" for _, request in world.asked) <= 61
    assert [poll.state for poll in source.status().connections] == ["circuit_open", "open"]
    assert source.status().connected


@pytest.mark.parametrize("failure", [ValueError("a fault in a parser"), RecursionError(), GoneError("told so")])
async def test_an_answer_that_breaks_its_reader_ends_nothing(time, start, tape, failure):
    source = start(Page("broken", fails=failure), Page("good"))
    batches = await time.run(source, tape, HOUR, loops=1 if isinstance(failure, GoneError) else 2)
    assert len(batches) > 50


async def test_an_answer_that_cannot_be_cut_is_delivered_whole_and_counts_as_a_failure(time, world, start, tape):
    class Html(Page):
        async def fetch(self, ask):
            answer = await ask("http://page/")
            return Found([answer.body], problem="not JSON")

    world.answer = lambda _request: (200, {"ETag": "v1"}, b"<html>")
    source = start(Html())
    batches = await time.run(source, tape, HOUR)
    assert {frame for batch in batches for frame in batch.frames} == {b"<html>"}
    assert source.status().last_error == "not JSON"
    assert not source.status().connected
    assert "If-None-Match" not in world.asked[-1][1].headers


async def test_an_answer_that_breaks_its_reader_is_delivered_whole(time, world, start, tape):
    world.answer = lambda _request: (200, {}, b"a strange answer")
    (batch,) = await time.run(start(Page(fails=ValueError("a fault in a parser"))), tape, 1.0)
    assert batch.frames == [b"a strange answer"]


@pytest.mark.parametrize(("size", "kept"), [(2_000_000, 2), (300_000, 2 * 3), (6_000, None)])
async def test_unreadable_answers_that_differ_do_not_fill_the_lake(time, world, start, tape, size, kept):
    class Html(Page):
        async def fetch(self, ask):
            answer = await ask("http://page/")
            return Found([answer.body], problem="not JSON")

    def not_kept() -> float:
        return REGISTRY.get_sample_value("tapehouse_answers_not_kept_total", {"source": "coingecko"}) or 0.0

    before = not_kept()
    world.answer = lambda _request: (200, {}, b"%06d" % len(world.asked) * (size // 6))
    batches = []
    for day in range(2):
        time.now = START + day * DAY
        batches += await time.run(source := start(Html()), tape, 2 * HOUR)
    told = sum(len(batch.frames) for batch in batches)
    assert len(world.asked) == told + not_kept() - before
    assert told == (kept or len(world.asked))
    assert ("not kept" in source.status().last_error) == (kept is not None)


async def test_what_needs_not_be_asked_is_neither_fresh_nor_stale(time, world, start, tape):
    class Nothing(Page):
        async def fetch(self, _ask):
            return Found()

    world.answer = lambda _request: (500, {}, b"")
    source = start(Nothing("nothing"), Page("page"))
    await time.run(source, tape, HOUR, loops=2)
    assert [poll.state for poll in source.status().connections] == ["idle", "circuit_open"]
    assert (source.status().state, source.status().stale) == ("circuit_open", 1)


async def test_what_it_told_goes_stale_and_says_so(time, world, start, tape):
    source = start()
    assert source.status().state == "connecting"
    world.answer = lambda _request: (200, {}, b"{}") if time.now < START + 300 else (500, {}, b"")
    await time.run(source, tape, 400.0)
    assert source.status().connected
    time.now += HOUR
    assert not source.status().connected


@pytest.mark.parametrize("record", [b"", b"no json", b"[]", b'{"polls": 3}', b"\xff"])
async def test_a_record_that_cannot_be_read_is_begun_anew(time, start, tape, tmp_path, record):
    (tmp_path / "page.json").write_bytes(record)
    assert len(await time.run(start(), tape, 1.0)) == 1
    assert json.loads((tmp_path / "page.json").read_bytes())["spent"]["today"] == 1


async def test_what_is_no_longer_configured_is_forgotten(time, start, tape, tmp_path):
    await time.run(start(Page("a"), Page("b")), tape, 1.0, loops=2)
    await time.run(start(Page("b")), tape, 100.0)
    assert list(json.loads((tmp_path / "page.json").read_bytes())["polls"]) == ["b"]


async def test_a_clock_that_was_set_back_a_year_does_not_silence_a_source(time, world, start, tape):
    await time.run(start(per_minute=10, per_day=1000), tape, HOUR)
    time.now -= 365 * DAY
    before = len(world.asked)
    await time.run(start(per_minute=10, per_day=1000), tape, HOUR)
    assert len(world.asked) - before > 50


FEEDS = [Page(name) for name in ("a", "b", "c", "d", "e")]


async def test_addresses_that_went_stale_beside_a_fresh_one_are_named_in_a_note_the_first_few(time, world, start, tape):
    world.answer = lambda request: (200, {}, b"{}") if request.url.host == "e" else (500, {}, b"")
    source = start(*FEEDS)
    await time.run(source, tape, HOUR, loops=len(FEEDS))
    status = source.status()
    assert (status.state, status.stale) == ("connected", 4)
    assert status.notes == ("stale, without a good answer for too long: a, b, c and 1 more",)


async def test_of_many_addresses_that_are_gone_the_first_few_are_named(time, world, start, tape):
    world.answer = lambda request: (200, {}, b"{}") if request.url.host == "e" else (410, {}, b"")
    source = start(*FEEDS)
    await time.run(source, tape, HOUR, loops=1)
    *named, counted = source.status().notes
    assert [note.partition(":")[0] for note in named] == ["a", "b", "c"]
    assert all("gone" in note for note in named)
    assert counted == "and 1 more that ended"
    assert source.status().connected


async def test_a_source_that_is_fresh_or_waits_for_its_first_answer_has_nothing_stale(time, start, tape):
    source = start(*FEEDS)
    assert (source.status().stale, source.status().notes) == (0, ())
    await time.run(source, tape, HOUR, loops=len(FEEDS))
    assert (source.status().stale, source.status().notes) == (0, ())


async def test_metrics_count_the_stale_addresses_of_a_source_as_time_passes(time, world, start, tape):
    def scraped() -> float:
        return REGISTRY.get_sample_value("tapehouse_stale_addresses", {"source": "page"})

    world.answer = lambda request: (
        (200, {}, b"{}") if request.url.host == "e" or time.now < START + 60 else (500, {}, b"")
    )
    source = start(*FEEDS)
    await time.run(source, tape, 30.0, loops=len(FEEDS))
    assert scraped() == 0.0
    time.now += HOUR
    assert scraped() == 5.0
    await time.run(start(*FEEDS), tape, HOUR, loops=len(FEEDS))
    assert scraped() == 4.0
