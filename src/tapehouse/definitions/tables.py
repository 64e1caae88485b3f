"""The tables the platform writes: bronze, silver, and the signals."""

import polars as pl

from tapehouse.definitions.table import NOTIONAL, PRICE, TIME, Table

VENUE = "binance"

TRADES = "bronze/trades"
KLINES = "bronze/klines"
REJECTED = "bronze/rejected"
OTHER_EVENTS = "bronze/other_events"
MARKET_DATA = "bronze/market_data"
SENTIMENT = "bronze/sentiment"
NEWS = "bronze/news"
SYMBOLS = "bronze/symbols"
CONTEXT_TABLES = {"market_data": MARKET_DATA, "sentiment": SENTIMENT, "news": NEWS, "symbols": SYMBOLS}
"""The table of each kind of observation about the market's context."""
CANDLES = "silver/candles"
COVERAGE = "silver/coverage"
DISCREPANCIES = "silver/discrepancies"
SIGNALS = "gold/signals"

_TRADES = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "first_trade_id": pl.Int64(),
    "last_trade_id": pl.Int64(),
    "price": PRICE,
    "quantity": PRICE,
    "taker_side": pl.String(),
    "traded_at": TIME,
    "event_at": TIME,
    "received_at": TIME,
    "source": pl.String(),
    "payload": pl.Binary(),
    "date": pl.Date(),
}
_CANDLE = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "interval": pl.String(),
    "opened_at": TIME,
    "open": PRICE,
    "high": PRICE,
    "low": PRICE,
    "close": PRICE,
    "volume": PRICE,
    "quote_volume": NOTIONAL,
    "trades": pl.Int64(),
    "taker_buy_volume": PRICE,
    "taker_buy_quote_volume": NOTIONAL,
    "first_trade_id": pl.Int64(),
    "last_trade_id": pl.Int64(),
}
"""What a candle is, whoever tells of it."""
_KLINES = {
    **_CANDLE,
    "received_at": TIME,
    "payload": pl.Binary(),
    "date": pl.Date(),
}
_REJECTED = {
    "topic": pl.String(),
    "reason": pl.String(),
    "received_at": TIME,
    "payload": pl.Binary(),
    "date": pl.Date(),
}
_OTHER_EVENTS = {
    "event": pl.String(),
    "received_at": TIME,
    "payload": pl.Binary(),
    "date": pl.Date(),
}
_CONTEXT = {
    "source": pl.String(),
    "key": pl.String(),
    "observed_at": TIME,
    "received_at": TIME,
    "known_at": TIME,
    "fields": pl.String(),
    "payload": pl.Binary(),
    "date": pl.Date(),
}
_CANDLES = {
    **_CANDLE,
    "state": pl.String(),
    "revision": pl.Int64(),
    "known_at": TIME,
    "date": pl.Date(),
}
_COVERAGE = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "first_trade_id": pl.Int64(),
    "last_trade_id": pl.Int64(),
    "status": pl.String(),
    "known_at": TIME,
    "date": pl.Date(),
}
_DISCREPANCIES = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "interval": pl.String(),
    "opened_at": TIME,
    "column": pl.String(),
    "ours": pl.String(),
    "theirs": pl.String(),
    "status": pl.String(),
    "known_at": TIME,
    "date": pl.Date(),
}
_SIGNALS = {
    "kind": pl.String(),
    "venue": pl.String(),
    "symbol": pl.String(),
    "interval": pl.String(),
    "opened_at": TIME,
    "score": pl.Float64(),
    "state": pl.String(),
    "evidence": pl.String(),
    "revision": pl.Int64(),
    "known_at": TIME,
    "date": pl.Date(),
}

PLATFORM_TABLES = (
    Table(
        TRADES,
        "a trade as the exchange told it, or an aggregate over several ids at one price",
        "bronze",
        _TRADES,
        sort_by=("symbol", "first_trade_id"),
    ),
    Table(
        KLINES,
        "the exchange's own closed kline: what candles are compared with",
        "bronze",
        _KLINES,
        sort_by=("symbol", "opened_at"),
    ),
    Table(REJECTED, "a message refused, with its bytes and the reason", "bronze", _REJECTED, sort_by=("received_at",)),
    Table(
        OTHER_EVENTS,
        "a message of an event type this version does not know, as it came",
        "bronze",
        _OTHER_EVENTS,
        sort_by=("received_at",),
    ),
    Table(
        MARKET_DATA,
        "a version of what is told about a coin, or about the whole market",
        "bronze",
        _CONTEXT,
        sort_by=("source", "key", "known_at"),
    ),
    Table(
        SENTIMENT,
        "a version of a day's Fear & Greed index",
        "bronze",
        _CONTEXT,
        sort_by=("source", "key", "known_at"),
    ),
    Table(
        NEWS,
        "a version of a story: its title, link and summary, and what it mentions",
        "bronze",
        _CONTEXT,
        sort_by=("source", "key", "known_at"),
    ),
    Table(
        SYMBOLS,
        "a version of what the exchange says of a symbol: its assets, steps and status",
        "bronze",
        _CONTEXT,
        sort_by=("source", "key", "known_at"),
    ),
    Table(
        CANDLES,
        "a revision of a candle; the highest revision counts",
        "silver",
        _CANDLES,
        sort_by=("symbol", "interval", "opened_at", "revision"),
    ),
    Table(
        COVERAGE,
        "a range of trade ids held or missing; the latest `known_at` counts",
        "silver",
        _COVERAGE,
        sort_by=("symbol", "known_at", "first_trade_id"),
    ),
    Table(
        DISCREPANCIES,
        "a column in which a candle and the exchange's kline differ, with both values",
        "silver",
        _DISCREPANCIES,
        sort_by=("symbol", "interval", "opened_at", "known_at"),
    ),
    Table(
        SIGNALS,
        "a revision of a signal; the highest revision counts, and one that is `retracted` says that there is none",
        "gold",
        _SIGNALS,
        sort_by=("symbol", "kind", "opened_at", "revision"),
    ),
)
