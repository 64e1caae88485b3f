"""Is what was stored right? Ids without a hole or a double, candles equal to what the exchange and the minutes tell."""

import polars as pl

from benchmarks.measuring import check
from tapehouse.catalog import CANDLES, KLINES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import COLUMNS
from tapehouse.market.windows import INTERVALS

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


def receipt_lag(lake: DeltaLake, began: int, ended: int) -> float:
    """Return the p99 of seconds from a trade's time to its receipt, of those received meanwhile (microseconds).

    Check that it is small: a socket that is read more slowly than it is written makes all else look good.
    """
    received, traded = (pl.col(name).to_physical() for name in ("received_at", "traded_at"))
    meanwhile = lake.scan(TRADES).filter(received.is_between(began, ended))
    lag = float(meanwhile.select(((received - traded) / 1e6).quantile(0.99)).collect().item())
    check(lag < 1, f"trades are received {lag:.1f} s after they were told")
    return lag


def check_candles(lake: DeltaLake) -> tuple[int, int]:
    """Check closed 1m candles against the klines the exchange told of them; return (compared, equal)."""
    of_minutes = pl.col("interval") == _INTERVAL
    ours = highest_revisions(lake.scan(CANDLES).filter(of_minutes)).filter(pl.col("state") == "closed")
    theirs = lake.scan(KLINES).filter(of_minutes).unique(["symbol", "opened_at"])
    pairs = ours.join(theirs, on=["symbol", "opened_at"], suffix="_told").collect()
    same = pl.all_horizontal([pl.col(name).eq_missing(pl.col(f"{name}_told")) for name in COLUMNS])
    equal = pairs.filter(same).height
    check(equal == pairs.height, f"{pairs.height - equal} of {pairs.height} candles differ from the exchange's")
    check(pairs.height > 0, "no minute was closed, so none could be compared")
    return pairs.height, equal


def check_longer(lake: DeltaLake) -> int:
    """Check the closed candles of every longer interval against the minutes in the lake; return how many there are."""
    rows = highest_revisions(lake.scan(CANDLES)).filter(pl.col("state") == "closed").collect()
    minutes = rows.filter(pl.col("interval") == _INTERVAL).sort("first_trade_id")
    compared = 0
    for interval in INTERVALS.keys() - {_INTERVAL}:
        made = minutes.group_by("symbol", pl.col("opened_at").dt.truncate(interval)).agg(
            pl.col("open", "first_trade_id").first(),
            pl.col("close", "last_trade_id").last(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume").sum(),
        )
        stored = rows.filter(pl.col("interval") == interval)
        pairs = stored.join(made, on=["symbol", "opened_at"], how="left", suffix="_made")
        same = pl.all_horizontal([pl.col(name) == pl.col(f"{name}_made") for name in COLUMNS])
        wrong = pairs.filter(~same.fill_null(value=False))
        check(wrong.is_empty(), f"{wrong.height} candles of {interval} are not what their minutes make")
        compared += stored.height
    return compared
