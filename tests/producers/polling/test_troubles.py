"""Addresses that are gone, moved, cannot be read or went stale: what reaches the tape, and what is said of them."""

import httpx
import pytest
from prometheus_client import REGISTRY

from tapehouse.producers.fetching import GoneError
from tapehouse.producers.polling import Found

START = 1_700_006_400  # midnight, UTC
HOUR = 3600.0
DAY = 24 * HOUR


async def test_gone_ends_it_for_good_and_the_others_go_on(time, world, start, tape, upstream):
    world.answer = lambda request: (410, {}, b"") if request.url.host == "old" else (200, {}, b"{}")
    await time.run(start(upstream("old"), upstream("new")), tape, HOUR, loops=1)
    source = start(upstream("old"), upstream("new"))
    await time.run(source, tape, HOUR)
    assert sum(request.url.host == "old" for _, request in world.asked) == 1
    assert source.status().connected
    assert "gone" in source.status().notes[0]


async def test_only_what_can_end_is_ended_by_being_gone(time, world, start, tape, upstream, state):
    world.answer = lambda _request: (410, {}, b"") if time.now < START + HOUR else (200, {}, b"{}")
    await time.run(start(), tape, 1.0)  # what could end is remembered as ended
    source = start(upstream(can_end=False))
    await time.run(source, tape, 5 * HOUR)
    assert (state(source), source.status().notes) == ("open", ())


@pytest.mark.parametrize(
    ("there", "problem"), [((200, {}, b"<html>"), "not JSON"), ((410, {}, b""), "gone"), (httpx.ConnectError(""), "")]
)
async def test_where_it_moved_is_not_remembered_when_nothing_readable_is_there(
    time, world, start, tape, there, problem, upstream, state
):
    """Captive portals send everybody to a page of theirs, and say that it is for good."""

    class Json(upstream):
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
    time, world, start, tape, state
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


async def test_one_that_is_down_slows_no_other(time, world, start, tape, upstream):
    world.answer = lambda request: httpx.ConnectError("no") if request.url.host == "down" else (200, {}, b"{}")
    source = start(upstream("down"), upstream("up"))
    await time.run(source, tape, HOUR, loops=2)
    assert 54 <= sum(request.url.host == "up" for _, request in world.asked) <= 61
    assert [poll.state for poll in source.status().connections] == ["circuit_open", "open"]
    assert source.status().connected


@pytest.mark.parametrize("failure", [ValueError("a fault in a parser"), RecursionError(), GoneError("told so")])
async def test_an_answer_that_breaks_its_reader_ends_nothing(time, start, tape, failure, upstream):
    source = start(upstream("broken", fails=failure), upstream("good"))
    batches = await time.run(source, tape, HOUR, loops=1 if isinstance(failure, GoneError) else 2)
    assert len(batches) > 50


async def test_an_answer_that_cannot_be_cut_is_delivered_whole_and_counts_as_a_failure(
    time, world, start, tape, upstream
):
    class Html(upstream):
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


async def test_an_answer_that_breaks_its_reader_is_delivered_whole(time, world, start, tape, upstream):
    world.answer = lambda _request: (200, {}, b"a strange answer")
    (batch,) = await time.run(start(upstream(fails=ValueError("a fault in a parser"))), tape, 1.0)
    assert batch.frames == [b"a strange answer"]


@pytest.mark.parametrize(("size", "kept"), [(2_000_000, 2), (300_000, 2 * 3), (6_000, None)])
async def test_unreadable_answers_that_differ_do_not_fill_the_lake(time, world, start, tape, size, kept, upstream):
    class Html(upstream):
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


async def test_what_needs_not_be_asked_is_neither_fresh_nor_stale(time, world, start, tape, upstream):
    class Nothing(upstream):
        async def fetch(self, _ask):
            return Found()

    world.answer = lambda _request: (500, {}, b"")
    source = start(Nothing("nothing"), upstream("page"))
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


@pytest.fixture
def feeds(upstream):
    return [upstream(name) for name in ("a", "b", "c", "d", "e")]


async def test_addresses_that_went_stale_beside_a_fresh_one_are_named_in_a_note_the_first_few(
    time, world, start, tape, feeds
):
    world.answer = lambda request: (200, {}, b"{}") if request.url.host == "e" else (500, {}, b"")
    source = start(*feeds)
    await time.run(source, tape, HOUR, loops=len(feeds))
    status = source.status()
    assert (status.state, status.stale) == ("connected", 4)
    assert status.notes == ("stale, without a good answer for too long: a, b, c and 1 more",)


async def test_of_many_addresses_that_are_gone_the_first_few_are_named(time, world, start, tape, feeds):
    world.answer = lambda request: (200, {}, b"{}") if request.url.host == "e" else (410, {}, b"")
    source = start(*feeds)
    await time.run(source, tape, HOUR, loops=1)
    *named, counted = source.status().notes
    assert [note.partition(":")[0] for note in named] == ["a", "b", "c"]
    assert all("gone" in note for note in named)
    assert counted == "and 1 more that ended"
    assert source.status().connected


async def test_a_source_that_is_fresh_or_waits_for_its_first_answer_has_nothing_stale(time, start, tape, feeds):
    source = start(*feeds)
    assert (source.status().stale, source.status().notes) == (0, ())
    await time.run(source, tape, HOUR, loops=len(feeds))
    assert (source.status().stale, source.status().notes) == (0, ())


async def test_metrics_count_the_stale_addresses_of_a_source_as_time_passes(time, world, start, tape, feeds):
    def scraped() -> float:
        return REGISTRY.get_sample_value("tapehouse_stale_addresses", {"source": "page"})

    world.answer = lambda request: (
        (200, {}, b"{}") if request.url.host == "e" or time.now < START + 60 else (500, {}, b"")
    )
    source = start(*feeds)
    await time.run(source, tape, 30.0, loops=len(feeds))
    assert scraped() == 0.0
    time.now += HOUR
    assert scraped() == 5.0
    await time.run(start(*feeds), tape, HOUR, loops=len(feeds))
    assert scraped() == 4.0
