"""How many questions a minute and a day an upstream is asked, evenly spread. Times are seconds since 1970."""

import msgspec

from tapehouse.errors import RateLimitedError

MINUTE = 60.0
DAY = 86_400.0
AT_ONCE = 0.1
"""The part of a day's questions that may be asked ahead of an even pace: a start asks more than the hours after it."""
SLOWED_FOR = 3600.0
"""Seconds for which half as many questions a minute are asked after the upstream found them too many."""


class SpentError(RateLimitedError):
    """We ask no more for now, so as to keep within what an upstream allows: nothing is wrong with it."""


class Spent(msgspec.Struct):
    """What was asked lately, as it is remembered over restarts."""

    recent: list[float] = []
    """When the questions of the last minute were asked."""
    day: int = 0
    today: int = 0
    blocked_until: float = 0.0
    slowed_until: float = 0.0


class Allowance:
    """What may still be asked of one upstream; None is without a limit."""

    def __init__(self, spent: Spent, *, per_minute: int | None = None, per_day: int | None = None) -> None:
        self.per_minute = per_minute
        self.per_day = per_day
        self._spent = spent

    def wait(self, now: float) -> float:
        """Return the seconds until a question may be asked, 0.0 when it may now."""
        self._forget(now)
        return max(0.0, self._spent.blocked_until - now, self._wait_of_minute(now), self._wait_of_day(now))

    def spend(self, now: float) -> None:
        """Count a question that is asked now."""
        self._forget(now)
        self._spent.recent.append(now)
        self._spent.today += 1

    def block(self, seconds: float, now: float) -> None:
        """Ask nothing for so long, and half as much for a while after it: the upstream said that it was too much.

        Without a limit the addresses are not one upstream's, and each waits for itself.
        """
        if self.per_minute is None and self.per_day is None:
            return
        self._spent.blocked_until = max(self._spent.blocked_until, now + seconds)
        self._spent.slowed_until = self._spent.blocked_until + SLOWED_FOR

    def asked_today(self, now: float) -> int:
        """Return how many questions were asked since midnight, UTC."""
        self._forget(now)
        return self._spent.today

    def _wait_of_minute(self, now: float) -> float:
        if self.per_minute is None:
            return 0.0
        allowed = max(1, self.per_minute // 2) if now < self._spent.slowed_until else self.per_minute
        if len(self._spent.recent) < allowed:
            return 0.0
        return self._spent.recent[-allowed] + MINUTE - now

    def _wait_of_day(self, now: float) -> float:
        if self.per_day is None:
            return 0.0
        ahead = max(1, int(self.per_day * AT_ONCE))
        midnight = self._spent.day * DAY
        if self._spent.today + 1 > self.per_day:
            return midnight + DAY - now
        return midnight + (self._spent.today + 1 - ahead) * DAY / self.per_day - now

    def _forget(self, now: float) -> None:
        """Forget what no longer counts, and what a clock set back would keep for ever."""
        spent = self._spent
        spent.recent = [at for at in spent.recent if now - MINUTE < at <= now]
        if spent.day != int(now // DAY):
            spent.day, spent.today = int(now // DAY), 0
        if spent.blocked_until > now + DAY:
            spent.blocked_until = spent.slowed_until = 0.0
