"""The threads of the platform: each ends when it is told to, and none keeps the others waiting."""

import asyncio
import gc
import threading

import pytest

from tapehouse.pipeline import Stage


def test_a_thread_that_does_not_end_is_waited_for_no_longer_than_was_said():
    ends = threading.Event()
    stage = Stage("slow", lambda _stopping: ends.wait(60))
    stage.stop(within=0.05)
    assert not ends.is_set()
    ends.set()
    stage.stop()


def test_what_went_wrong_in_a_thread_is_raised_where_it_is_stopped():
    def fails(stopping: threading.Event) -> None:
        stopping.wait(60)
        raise ArithmeticError("what went wrong")

    with pytest.raises(ArithmeticError, match="what went wrong"):
        Stage("fails", fails).stop()


async def test_a_thread_that_fails_when_its_watch_was_ended_first_leaves_nothing_that_nobody_heard():
    heard: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context))
    may_fail = threading.Event()

    def fails(_stopping: threading.Event) -> None:
        may_fail.wait(60)
        raise ArithmeticError("what went wrong")

    stage = Stage("fails", fails)
    watching = asyncio.create_task(stage.watch())
    await asyncio.sleep(0)
    watching.cancel()
    await asyncio.wait({watching})
    may_fail.set()
    with pytest.raises(ArithmeticError):
        await asyncio.to_thread(stage.stop)
    del stage, watching
    await asyncio.sleep(0.05)
    gc.collect()
    assert not heard
