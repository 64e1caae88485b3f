"""What happened in the last hour, day and week: exact where it is a price or a sum, with how much of it was proved."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

from tapehouse.api.encoding import DecimalForm, time_text
from tapehouse.api.frames import candle_frame
from tapehouse.api.rows import vwap
from tapehouse.market import indicators
from tapehouse.market.candles import Candle, merge_all
from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import DAY, INTERVALS

FEWEST_RETURNS = 10
"""Returns there must be before their deviation or correlation says anything."""
HOUR = INTERVALS["1h"]
_PROVED = ("closed", "quiet")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Period:
    """So many windows of an interval up to the newest one, which may be open."""

    interval: str
    count: int

    @property
    def length(self) -> int:
        """Microseconds of one window."""
        return INTERVALS[self.interval]

    def of(self, rows: Sequence[CandleRow]) -> list[CandleRow]:
        """Return those of the rows that lie in the period; they are in order of time."""
        earliest = rows[-1].opened_at - (self.count - 1) * self.length if rows else 0
        return [row for row in rows if row.opened_at >= earliest]


PERIODS: Mapping[str, Period] = {"1h": Period("1m", 60), "24h": Period("15m", 96), "7d": Period("1h", 168)}
PROFILE = "7d"


@dataclass(frozen=True)
class Present:
    """The time of an answer, and of the newest trade it knows of; microseconds UTC."""

    now: int
    traded_at: int

    def freshness(self, end: int) -> dict[str, object]:
        """Return how old the newest of what ends then is."""
        as_of = min(end, self.traded_at)
        return {"as_of": time_text(as_of), "age_seconds": max(0.0, (self.now - as_of) / 1e6)}


NOTHING = {"start": None, "end": None, "as_of": None, "age_seconds": None}


def span(period: Period, rows: Sequence[CandleRow], present: Present) -> dict[str, object]:
    """Return from when to when the rows reach, how fresh they are, and how many windows were held and proved.

    Where windows are not held the last ones that are may reach further back than the period.
    """
    reach = (rows[-1].opened_at - rows[0].opened_at) // period.length + 1 if rows else 0
    completeness = counted(
        period.interval,
        max(period.count, reach),
        held=len(rows),
        proved=sum(row.state in _PROVED for row in rows),
        gaps=sum(row.state == "gap" for row in rows),
        still_open=sum(row.state == "open" for row in rows),
    )
    if not rows:
        return {**NOTHING, "completeness": completeness}
    end = rows[-1].opened_at + period.length
    start = time_text(rows[0].opened_at)
    return {"start": start, "end": time_text(end), **present.freshness(end), "completeness": completeness}


def counted(
    interval: str, windows: int, *, held: int, proved: int | None, gaps: int | None, still_open: int
) -> dict[str, object]:
    """Return how many windows a figure was made from; None where nothing numbers what comes, so that none is proved."""
    return {
        "interval": interval,
        "windows": windows,
        "held": held,
        "proved": proved,
        "gaps": gaps,
        "open": still_open,
    }


class Summaries:
    """Sums up the periods of a symbol; what follows from windows that are over is computed once for them."""

    def __init__(self) -> None:
        self._over: dict[Period, Once[tuple[Candle | None, dict[str, object]]]] = {
            period: Once() for period in PERIODS.values()
        }

    def of(
        self, period: Period, rows: Sequence[CandleRow], present: Present, decimal: DecimalForm
    ) -> dict[str, object]:
        """Return the figures of a period, merged from its windows as one candle."""
        over, still_open = over_and_open(rows)
        merged, volatility = self._over[period].of(over, lambda: (_merged(over), _volatility(period, over)))
        candles = [merged, _merged(still_open)]
        total = merge_all(candle for candle in candles if candle is not None)
        told = span(period, rows, present)
        return told if total is None else {**told, **_figures(total, decimal), "volatility": volatility}


class Once(Generic[Value]):
    """A value that is computed again only when the rows it follows from have changed."""

    def __init__(self) -> None:
        self._known: tuple[Sequence[CandleRow], Value] | None = None

    def of(self, rows: Sequence[CandleRow], compute: Callable[[], Value]) -> Value:
        """Return the value that follows from these rows; equal rows are mostly the same ones, so comparing is cheap."""
        known = self._known
        if known is None or known[0] != rows:
            known = self._known = (rows, compute())
        return known[1]


def over_and_open(rows: Sequence[CandleRow]) -> tuple[list[CandleRow], list[CandleRow]]:
    """Return the windows that are settled, and those that are not."""
    return [row for row in rows if row.state != "open"], [row for row in rows if row.state == "open"]


def _merged(rows: Sequence[CandleRow]) -> Candle | None:
    return merge_all(row.candle for row in rows if row.candle is not None)


def _figures(total: Candle, decimal: DecimalForm) -> dict[str, object]:
    mean = vwap(total)
    return {
        **{name: decimal(getattr(total, name), PRICE_SCALE) for name in ("open", "high", "low", "close")},
        "change": decimal(total.close - total.open, PRICE_SCALE),
        "change_ratio": total.close / total.open - 1,
        "volume": decimal(total.volume, PRICE_SCALE),
        "quote_volume": decimal(total.quote_volume, NOTIONAL_SCALE),
        "trades": total.trades,
        "vwap": None if mean is None else decimal(mean, PRICE_SCALE),
        "taker_buy_ratio": total.taker_buy_volume / total.volume if total.volume else None,
    }


def _volatility(period: Period, rows: Sequence[CandleRow]) -> dict[str, object]:
    """Return the yearly volatility of windows that are over, by three estimators."""
    length = len(rows)
    if length <= FEWEST_RETURNS:
        return {"windows": length, "close_to_close": None, "parkinson": None, "garman_klass": None}
    estimates = candle_frame(rows).select(
        close_to_close=indicators.volatility(length - 1, period.length),
        parkinson=indicators.parkinson(length, period.length),
        garman_klass=indicators.garman_klass(length, period.length),
    )
    return {"windows": length, **estimates.row(-1, named=True)}


def hourly_volume(rows: Sequence[CandleRow], present: Present, decimal: DecimalForm) -> dict[str, object]:
    """Return what was traded in each hour of the UTC day, over the hours of the last week that were proved."""

    def hour(row: CandleRow) -> int:
        return row.opened_at % DAY // HOUR

    proved = sorted((row for row in rows if row.state in _PROVED), key=hour)
    hours = [_of_hour(of_day, list(alike), decimal) for of_day, alike in groupby(proved, key=hour)]
    return {"period": PROFILE, **span(PERIODS[PROFILE], rows, present), "hours": hours}


def _of_hour(hour: int, rows: Sequence[CandleRow], decimal: DecimalForm) -> dict[str, object]:
    candles = [row.candle for row in rows if row.candle is not None]
    return {
        "hour": hour,
        "hours": len(rows),
        "volume": decimal(sum(candle.volume for candle in candles), PRICE_SCALE),
        "quote_volume": decimal(sum(candle.quote_volume for candle in candles), NOTIONAL_SCALE),
        "trades": sum(candle.trades for candle in candles),
    }
