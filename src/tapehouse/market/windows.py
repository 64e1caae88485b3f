"""Windows of event time: [opened_at, opened_at + interval), in microseconds since 1970 UTC (law 3)."""

from collections.abc import Mapping

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE

INTERVALS: Mapping[str, int] = {
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "1h": 60 * MINUTE,
    "4h": 240 * MINUTE,
    "1d": DAY,
}
"""Every interval kept and its length; each divides the next, and all divide the UTC day."""

ROLLED_UP_FROM: Mapping[str, str] = {"5m": "1m", "15m": "5m", "1h": "15m", "4h": "1h", "1d": "4h"}
"""The interval whose candles are merged into this one."""

WATERMARK_DELAY = 5 * MINUTE
"""A closed candle is final once the newest event time is this far past its end."""


def opened_at(time: int, interval: str) -> int:
    """Return when the window that holds `time` opened."""
    return time - time % INTERVALS[interval]


def closes_at(opened: int, interval: str) -> int:
    """Return the first time that is no longer in the window."""
    return opened + INTERVALS[interval]


def is_over(opened: int, interval: str, horizon: int) -> bool:
    """Tell whether the window has ended by `horizon`, the event time reached."""
    return closes_at(opened, interval) <= horizon


def is_final(opened: int, interval: str, horizon: int) -> bool:
    """Tell whether the watermark has passed the window."""
    return closes_at(opened, interval) + WATERMARK_DELAY <= horizon


def kept_from(interval: str, horizon: int) -> int:
    """Return the oldest opening that can still change by itself: the parent windows of `horizon` and the one before."""
    parent = next((name for name, child in ROLLED_UP_FROM.items() if child == interval), interval)
    return opened_at(horizon, parent) - INTERVALS[parent]
