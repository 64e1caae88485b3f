"""What a candle is: one table of reductions, and the engines that interpret it (law 4).

A trade is a candle of one trade. Merging is associative and commutative, so late trades, roll-ups, repairs and
partial aggregates are the same operation. VWAP is derived, never stored.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import msgspec
import polars as pl
from msgspec.structs import astuple


@dataclass(frozen=True)
class Reduction:
    """How two values of a column become one; `first` and `last` follow the trade ids, never the time (law 3)."""

    column: str
    how: Literal["first", "last", "max", "min", "sum"]
    by: str = ""


REDUCTIONS = (
    Reduction("open", "first", by="first_trade_id"),
    Reduction("high", "max"),
    Reduction("low", "min"),
    Reduction("close", "last", by="last_trade_id"),
    Reduction("volume", "sum"),
    Reduction("quote_volume", "sum"),
    Reduction("trades", "sum"),
    Reduction("taker_buy_volume", "sum"),
    Reduction("taker_buy_quote_volume", "sum"),
    Reduction("first_trade_id", "min"),
    Reduction("last_trade_id", "max"),
)
COLUMNS = tuple(reduction.column for reduction in REDUCTIONS)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """The summary of one or more trades; prices and volumes in units of 10^-8, quote volumes in 10^-16."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    taker_buy_volume: int
    taker_buy_quote_volume: int
    first_trade_id: int
    last_trade_id: int


_Values = tuple[int, ...]


def _combination(reduction: Reduction) -> Callable[[_Values, _Values], int]:
    value = COLUMNS.index(reduction.column)
    key = COLUMNS.index(reduction.by or reduction.column)
    match reduction.how:
        case "first":
            return lambda left, right: left[value] if left[key] <= right[key] else right[value]
        case "last":
            return lambda left, right: left[value] if left[key] >= right[key] else right[value]
        case "max":
            return lambda left, right: max(left[value], right[value])
        case "min":
            return lambda left, right: min(left[value], right[value])
        case "sum":
            return lambda left, right: left[value] + right[value]


_COMBINATIONS = tuple(_combination(reduction) for reduction in REDUCTIONS)


def merge(left: Candle, right: Candle) -> Candle:
    """Return the candle of both sets of trades; the sets must not share an id."""
    ours, theirs = astuple(left), astuple(right)
    return Candle(*[combine(ours, theirs) for combine in _COMBINATIONS])


def merge_all(candles: Iterable[Candle]) -> Candle | None:
    """Return the candle of all of them, None when there are none."""
    found = list(candles)
    return reduce(merge, found) if found else None


def as_candles(trades: pl.LazyFrame) -> pl.LazyFrame:
    """Give each trade the columns of a candle of one.

    Takes `first_trade_id`, `last_trade_id`, `price` and `quantity` (Int64 units of 10^-8, or `Decimal(38, 8)`) and
    `taker_side`; every other column is kept. Products are 128 bits wide: they cannot overflow or round.
    """
    price = pl.col("price").to_physical().cast(pl.Int64)
    quantity = pl.col("quantity").to_physical().cast(pl.Int128)
    bought = pl.when(pl.col("taker_side") == "buy").then(quantity).otherwise(pl.lit(0, pl.Int128))
    return trades.with_columns(
        open=price,
        high=price,
        low=price,
        close=price,
        volume=quantity,
        quote_volume=quantity * price.cast(pl.Int128),
        trades=pl.col("last_trade_id") - pl.col("first_trade_id") + 1,
        taker_buy_volume=bought,
        taker_buy_quote_volume=bought * price.cast(pl.Int128),
    )


def reduce_frame(candles: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """Merge the candles of each group of `keys`; one row a group, in no particular order."""
    return candles.group_by(list(keys)).agg([_expression(reduction) for reduction in REDUCTIONS])


def _expression(reduction: Reduction) -> pl.Expr:
    column = pl.col(reduction.column)
    match reduction.how:
        case "first":
            return column.min_by(reduction.by)
        case "last":
            return column.max_by(reduction.by)
        case "max":
            return column.max()
        case "min":
            return column.min()
        case "sum":
            return column.sum()


def to_candles(frame: pl.DataFrame) -> list[Candle]:
    """Return the rows of a frame that has a candle's columns as units."""
    return [Candle(*row) for row in frame.select(COLUMNS).iter_rows()]
