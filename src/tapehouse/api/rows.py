"""Trades and candles as the API says them: the tables' column names, from memory and from the lake alike."""

from collections.abc import Iterator

import polars as pl

from tapehouse.api.encoding import DecimalForm, time_text
from tapehouse.catalog import VENUE
from tapehouse.market.candles import Candle
from tapehouse.market.events import Trade
from tapehouse.market.fixed_point import NOTIONAL_SCALE, PRICE_SCALE
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import closes_at, is_final

_TRADE_COLUMNS = Trade.__struct_fields__
_PRICES = ("open", "high", "low", "close")


def trade_fields(trade: Trade, decimal: DecimalForm) -> dict[str, object]:
    """Return the fields of a trade."""
    return {
        "venue": VENUE,
        "symbol": trade.symbol,
        "first_trade_id": trade.first_trade_id,
        "last_trade_id": trade.last_trade_id,
        "price": decimal(trade.price, PRICE_SCALE),
        "quantity": decimal(trade.quantity, PRICE_SCALE),
        "taker_side": trade.taker_side,
        "traded_at": time_text(trade.traded_at),
        "event_at": None if trade.event_at is None else time_text(trade.event_at),
        "received_at": time_text(trade.received_at),
        "source": trade.source,
    }


def candle_fields(row: CandleRow, decimal: DecimalForm, horizon: int) -> dict[str, object]:
    """Return the fields of a candle; a closed one that the watermark has passed at `horizon` is said to be final."""
    final = row.state == "closed" and is_final(row.opened_at, row.interval, horizon)
    return {
        "venue": VENUE,
        "symbol": row.symbol,
        "interval": row.interval,
        "opened_at": time_text(row.opened_at),
        "closes_at": time_text(closes_at(row.opened_at, row.interval)),
        **_prices(row, decimal),
        **_sums(row.candle, decimal),
        "state": "final" if final else row.state,
        "revision": row.revision,
        "known_at": time_text(row.known_at) if row.known_at else None,
    }


def vwap(candle: Candle) -> int | None:
    """Return quote volume by volume in units of 10^-8, rounded half to even; None without volume."""
    if not candle.volume:
        return None
    units, rest = divmod(candle.quote_volume, candle.volume)
    half = 2 * rest - candle.volume
    return units + (half > 0 or (half == 0 and units % 2 == 1))


def _prices(row: CandleRow, decimal: DecimalForm) -> dict[str, object]:
    if row.candle is not None:
        return {name: decimal(getattr(row.candle, name), PRICE_SCALE) for name in _PRICES}
    flat = None if row.flat is None else decimal(row.flat, PRICE_SCALE)
    return dict.fromkeys(_PRICES, flat)


def _sums(candle: Candle | None, decimal: DecimalForm) -> dict[str, object]:
    mean = None if candle is None else vwap(candle)
    return {
        "volume": decimal(candle.volume if candle else 0, PRICE_SCALE),
        "quote_volume": decimal(candle.quote_volume if candle else 0, NOTIONAL_SCALE),
        "trades": candle.trades if candle else 0,
        "taker_buy_volume": decimal(candle.taker_buy_volume if candle else 0, PRICE_SCALE),
        "taker_buy_quote_volume": decimal(candle.taker_buy_quote_volume if candle else 0, NOTIONAL_SCALE),
        "vwap": None if mean is None else decimal(mean, PRICE_SCALE),
        "first_trade_id": candle.first_trade_id if candle else None,
        "last_trade_id": candle.last_trade_id if candle else None,
    }


def trades_of(frame: pl.DataFrame) -> Iterator[Trade]:
    """Read rows of bronze/trades."""
    for row in _units(frame).select(_TRADE_COLUMNS).iter_rows():
        yield Trade(*row)


def _units(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn decimals and times into integers of their units."""
    return frame.with_columns(pl.col(pl.Decimal, pl.Datetime).to_physical())
