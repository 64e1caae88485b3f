"""Technical indicators as expressions over candles: a row's value uses that row and those before it, nothing after.

A frame holds the candles of one symbol and interval, oldest first and one row a window, with the columns `opened_at`
(microseconds UTC) and `open, high, low, close, volume, quote_volume` as Float64: an indicator is for a chart and a
rule, it is never stored and never summed. Rows before an indicator has all it needs are null.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from tapehouse.market.windows import DAY

YEAR = 365 * DAY
"""What volatility is told for: crypto trades every day of it."""

_CLOSE = pl.col("close")


def sma(length: int, value: pl.Expr = _CLOSE) -> pl.Expr:
    """Return the simple moving average of `length` windows."""
    return value.rolling_mean(length)


def ema(length: int, value: pl.Expr = _CLOSE) -> pl.Expr:
    """Return the exponential moving average with weight 2 / (length + 1), begun by the simple one."""
    return _smoothed(value, length, 2 / (length + 1))


def rsi(length: int) -> pl.Expr:
    """Return Wilder's relative strength index, 0 to 100 (New Concepts in Technical Trading Systems, 1978).

    Null where no close of the smoothing has moved.
    """
    change = _CLOSE.diff()
    gained, lost = (_wilder(part, length) for part in (change.clip(lower_bound=0), -change.clip(upper_bound=0)))
    moved = gained + lost
    return pl.when(moved > 0).then(100 * gained / moved)


def macd(fast: int, slow: int, signal: int) -> dict[str, pl.Expr]:
    """Return Appel's convergence of two averages, the average of it over `signal` windows, and their difference."""
    line = ema(fast) - ema(slow)
    average = ema(signal, line)
    return {"macd": line, "macd_signal": average, "macd_histogram": line - average}


def bollinger(length: int, width: float = 2.0) -> dict[str, pl.Expr]:
    """Return Bollinger's bands: the simple average, and `width` population deviations below and above it."""
    middle, spread = sma(length), width * _CLOSE.rolling_std(length, ddof=0)
    return {"bollinger_lower": middle - spread, "bollinger_middle": middle, "bollinger_upper": middle + spread}


def atr(length: int) -> pl.Expr:
    """Return Wilder's average true range: the range of each window, with the close before it taken in."""
    before = _CLOSE.shift(1)
    reach = [pl.col("high") - pl.col("low"), (pl.col("high") - before).abs(), (pl.col("low") - before).abs()]
    return _wilder(pl.when(before.is_not_null()).then(pl.max_horizontal(reach)), length)


def vwap(length: int) -> pl.Expr:
    """Return the price all of the last `length` windows' volume was traded at on average; null without volume."""
    return _mean_price(*(pl.col(name).rolling_sum(length) for name in ("quote_volume", "volume")))


def session_vwap() -> pl.Expr:
    """Return the same from the beginning of each UTC day."""
    day = pl.col("opened_at") // DAY
    return _mean_price(*(pl.col(name).cum_sum().over(day) for name in ("quote_volume", "volume")))


def anchored_vwap(anchor: int) -> pl.Expr:
    """Return the same from the first window that opens at `anchor` (microseconds UTC) or later; null before it."""
    since = pl.col("opened_at") >= anchor
    sums = (pl.when(since).then(pl.col(name)).cum_sum() for name in ("quote_volume", "volume"))
    return _mean_price(*sums)


def volatility(length: int, interval: int) -> pl.Expr:
    """Return the yearly volatility of closes, the sample deviation of log returns; `interval` in microseconds."""
    return _log_return().rolling_std(length) * math.sqrt(YEAR / interval)


def parkinson(length: int, interval: int) -> pl.Expr:
    """Return Parkinson's yearly volatility, of highs and lows (Journal of Business 53, 1980)."""
    squared = (pl.col("high") / pl.col("low")).log() ** 2
    return (squared.rolling_mean(length) / (4 * math.log(2)) * (YEAR / interval)).sqrt()


def garman_klass(length: int, interval: int) -> pl.Expr:
    """Return Garman and Klass's yearly volatility, of all four prices (Journal of Business 53, 1980)."""
    reach = 0.5 * (pl.col("high") / pl.col("low")).log() ** 2
    moved = (2 * math.log(2) - 1) * (_CLOSE / pl.col("open")).log() ** 2
    return ((reach - moved).rolling_mean(length).clip(lower_bound=0) * (YEAR / interval)).sqrt()


def drawdown(length: int) -> pl.Expr:
    """Return how far the close lies below the highest one of the last `length` windows, as a part of it: 0 to -1."""
    return _CLOSE / _CLOSE.rolling_max(length) - 1


def correlation(length: int, other: str) -> pl.Expr:
    """Return Pearson's correlation of the log returns of `close` and of the column `other`."""
    return pl.rolling_corr(_log_return(), _log_return(other), window_size=length)


def beta(length: int, market: str) -> pl.Expr:
    """Return how much `close` moves with the column `market`: the covariance of returns by the market's variance."""
    theirs = _log_return(market)
    return pl.rolling_cov(_log_return(), theirs, window_size=length) / theirs.rolling_var(length)


@dataclass(frozen=True)
class Indicator:
    """An indicator that can be asked for by name: what its numbers are called, their defaults, and its columns.

    `needs` names what its columns take besides: `interval` (microseconds), `anchor` (a time in microseconds), `against`
    (the column with the closes of another symbol). `looks_back` says how far: over `history` windows, which follow from
    its numbers, to the beginning of the day, or to the anchor. With so much before it a value does not depend on where
    the candles begin.
    """

    parameters: Mapping[str, int]
    columns: Callable[..., Mapping[str, pl.Expr]]
    about: str
    needs: tuple[str, ...] = ()
    looks_back: Literal["numbers", "day", "anchor"] = "numbers"
    history: Callable[..., int] = lambda **numbers: max(numbers.values(), default=0)


def memory(weight: float) -> int:
    """Return how many windows an exponential average takes to forget where it began.

    What is left of the beginning is then a smaller part than a float of double precision can tell.
    """
    return math.ceil(math.log(sys.float_info.epsilon / 2) / math.log(1 - weight))


def _wilder_history(length: int) -> int:
    return length + 1 + memory(1 / length)


def _ema_history(length: int) -> int:
    return length + memory(2 / (length + 1))


def _macd_history(fast: int, slow: int, signal: int) -> int:
    """Both averages of the line have forgotten, and then the average of the line has; the fast one forgets sooner."""
    return max(_ema_history(fast), _ema_history(slow)) + _ema_history(signal)


_MONTH, _DAY_OF_QUARTERS = {"length": 30}, {"length": 96}

INDICATORS: Mapping[str, Indicator] = {
    "sma": Indicator({"length": 20}, lambda length: {"sma": sma(length)}, "simple moving average"),
    "ema": Indicator(
        {"length": 20}, lambda length: {"ema": ema(length)}, "exponential moving average", history=_ema_history
    ),
    "rsi": Indicator(
        {"length": 14},
        lambda length: {"rsi": rsi(length)},
        "relative strength index, 0 to 100",
        history=_wilder_history,
    ),
    "macd": Indicator(
        {"fast": 12, "slow": 26, "signal": 9},
        macd,
        "moving average convergence and divergence",
        history=_macd_history,
    ),
    "bollinger": Indicator({"length": 20}, bollinger, "average and bands of two deviations"),
    "atr": Indicator(
        {"length": 14}, lambda length: {"atr": atr(length)}, "average true range", history=_wilder_history
    ),
    "vwap": Indicator({"length": 20}, lambda length: {"vwap": vwap(length)}, "volume-weighted average price, rolling"),
    "session_vwap": Indicator(
        {}, lambda: {"session_vwap": session_vwap()}, "the same from the UTC day's beginning", looks_back="day"
    ),
    "anchored_vwap": Indicator(
        {},
        lambda anchor: {"anchored_vwap": anchored_vwap(anchor)},
        "the same from the time `anchor`",
        ("anchor",),
        looks_back="anchor",
    ),
    "volatility": Indicator(
        _MONTH,
        lambda length, interval: {"volatility": volatility(length, interval)},
        "yearly volatility of closes",
        ("interval",),
    ),
    "parkinson": Indicator(
        _MONTH,
        lambda length, interval: {"parkinson": parkinson(length, interval)},
        "yearly volatility of highs and lows",
        ("interval",),
    ),
    "garman_klass": Indicator(
        _MONTH,
        lambda length, interval: {"garman_klass": garman_klass(length, interval)},
        "yearly volatility of all four prices",
        ("interval",),
    ),
    "correlation": Indicator(
        _DAY_OF_QUARTERS,
        lambda length, against: {"correlation": correlation(length, against)},
        "correlation of returns with the symbol `against`",
        ("against",),
    ),
    "beta": Indicator(
        _DAY_OF_QUARTERS,
        lambda length, against: {"beta": beta(length, against)},
        "how much it moves with the symbol `against`",
        ("against",),
    ),
    "drawdown": Indicator(
        {"length": 200},
        lambda length: {"drawdown": drawdown(length)},
        "distance from the highest close of so many windows, 0 to -1",
    ),
}
"""What can be asked for by name; macd needs `fast` below `slow`."""


def _smoothed(value: pl.Expr, length: int, weight: float) -> pl.Expr:
    """Return the exponential smoothing of a column that may begin with nulls, begun by the mean of `length` values."""
    place = value.is_not_null().cum_sum()
    begun = pl.when(place == length).then(value.rolling_mean(length)).when(place > length).then(value)
    return begun.ewm_mean(alpha=weight, adjust=False)


def _wilder(value: pl.Expr, length: int) -> pl.Expr:
    return _smoothed(value, length, 1 / length)


def _log_return(column: str = "close") -> pl.Expr:
    return pl.col(column).log().diff()


def _mean_price(quote_volume: pl.Expr, volume: pl.Expr) -> pl.Expr:
    return pl.when(volume > 0).then(quote_volume / volume)
