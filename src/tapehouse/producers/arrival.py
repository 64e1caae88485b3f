"""The clock of arrivals: microseconds since 1970 UTC that never go back within a process."""

import time
from collections.abc import Callable


class ArrivalClock:
    """The wall clock, held still while the machine's clock is set back.

    `floor` is a time (microseconds) before which no arrival is told: the last one a former run has committed.
    """

    def __init__(self, floor: int = 0, wall_clock: Callable[[], int] = time.time_ns) -> None:
        self._last = floor
        self._wall_clock = wall_clock

    def now(self) -> int:
        """Return the time in microseconds, never less than any time returned before."""
        now = self._wall_clock() // 1000
        self._last = max(self._last, now)
        return self._last
