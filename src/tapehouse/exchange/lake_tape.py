"""The own lake as a tape: what was traded on some days is traded again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from tapehouse.catalog import TRADES
from tapehouse.errors import ConfigError
from tapehouse.exchange.recordings import pairs_of
from tapehouse.exchange.tapes import HeldTape, shifted
from tapehouse.market.windows import MINUTE
from tapehouse.ports import Lake


def read_lake(lake: Lake, dates: Sequence[str] = (), *, begins_at: int | None = None) -> HeldTape:
    """Return the trades of some ISO days (yesterday's unless told) as a tape.

    `begins_at` (microseconds) moves it by whole minutes so that it begins in that minute. Raises ConfigError when the
    lake holds no trades of these days. The days are held in memory: some 100 bytes a trade.
    """
    days = list(dates) or [(datetime.now(UTC) - timedelta(days=1)).date().isoformat()]
    rows = lake.scan(TRADES, dates=days).select(
        "symbol",
        "first_trade_id",
        "last_trade_id",
        pl.col("price", "quantity").to_physical().cast(pl.Int64),
        buyer_is_maker=pl.col("taker_side") == "sell",
        traded_at=pl.col("traded_at").to_physical(),
    )
    frame = rows.collect()
    if not frame.height:
        raise ConfigError(f"the lake holds no trades of {', '.join(days)}")
    if begins_at is not None:
        first = int(frame.select(pl.col("traded_at").min()).item())
        frame = shifted(frame, begins_at - begins_at % MINUTE - (first - first % MINUTE))
    return HeldTape(frame, pairs_of(frame))
