from tapehouse.producers.arrival import ArrivalClock


def test_the_clock_tells_microseconds_of_the_wall_clock():
    assert ArrivalClock(wall_clock=lambda: 1_700_000_000_123_456_789).now() == 1_700_000_000_123_456


def test_the_clock_stands_still_while_the_wall_clock_is_set_back():
    times = iter([5_000_000, 9_000_000, 4_000_000, 8_999_999, 10_000_000])
    clock = ArrivalClock(wall_clock=lambda: next(times))
    assert [clock.now() for _ in range(5)] == [5000, 9000, 9000, 9000, 10000]


def test_the_clock_starts_no_earlier_than_its_floor():
    times = iter([1_000_000, 7_000_000])
    clock = ArrivalClock(floor=6000, wall_clock=lambda: next(times))
    assert [clock.now(), clock.now()] == [6000, 7000]
