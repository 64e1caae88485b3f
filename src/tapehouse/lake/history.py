"""The reads everyone shares: trades, candles as known at a time, the exchange's klines, coverage."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import polars as pl

from tapehouse.catalog import CANDLES, COVERAGE, KLINES, TABLES, TRADES
from tapehouse.market.coverage import Ranges, overlay
from tapehouse.ports import Lake

_CANDLE = ("venue", "symbol", "interval", "opened_at")


def trades(
    lake: Lake,
    symbol: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    first_trade_id: int | None = None,
    last_trade_id: int | None = None,
    payload: bool = False,
) -> pl.DataFrame:
    """Return a symbol's trades of [start, end) and ids first..last, in order of id; `payload` only when asked for."""
    rows = lake.scan(TRADES).filter(pl.col("symbol") == symbol, *_within("traded_at", start, end))
    if first_trade_id is not None:
        rows = rows.filter(pl.col("last_trade_id") >= first_trade_id)
    if last_trade_id is not None:
        rows = rows.filter(pl.col("first_trade_id") <= last_trade_id)
    return _chosen(rows, payload=payload).sort("first_trade_id").collect()


def last_trades(lake: Lake, symbol: str, limit: int) -> pl.DataFrame:
    """Return a symbol's last `limit` rows of trades in order of id, reading the newest days first."""
    newest = pl.DataFrame(schema=_chosen(pl.LazyFrame(schema=TABLES[TRADES].schema), payload=False).collect_schema())
    for day in reversed(lake.dates(TRADES)):
        rows = lake.scan(TRADES, dates=[day]).filter(pl.col("symbol") == symbol)
        newest = pl.concat([_tail(rows, limit - newest.height), newest])
        if newest.height >= limit:
            break
    return newest.sort("first_trade_id").tail(limit)


def latest_candles(
    lake: Lake,
    symbol: str | None,
    interval: str,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    limit: int | None = None,
    as_of: datetime | None = None,
) -> pl.DataFrame:
    """Return the highest revision (known at `as_of`) of each candle opened in [start, end), sorted by symbol and time.

    `symbol` None takes all; `limit` keeps the last windows of each symbol.
    """
    rows = lake.scan(CANDLES).filter(pl.col("interval") == interval, *_within("opened_at", start, end))
    if symbol is not None:
        rows = rows.filter(pl.col("symbol") == symbol)
    if as_of is not None:
        rows = rows.filter(pl.col("known_at") <= as_of)
    candles = highest_revisions(rows).sort("symbol", "opened_at").collect()
    return candles if limit is None else candles.group_by("symbol", maintain_order=True).tail(limit)


def highest_revisions(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return of each candle the row that counts, in no order."""
    return rows.sort("revision").unique(_CANDLE, keep="last")


def klines(
    lake: Lake, symbol: str, interval: str, start: datetime | None = None, end: datetime | None = None
) -> pl.DataFrame:
    """Return the exchange's own closed klines opened in [start, end), one a window, sorted by time."""
    rows = lake.scan(KLINES).filter(
        pl.col("symbol") == symbol, pl.col("interval") == interval, *_within("opened_at", start, end)
    )
    newest = rows.sort("received_at").unique(_CANDLE, keep="last")
    return _chosen(newest, payload=False).sort("opened_at").collect()


def latest_versions(
    lake: Lake, table: str, *conditions: pl.Expr, dates: Sequence[str] | None = None, as_of: datetime | None = None
) -> pl.DataFrame:
    """Return the newest version (known at `as_of`) of each key of a table of the market's context, by what it is as of.

    `conditions` are on what never changes about a key; `dates` are ISO days of receipt. The payload is left out.
    """
    rows = lake.scan(table, dates=dates).filter(*conditions).drop("payload")
    if as_of is not None:
        rows = rows.filter(pl.col("known_at") <= as_of)
    newest = rows.sort("known_at").unique(("source", "key"), keep="last")
    return newest.sort("observed_at", "source", "key").collect()


def coverage(lake: Lake, symbol: str) -> tuple[Ranges, Ranges]:
    """Return the ids of a symbol that are held and those known to be missing, later knowledge overriding earlier."""
    told = (
        lake.scan(COVERAGE)
        .filter(pl.col("symbol") == symbol)
        .with_columns(held=pl.col("status") == "held")
        .sort("known_at", "held", maintain_order=True)
        .select("first_trade_id", "last_trade_id", "held")
        .collect()
    )
    return overlay(told.iter_rows())


def _within(column: str, start: datetime | None, end: datetime | None) -> Iterator[pl.Expr]:
    """Yield the bounds of [start, end), each with its day so that whole partitions are passed over."""
    if start is not None:
        yield pl.col("date") >= start.astimezone(UTC).date()
        yield pl.col(column) >= start
    if end is not None:
        yield pl.col("date") <= end.astimezone(UTC).date()
        yield pl.col(column) < end


def _chosen(rows: pl.LazyFrame, *, payload: bool) -> pl.LazyFrame:
    return rows if payload else rows.drop("payload")


def _tail(rows: pl.LazyFrame, limit: int) -> pl.DataFrame:
    """Return at least the `limit` rows with the highest ids (all where there are fewer), reading few of the others."""
    first, last = rows.select(pl.min("first_trade_id"), pl.max("last_trade_id")).collect().row(0)
    chosen = _chosen(rows, payload=False)
    reach = 2 * limit
    while first is not None:
        found = chosen.filter(pl.col("last_trade_id") > last - reach).collect()
        if found.height >= limit or reach > last - first:
            return found
        reach *= 16
    return chosen.head(0).collect()
