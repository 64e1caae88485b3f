"""The polite loop: what is asked and when, over failures, refusals and restarts; what is remembered."""

import itertools
import json

import pytest

START = 1_700_006_400  # midnight, UTC
HOUR = 3600.0
DAY = 24 * HOUR


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


async def test_a_process_that_is_started_again_and_again_asks_no_more_than_once_a_minute(
    time, world, start, tape, upstream
):
    for _ in range(100):
        await time.run(start(upstream(interval=HOUR)), tape, 1.0)
    assert len(world.asked) == 2


async def test_a_failing_upstream_is_asked_again_soon_and_then_only_now_and_then(time, world, start, tape, state):
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


async def test_a_refusal_that_only_a_person_can_mend_is_not_repeated_for_half_an_hour(time, world, start, tape, state):
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


async def test_one_that_always_finds_it_too_much_is_asked_ever_less_and_its_circuit_opens(
    time, world, start, tape, upstream, state
):
    world.answer = lambda _request: (429, {"Retry-After": "1"}, b"")
    source = start(upstream(interval=300.0))
    await time.run(source, tape, 1500.0)
    assert state(source) == "limited"
    await time.run(source := start(upstream(interval=300.0)), tape, DAY - 1500.0)
    waits = [later - earlier for earlier, later in itertools.pairwise(world.times)]
    assert [wait >= least for wait, least in zip(waits, (300, 600, 1200, 2400), strict=False)] == [True] * 4
    assert all(3600.0 <= wait <= 3960.0 for wait in waits[4:])
    assert state(source) == source.status().state == "circuit_open"
    world.answer = lambda _request: (200, {}, b"{}")
    await time.run(source := start(upstream(interval=300.0)), tape, 2 * HOUR)
    assert (state(source), source.status().connections[0].failures) == ("open", 0)


async def test_the_longest_wait_that_can_be_asked_for_is_kept_over_a_restart(time, world, start, tape):
    world.answer = lambda _request: (429, {"Retry-After": "99999999"}, b"")
    await time.run(start(), tape, 1.0)
    for _ in range(30):
        await time.run(start(), tape, 0.75 * HOUR)
    assert len(world.asked) == 1


async def test_an_upstream_that_found_it_too_much_is_asked_half_as_much_for_an_hour(time, world, start, tape, upstream):
    answers = itertools.chain([(429, {"Retry-After": "1"}, b"")], itertools.repeat((200, {}, b"{}")))
    world.answer = lambda _request: next(answers)
    await time.run(start(upstream(interval=1.0), per_minute=10), tape, 2 * HOUR)
    assert per_minute(world.times, 10 * 60.0) == 5
    assert per_minute(world.times, 100 * 60.0) == 10


def per_minute(times: list[float], at: float) -> int:
    return max(sum(first <= each < first + 59.9 for each in times) for first in times if at <= first < at + 300)


async def test_a_days_questions_are_spread_over_the_day_and_counted_over_restarts(time, world, start, tape, upstream):
    for _ in range(24):
        await time.run(start(upstream(interval=10.0), per_day=100), tape, HOUR)
    assert 90 <= len(world.asked) <= 100
    assert max(later - earlier for earlier, later in itertools.pairwise(world.times)) < 0.5 * HOUR


@pytest.mark.parametrize("record", [b"", b"no json", b"[]", b'{"polls": 3}', b"\xff"])
async def test_a_record_that_cannot_be_read_is_begun_anew(time, start, tape, tmp_path, record):
    (tmp_path / "page.json").write_bytes(record)
    assert len(await time.run(start(), tape, 1.0)) == 1
    assert json.loads((tmp_path / "page.json").read_bytes())["spent"]["today"] == 1


async def test_what_is_no_longer_configured_is_forgotten(time, start, tape, tmp_path, upstream):
    await time.run(start(upstream("a"), upstream("b")), tape, 1.0, loops=2)
    await time.run(start(upstream("b")), tape, 100.0)
    assert list(json.loads((tmp_path / "page.json").read_bytes())["polls"]) == ["b"]


async def test_a_clock_that_was_set_back_a_year_does_not_silence_a_source(time, world, start, tape):
    await time.run(start(per_minute=10, per_day=1000), tape, HOUR)
    time.now -= 365 * DAY
    before = len(world.asked)
    await time.run(start(per_minute=10, per_day=1000), tape, HOUR)
    assert len(world.asked) - before > 50
