"""Is what was stored right? Ids without a hole or a double, and candles equal to the exchange's own klines."""

import polars as pl

from benchmarks.measuring import check
from tapehouse.catalog import CANDLES, KLINES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import COLUMNS

_INTERVAL = "1m"


def check_trades(lake: DeltaLake) -> int:
    """Check that every id between the first and the last of each symbol is in bronze once; return how many."""
    first, last = pl.col("first_trade_id"), pl.col("last_trade_id")
    found = (
        lake.scan(TRADES)
        .group_by("symbol")
        .agg(first.min().alias("from"), last.max().alias("to"), (last - first + 1).sum().alias("ids"))
        .with_columns(expected=pl.col("to") - pl.col("from") + 1)
        .collect()
    )
    different = lake.scan(TRADES).select(pl.struct("symbol", "first_trade_id").n_unique(), pl.len().alias("rows"))
    distinct, rows = different.collect().row(0)
    wrong = found.filter(pl.col("ids") != pl.col("expected"))
    check(wrong.is_empty() and distinct == rows, f"trades are missing or stored twice: {wrong.rows()}")
    return int(found["ids"].sum())


def check_candles(lake: DeltaLake) -> tuple[int, int]:
    """Check closed 1m candles against the klines the exchange told of them; return (compared, equal)."""
    of_minutes = pl.col("interval") == _INTERVAL
    ours = highest_revisions(lake.scan(CANDLES).filter(of_minutes)).filter(pl.col("state") == "closed")
    theirs = lake.scan(KLINES).filter(of_minutes).unique(["symbol", "opened_at"])
    pairs = ours.join(theirs, on=["symbol", "opened_at"], suffix="_told").collect()
    same = pl.all_horizontal([pl.col(name).eq_missing(pl.col(f"{name}_told")) for name in COLUMNS])
    equal = pairs.filter(same).height
    check(equal == pairs.height, f"{pairs.height - equal} of {pairs.height} candles differ from the exchange's")
    return pairs.height, equal
