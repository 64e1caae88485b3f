"""Candles as an indicator takes them: columns of floats, one row a window."""

from collections.abc import Sequence

import polars as pl

from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE
from tapehouse.market.ledger import CandleRow

_PRICES = ("open", "high", "low", "close")
_SUMS = ("volume", "quote_volume")
_SCHEMA = {"opened_at": pl.Int64(), **dict.fromkeys((*_PRICES, *_SUMS), pl.Float64())}


def candle_frame(rows: Sequence[CandleRow]) -> pl.DataFrame:
    """Return candles with `opened_at` in microseconds; a quiet window is flat at the close before, without volume."""
    return pl.DataFrame([_values(row) for row in rows], schema=_SCHEMA, orient="row")


def _values(row: CandleRow) -> tuple[float | int | None, ...]:
    candle = row.candle
    if candle is None:
        flat = None if row.flat is None else row.flat / 10**PRICE_SCALE
        return row.opened_at, flat, flat, flat, flat, 0.0, 0.0
    prices = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    return row.opened_at, *(units / 10**PRICE_SCALE for units in prices), candle.quote_volume / 10**NOTIONAL_SCALE
