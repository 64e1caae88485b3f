from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from tapehouse.market.windows import (
    DAY,
    INTERVALS,
    MINUTE,
    ROLLED_UP_FROM,
    WATERMARK_DELAY,
    closes_at,
    is_final,
    is_over,
    kept_from,
    opened_at,
)

LENGTHS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

times = st.integers(0, 4_102_444_800_000_000)
intervals = st.sampled_from(list(INTERVALS))


def test_the_intervals_are_those_that_are_promised():
    assert {name: timedelta(minutes=minutes) // timedelta(microseconds=1) for name, minutes in LENGTHS.items()} == dict(
        INTERVALS
    )


@given(times, intervals)
def test_a_time_lies_in_its_window_and_no_other(time, interval):
    opened = opened_at(time, interval)
    assert opened <= time < closes_at(opened, interval)
    assert closes_at(opened, interval) == opened_at(closes_at(opened, interval), interval)


@given(times, intervals)
def test_windows_are_counted_from_midnight_utc(time, interval):
    midnight = (EPOCH + timedelta(microseconds=time)).replace(hour=0, minute=0, second=0, microsecond=0)
    since = (EPOCH + timedelta(microseconds=opened_at(time, interval))) - midnight
    assert since % timedelta(minutes=LENGTHS[interval]) == timedelta()


@pytest.mark.parametrize(("interval", "child"), ROLLED_UP_FROM.items())
def test_a_window_is_made_of_whole_windows_of_the_interval_it_is_merged_from(interval, child):
    assert INTERVALS[interval] % INTERVALS[child] == 0
    assert DAY % INTERVALS[interval] == 0


def test_every_interval_but_the_shortest_is_merged_from_another():
    assert set(ROLLED_UP_FROM) | {"1m"} == set(INTERVALS)


@given(times, intervals)
def test_a_window_is_over_when_its_end_is_reached_and_final_five_minutes_later(time, interval):
    opened = opened_at(time, interval)
    end = closes_at(opened, interval)
    assert not is_over(opened, interval, end - 1)
    assert is_over(opened, interval, end)
    assert not is_final(opened, interval, end + WATERMARK_DELAY - 1)
    assert is_final(opened, interval, end + WATERMARK_DELAY)
    assert WATERMARK_DELAY == 5 * MINUTE


@given(times, intervals)
def test_what_is_kept_reaches_over_the_parent_window_of_now_and_the_one_before(time, interval):
    kept = kept_from(interval, time)
    parent = {child: name for name, child in ROLLED_UP_FROM.items()}.get(interval, interval)
    assert kept == opened_at(time, parent) - INTERVALS[parent]
    assert kept == opened_at(kept, interval)
