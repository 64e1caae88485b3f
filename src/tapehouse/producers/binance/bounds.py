"""What of a trade can be true, as one expression over columns: trades off the wire and out of the archives alike."""

import polars as pl

from tapehouse.market.fixed_point import DECIMAL_PATTERN, LARGEST
from tapehouse.market.windows import DAY
from tapehouse.producers.binance.wire import EARLIEST, LARGEST_NOTIONAL, LARGEST_TRADE_ID, LATEST


def can_be_true(received_at: pl.Expr) -> pl.Expr:
    """Return whether the amounts, the id and the time of a row are within their bounds; a null is not.

    The row has `price_text` and `quantity_text` as told, `price` and `quantity` as `Decimal(38, 8)`, `first_trade_id`,
    and `traded_at` in microseconds; `received_at` likewise.
    """
    units = {name: pl.col(name).to_physical() for name in ("price", "quantity")}
    notional = units["price"].cast(pl.Int128) * units["quantity"].cast(pl.Int128)
    return pl.all_horizontal(
        *(pl.col(f"{name}_text").str.contains(DECIMAL_PATTERN) for name in units),
        *(unit.is_between(1, LARGEST) for unit in units.values()),
        notional <= pl.lit(LARGEST_NOTIONAL, pl.Int128),
        pl.col("first_trade_id").is_between(0, LARGEST_TRADE_ID),
        pl.col("traded_at").is_between(EARLIEST, LATEST - 1),
        pl.col("traded_at") <= received_at + DAY,
    ).fill_null(value=False)
