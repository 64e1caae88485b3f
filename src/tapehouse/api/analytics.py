"""What a symbol does: change, range, volume and volatility of the last hour, day and week; indicators on request.

Prices and volumes are exact, merged from candles; ratios, volatilities and indicators are floats. Each figure names the
windows it was made from and how many of them were held and proved.
"""

from collections.abc import Sequence
from itertools import groupby

import polars as pl

from tapehouse.api.encoding import DecimalForm, time_text
from tapehouse.api.indicators import Asked
from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.api.rows import vwap
from tapehouse.market import indicators
from tapehouse.market.candles import merge_all
from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import DAY, INTERVALS

PERIODS = {"1h": ("1m", 60), "24h": ("15m", 96), "7d": ("1h", 168)}
"""What is told of each period is merged from so many windows of this interval, the open one among them."""
PROFILE = "7d"
CORRELATED_OVER = "24h"
MOST_CORRELATED = 10
"""Other symbols a symbol is compared with at most."""
FEWEST_RETURNS = 10
"""Returns two symbols must share before their correlation says anything."""
HOUR = INTERVALS["1h"]
_FRAME = ("open", "high", "low", "close", "volume", "quote_volume")
_PROVED = ("closed", "quiet")


class Analytics:
    """Answers about one symbol, read on a thread."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def of(self, symbol: str, others: Sequence[str], decimal: DecimalForm) -> dict[str, object]:
        """Return the periods, the hourly volume and the correlation with other symbols."""
        rows = {period: self._rows(symbol, period) for period in PERIODS}
        return {
            "symbol": symbol,
            "periods": {period: _summary(period, held, decimal) for period, held in rows.items()},
            "hourly_volume": _hourly_volume(rows[PROFILE], decimal),
            "correlations": self._correlations(rows[CORRELATED_OVER], others),
        }

    def indicators(self, symbol: str, interval: str, asked: Sequence[Asked], limit: int) -> dict[str, object]:
        """Return the last `limit` windows with the indicators asked for; the open window's are provisional."""
        history = max((each.history for each in asked), default=0)
        rows = self._queries.candles(CandleQuery(symbol, interval, limit + history))
        columns = {name: column for each in asked for name, column in each.columns().items()}
        values = _frame(rows).select(**columns).tail(limit).to_dicts()
        shown = rows[-limit:]
        return {
            "symbol": symbol,
            "interval": interval,
            "count": len(shown),
            "windows": [
                {"opened_at": time_text(row.opened_at), "state": row.state, **told}
                for row, told in zip(shown, values, strict=True)
            ],
        }

    def _rows(self, symbol: str, period: str) -> list[CandleRow]:
        interval, count = PERIODS[period]
        rows = self._queries.candles(CandleQuery(symbol, interval, count))
        earliest = rows[-1].opened_at - (count - 1) * INTERVALS[interval] if rows else 0
        return [row for row in rows if row.opened_at >= earliest]

    def _correlations(self, ours: Sequence[CandleRow], others: Sequence[str]) -> dict[str, object]:
        interval, _ = PERIODS[CORRELATED_OVER]
        closes = _frame(ours).select("opened_at", "close")
        found: dict[str, float | None] = {}
        for other in others[:MOST_CORRELATED]:
            theirs = _frame(self._rows(other, CORRELATED_OVER)).select("opened_at", other="close")
            both = closes.join(theirs, on="opened_at").sort("opened_at")
            returns = both.select(pl.col("close", "other").log().diff()).drop_nulls()
            told = returns.select(pl.corr("close", "other")).item() if returns.height >= FEWEST_RETURNS else None
            found[other] = told if told is not None and told == told else None  # noqa: PLR0124  # NaN of a flat price
        return {"interval": interval, "period": CORRELATED_OVER, "with": found}


def _summary(period: str, rows: Sequence[CandleRow], decimal: DecimalForm) -> dict[str, object]:
    interval, count = PERIODS[period]
    total = merge_all(row.candle for row in rows if row.candle is not None)
    completeness = {
        "interval": interval,
        "windows": count,
        "held": len(rows),
        "proved": sum(row.state in _PROVED for row in rows),
        "gaps": sum(row.state == "gap" for row in rows),
    }
    if total is None:
        return {"completeness": completeness, "start": None, "end": None}
    mean = vwap(total)
    return {
        "start": time_text(rows[0].opened_at),
        "end": time_text(rows[-1].opened_at + INTERVALS[interval]),
        **{name: decimal(getattr(total, name), PRICE_SCALE) for name in ("open", "high", "low", "close")},
        "change": decimal(total.close - total.open, PRICE_SCALE),
        "change_ratio": total.close / total.open - 1,
        "volume": decimal(total.volume, PRICE_SCALE),
        "quote_volume": decimal(total.quote_volume, NOTIONAL_SCALE),
        "trades": total.trades,
        "vwap": None if mean is None else decimal(mean, PRICE_SCALE),
        "taker_buy_ratio": total.taker_buy_volume / total.volume if total.volume else None,
        "volatility": _volatility(rows, INTERVALS[interval]),
        "completeness": completeness,
    }


def _volatility(rows: Sequence[CandleRow], interval: int) -> dict[str, float | None]:
    """Return the yearly volatility of the windows that are over, by three estimators."""
    over = _frame([row for row in rows if row.state != "open"])
    length = over.height
    if length <= FEWEST_RETURNS:
        return {"close_to_close": None, "parkinson": None, "garman_klass": None}
    return over.select(
        close_to_close=indicators.volatility(length - 1, interval),
        parkinson=indicators.parkinson(length, interval),
        garman_klass=indicators.garman_klass(length, interval),
    ).row(-1, named=True)


def _hourly_volume(rows: Sequence[CandleRow], decimal: DecimalForm) -> list[dict[str, object]]:
    """Return the quote volume of each hour of the UTC day, over the hours that were proved."""

    def hour(row: CandleRow) -> int:
        return row.opened_at % DAY // HOUR

    proved = sorted((row for row in rows if row.state in _PROVED), key=hour)
    told = []
    for of_day, alike in groupby(proved, key=hour):
        hours = list(alike)
        volume = sum(row.candle.quote_volume for row in hours if row.candle is not None)
        told.append({"hour": of_day, "hours": len(hours), "quote_volume": decimal(volume, NOTIONAL_SCALE)})
    return told


def _frame(rows: Sequence[CandleRow]) -> pl.DataFrame:
    """Return candles as an indicator takes them; a quiet window is flat at the close before, without volume."""
    values = [
        (row.opened_at, *(getattr(row.candle, name) for name in _FRAME))
        if row.candle is not None
        else (row.opened_at, *[row.flat] * 4, 0, 0)
        for row in rows
    ]
    schema = {
        "opened_at": pl.Int64(),
        **dict.fromkeys(_FRAME[:4], pl.Int64()),
        **dict.fromkeys(_FRAME[4:], pl.Int128()),
    }
    scales = {name: NOTIONAL_SCALE if name == "quote_volume" else PRICE_SCALE for name in _FRAME}
    units = pl.DataFrame(values, schema=schema, orient="row")
    return units.with_columns(pl.col(name).cast(pl.Float64) / 10**scale for name, scale in scales.items())
