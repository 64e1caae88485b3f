"""The rows of REST answers, field by field as Binance writes them.

`divisor` turns microseconds into the unit asked for.
"""

from typing import Any

import polars as pl

from tapehouse.exchange.klines import Window
from tapehouse.exchange.messages import decimal_text, notional_text, price_text
from tapehouse.market.candles import Candle
from tapehouse.market.windows import INTERVALS

Row = dict[str, Any]


def trade_rows(rows: pl.DataFrame, divisor: int) -> list[Row]:
    """Return rows of `trades` and `historicalTrades`; a row over several ids is no trade and is left out."""
    single = rows.filter(pl.col("first_trade_id") == pl.col("last_trade_id"))
    shown = single.select(
        id="first_trade_id",
        price=decimal_text("price"),
        qty=decimal_text("quantity"),
        quoteQty=pl.col("price").cast(pl.Int128) * pl.col("quantity").cast(pl.Int128),
        time=pl.col("traded_at") // divisor,
        isBuyerMaker="buyer_is_maker",
        isBestMatch=pl.lit(value=True),
    )
    return [row | {"quoteQty": notional_text(row["quoteQty"])} for row in shown.iter_rows(named=True)]


def aggregate_rows(aggregates: pl.DataFrame, divisor: int) -> list[Row]:
    """Return rows of `aggTrades`."""
    shown = aggregates.select(
        a="aggregate_id",
        p=decimal_text("price"),
        q=decimal_text("quantity"),
        f="first_trade_id",
        l="last_trade_id",
        T=pl.col("traded_at") // divisor,
        m="buyer_is_maker",
        M=pl.lit(value=True),
    )
    return shown.to_dicts()


def kline_row(window: Window, interval: str, divisor: int) -> list[Any]:
    """Return a row of `klines`."""
    close = window.close
    shown = window.candle or Candle(close, close, close, close, 0, 0, 0, 0, 0, -1, -1)
    return [
        window.opened_at // divisor,
        price_text(shown.open),
        price_text(shown.high),
        price_text(shown.low),
        price_text(shown.close),
        price_text(shown.volume),
        (window.opened_at + INTERVALS[interval]) // divisor - 1,
        notional_text(shown.quote_volume),
        shown.trades,
        price_text(shown.taker_buy_volume),
        notional_text(shown.taker_buy_quote_volume),
        "0",
    ]
