"""Stored 1m candles beside the exchange's stored klines: which agree, which differ, and which have none to compare."""

from collections import defaultdict
from datetime import UTC, datetime

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES, DISCREPANCIES, KLINES
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import COLUMNS
from tapehouse.market.ledger import Check
from tapehouse.market.proof import PROVED, differences
from tapehouse.market.windows import DAY
from tapehouse.ports import Lake
from tapehouse.streaming.rows import candle_rows, klines_of, to_time


class LeftOver(msgspec.Struct):
    """What the oracle still has to do: windows without a kline, by symbol, and differences nobody has looked into."""

    uncompared: dict[str, set[int]]
    disputes: list[Check]


def tally(lake: Lake, since: int) -> dict[str, tuple[int, int]]:
    """Return (compared, agreeing) by symbol of the 1m candles that opened since then (microseconds)."""
    compared = _side_by_side(lake, since).filter("heard").group_by("symbol").agg(pl.len(), pl.col("agrees").sum())
    return {symbol: (count, agreeing) for symbol, count, agreeing in compared.collect().iter_rows()}


def left_over(lake: Lake, since: int) -> LeftOver:
    """Return what is still to be done of the windows that opened since then (microseconds)."""
    found = _side_by_side(lake, since).filter(~pl.col("heard") | ~pl.col("agrees")).collect()
    opened = found.filter(~pl.col("heard")).select("symbol", pl.col("opened_at").to_physical())
    uncompared: dict[str, set[int]] = defaultdict(set)
    for symbol, at in opened.iter_rows():
        uncompared[symbol].add(at)
    differing = found.lazy().filter("heard").join(_recorded(lake, since), on=["symbol", "opened_at"], how="left")
    unrecorded = pl.col("recorded_at").is_null() | (pl.col("recorded_at") < pl.col("known_at"))
    return LeftOver(uncompared, _checks(differing.filter(unrecorded).collect()))


def dates_between(start: int, end: int) -> list[str]:
    """Return the UTC days that [start, end) (microseconds) touches, in ISO form."""
    first = datetime.fromtimestamp(start // 1_000_000, UTC).date()
    last = datetime.fromtimestamp((end - 1) // 1_000_000, UTC).date()
    return [day.isoformat() for day in pl.date_range(first, last, eager=True)]


def _side_by_side(lake: Lake, since: int) -> pl.LazyFrame:
    """Return closed and quiet candles with a kline's columns (`_told`), whether it was `heard`, whether it `agrees`."""
    chosen = (pl.col("interval") == "1m") & (pl.col("opened_at") >= to_time(since))
    dates = dates_between(since, since + 2 * DAY)
    candles = highest_revisions(lake.scan(CANDLES, dates=dates).filter(chosen))
    proved = candles.filter(pl.col("state").is_in(list(PROVED)))
    told = lake.scan(KLINES, dates=dates).filter(chosen).unique(["symbol", "opened_at"], keep="last")
    klines = told.select("symbol", "opened_at", "received_at", pl.lit(value=True).alias("heard"), *COLUMNS)
    same = [pl.col(name).eq_missing(pl.col(f"{name}_told")) | _untold(name) for name in COLUMNS]
    paired = proved.join(klines, on=["symbol", "opened_at"], how="left", suffix="_told")
    return paired.with_columns(pl.col("heard").fill_null(value=False), agrees=pl.all_horizontal(same))


def _recorded(lake: Lake, since: int) -> pl.LazyFrame:
    """Return when each window was last recorded as a discrepancy."""
    rows = lake.scan(DISCREPANCIES, dates=dates_between(since, since + 2 * DAY))
    return rows.group_by("symbol", "opened_at").agg(pl.col("known_at").max().alias("recorded_at"))


def _checks(differing: pl.DataFrame) -> list[Check]:
    theirs = differing.select(
        "symbol", "interval", "opened_at", "received_at", *(pl.col(f"{name}_told").alias(name) for name in COLUMNS)
    )
    return [
        Check(row.symbol, row.opened_at, differences(row.candle, row.flat, kline), row.revision, agreed_before=False)
        for row, kline in zip(candle_rows(differing), klines_of(theirs), strict=True)
    ]


def _untold(column: str) -> pl.Expr:
    """Whether it is an id of a kline that tells none."""
    told = pl.col(f"{column}_told")
    return told.is_null() if column.endswith("trade_id") else pl.lit(value=False)
