"""The tapes the exchange is served from: one small interface, and the tape that lies in memory.

A tape is a fact: the same question always has the same answer, and rows are given exactly as they are held.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import polars as pl

from tapehouse.market.windows import SECOND

COLUMNS = (
    "symbol",
    "first_trade_id",
    "last_trade_id",
    "aggregate_id",
    "price",
    "quantity",
    "buyer_is_maker",
    "traded_at",
)
"""Symbol (an Enum over the tape's pairs), ids, units of 10^-8, and microseconds since 1970 UTC."""


@dataclass(frozen=True)
class Pair:
    """What the exchange says of a symbol; `price_tick` and `quantity_step` are units of 10^-8."""

    symbol: str
    base: str
    quote: str
    price_tick: int = 1
    quantity_step: int = 1
    status: Literal["TRADING", "BREAK"] = "TRADING"


class TradeTape(Protocol):
    """Trades of several symbols, each numbered consecutively.

    Law: rows are ordered as the exchange told them (per symbol by id), each trade is in exactly one slice of time,
    and what is read twice is the same twice. Times are microseconds since 1970 UTC.
    """

    @property
    def pairs(self) -> Mapping[str, Pair]:
        """Every symbol of the tape."""

    @property
    def starts_at(self) -> int:
        """When the tape begins."""

    @property
    def ends_at(self) -> int | None:
        """The first time that is no longer on the tape, None for a tape that goes on."""

    @property
    def rate(self) -> float:
        """Trades a second over all symbols, on average."""

    def between(self, start: int, end: int) -> pl.DataFrame:
        """Return the trades of every symbol told in [start, end), in the order they were told."""

    def trades(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        """Return the rows of a symbol that hold an id of first..last, by id."""

    def id_at(self, symbol: str, time: int) -> int:
        """Return the first id told at or after a time; one past the last when there is none."""

    def id_of_aggregate(self, symbol: str, aggregate_id: int) -> int:
        """Return the first trade id of an aggregate; of the next one there is when it does not exist."""


class HeldTape:
    """A tape that lies in memory: recordings and ranges of the lake.

    Takes a frame with the columns of a tape; `aggregate_id` may be absent, then fills of one taker order at one price
    (same time, price and side, neighbouring ids) are numbered as one.
    """

    def __init__(self, rows: pl.DataFrame, pairs: Mapping[str, Pair]) -> None:
        self.pairs: Mapping[str, Pair] = pairs
        names = pl.Enum(sorted(pairs))
        ordered = rows.with_columns(pl.col("symbol").cast(names)).sort("symbol", "first_trade_id")
        ordered = ordered.unique(["symbol", "first_trade_id"], keep="first", maintain_order=True)
        if "aggregate_id" not in ordered.columns:
            ordered = number_aggregates(ordered)
        # A trade is told after every trade with a smaller id, even where the exchange's clock stepped back.
        ordered = ordered.with_columns(told_at=pl.col("traded_at").cum_max().over("symbol"))
        self._by_symbol = {
            str(key[0]): part for key, part in ordered.partition_by("symbol", as_dict=True, maintain_order=True).items()
        }
        self._told = ordered.sort("told_at", maintain_order=True)
        self._empty = self._told.clear().select(COLUMNS)

    @property
    def starts_at(self) -> int:
        """When the first trade was told."""
        return int(self._told["told_at"].item(0)) if self._told.height else 0

    @property
    def ends_at(self) -> int | None:
        """One microsecond after the last trade."""
        return int(self._told["told_at"].item(-1)) + 1 if self._told.height else 0

    @property
    def rate(self) -> float:
        """Trades a second over all symbols, on average."""
        seconds = ((self.ends_at or 0) - self.starts_at) / SECOND
        return self._told.height / max(seconds, 1.0)

    def between(self, start: int, end: int) -> pl.DataFrame:
        """Return the trades of every symbol told in [start, end), in the order they were told."""
        first, last = (int(self._told["told_at"].search_sorted(time, "left")) for time in (start, end))
        return self._told.slice(first, max(last - first, 0)).select(COLUMNS)

    def trades(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        """Return the rows of a symbol that hold an id of first..last, by id."""
        rows = self._by_symbol.get(symbol)
        if rows is None or last < first:
            return self._empty
        begin = int(rows["last_trade_id"].search_sorted(first, "left"))
        end = int(rows["first_trade_id"].search_sorted(last, "right"))
        return rows.slice(begin, max(end - begin, 0)).select(COLUMNS)

    def id_at(self, symbol: str, time: int) -> int:
        """Return the first id told at or after a time; one past the last when there is none."""
        return self._first_id(symbol, "told_at", time)

    def id_of_aggregate(self, symbol: str, aggregate_id: int) -> int:
        """Return the first trade id of an aggregate; of the next one there is when it does not exist."""
        return self._first_id(symbol, "aggregate_id", aggregate_id)

    def _first_id(self, symbol: str, column: str, least: int) -> int:
        rows = self._by_symbol.get(symbol)
        if rows is None:
            return 0
        place = int(rows[column].search_sorted(least, "left"))
        if place == rows.height:
            return int(rows["last_trade_id"].item(-1)) + 1
        return int(rows["first_trade_id"].item(place))


def number_aggregates(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `aggregate_id` to rows sorted by symbol and id: neighbours with one time, price and side are one."""
    same = pl.lit(value=True)
    for column in ("traded_at", "price", "buyer_is_maker"):
        same = same & (pl.col(column) == pl.col(column).shift(1).over("symbol"))
    follows = pl.col("first_trade_id") == pl.col("last_trade_id").shift(1).over("symbol") + 1
    begins = ~(same & follows).fill_null(value=False)
    return rows.with_columns(aggregate_id=begins.cast(pl.Int64).cum_sum().over("symbol"))


def shifted(rows: pl.DataFrame, microseconds: int) -> pl.DataFrame:
    """Return the rows at times later by so much; a whole number of days keeps every candle's window."""
    return rows.with_columns(pl.col("traded_at") + microseconds)
