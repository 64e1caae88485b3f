"""The table of reductions as Spark columns (law 4): decoded trades become one candle a symbol and minute, and runs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from pyspark.sql import Column, DataFrame, functions as sql

from tapehouse.market.candles import COLUMNS, REDUCTIONS, Candle, Reduction
from tapehouse.market.events import Trade
from tapehouse.market.windows import MINUTE
from tapehouse.streaming.runs import Run

UNITS = "decimal(38,0)"
"""Whole units: a notional has up to 31 digits, and a sum of 10^6 of them still fits."""

Row = Mapping[str, Any]


class Reduced(msgspec.Struct, frozen=True):
    """What the trades of a symbol in a batch came to; `run` is None where their ids are not one run in order."""

    symbol: str
    rows: int
    run: Run | None
    received_from: int
    received_to: int
    partition: int


def reduce_trades(decoded: DataFrame) -> list[Reduced]:
    """Reduce decoded trades (`spark_records.DECODED`) in one job; one entry a symbol."""
    by_symbol: dict[str, list[Row]] = defaultdict(list)
    for row in reduced_frame(decoded).toArrow().to_pylist():
        by_symbol[row["symbol"]].append(row)
    return [_reduced(symbol, rows) for symbol, rows in by_symbol.items()]


def reduced_frame(decoded: DataFrame) -> DataFrame:
    """Return one row a symbol and minute: its candle, and what is needed to tell whether its ids are a run."""
    trade_id = sql.col("trade_id")
    told = decoded.filter(sql.col("symbol").isNotNull())
    minute = (sql.col("traded_at") - sql.col("traded_at") % sql.lit(MINUTE)).alias("minute")
    of_last = [sql.max_by(name, trade_id).alias(f"last_{name}") for name in _LAST]
    return (
        told.select("*", minute, *_as_candle())
        .groupBy("symbol", "minute")
        .agg(
            *(_expression(reduction).alias(reduction.column) for reduction in REDUCTIONS),
            *of_last,
            sql.min_by("traded_at", trade_id).alias("first_traded_at"),
            sql.every("follows").alias("follows"),
            sql.min("received_at").alias("received_from"),
            sql.max("received_at").alias("received_to"),
            sql.min("partition").alias("partition"),
            sql.max("partition").alias("last_partition"),
        )
    )


_LAST = ("price", "quantity", "bought", "traded_at", "event_at", "received_at")


def _as_candle() -> list[Column]:
    """Return the columns of a candle of one trade."""
    price, quantity = sql.col("price"), sql.col("quantity").cast(UNITS)
    bought = sql.when(sql.col("bought"), quantity).otherwise(sql.lit(0).cast(UNITS))
    notional = price.cast(UNITS)
    return [
        *(price.alias(name) for name in ("open", "high", "low", "close")),
        quantity.alias("volume"),
        (quantity * notional).alias("quote_volume"),
        sql.lit(1).cast("long").alias("trades"),
        bought.alias("taker_buy_volume"),
        (bought * notional).alias("taker_buy_quote_volume"),
        sql.col("trade_id").alias("first_trade_id"),
        sql.col("trade_id").alias("last_trade_id"),
    ]


def _expression(reduction: Reduction) -> Column:
    match reduction.how:
        case "first":
            return sql.min_by(reduction.column, reduction.by)
        case "last":
            return sql.max_by(reduction.column, reduction.by)
        case "max":
            return sql.max(reduction.column)
        case "min":
            return sql.min(reduction.column)
        case "sum":
            return sql.sum(reduction.column)


def _reduced(symbol: str, rows: list[Row]) -> Reduced:
    return Reduced(
        symbol=symbol,
        rows=sum(row["trades"] for row in rows),
        run=_run(symbol, rows),
        received_from=min(row["received_from"] for row in rows),
        received_to=max(row["received_to"] for row in rows),
        partition=rows[0]["partition"],
    )


def _run(symbol: str, rows: list[Row]) -> Run | None:
    """Return the trades as a run when each id is the one after that before it, in one partition."""
    if not all(row["follows"] for row in rows) or len(set(_partitions(rows))) > 1:
        return None
    first = min(rows, key=lambda row: row["first_trade_id"])
    last = max(rows, key=lambda row: row["last_trade_id"])
    return Run(
        first_trade_id=first["first_trade_id"],
        first_traded_at=first["first_traded_at"],
        last=_trade(symbol, last),
        candles=[(row["minute"], Candle(*(int(row[name]) for name in COLUMNS))) for row in rows],
    )


def _partitions(rows: list[Row]) -> Iterable[int]:
    for row in rows:
        yield from (row["partition"], row["last_partition"])


def _trade(symbol: str, row: Row) -> Trade:
    return Trade(
        symbol=symbol,
        first_trade_id=row["last_trade_id"],
        last_trade_id=row["last_trade_id"],
        price=row["last_price"],
        quantity=row["last_quantity"],
        taker_side="buy" if row["last_bought"] else "sell",
        traded_at=row["last_traded_at"],
        event_at=row["last_event_at"],
        received_at=row["last_received_at"],
        source="stream",
    )
