"""The threads of the platform: each ends when it is told to, and none keeps the others waiting."""

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
