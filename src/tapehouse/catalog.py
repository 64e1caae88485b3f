"""Every table: its name, layer, schema, partitions and writer. Outside tools rely on these names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import polars as pl

VENUE = "binance"

PRICE = pl.Decimal(38, 8)
"""Prices and base quantities: Binance gives eight decimals."""
NOTIONAL = pl.Decimal(38, 16)
"""Price times quantity: sixteen decimals hold every product exactly."""
AMOUNT = pl.Decimal(38, 18)
"""Amounts in US dollars, and of coins, as CoinGecko tells them."""
TIME = pl.Datetime("us", "UTC")

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
DIM_DATE, DIM_SOURCE, DIM_SYMBOL = "gold/dim_date", "gold/dim_source", "gold/dim_symbol"
MARKET_SNAPSHOTS, SENTIMENT_DAILY, NEWS_ITEMS = "gold/fct_market_snapshot", "gold/fct_sentiment_daily", "gold/fct_news"
SYMBOL_HOURS, MARKET_DAYS = "gold/agg_symbol_hour", "gold/agg_market_day"


EMBEDDED, STREAM, WAREHOUSE = "embedded", "stream", "warehouse"
"""The writers: the platform in one process, `tapehouse stream` (the driver of Spark), and `tapehouse warehouse`."""

Profile = Literal["embedded", "cluster"]


@dataclass(frozen=True)
class Table:
    """A Delta table of the platform; `sort_by` is the order rows are compacted into.

    Law: one engine, delta-rs, commits to every table, in each profile from one process, and upkeep is that process's.
    In a bucket two engines that write one table lose each other's commits. `writer` is the process of both profiles
    where it is not the platform's own.
    """

    name: str
    row: str
    layer: Literal["bronze", "silver", "gold"]
    schema: Mapping[str, pl.DataType]
    sort_by: tuple[str, ...]
    partition_by: tuple[str, ...] = ("date",)
    writer: str | None = None

    @property
    def writers(self) -> Mapping[Profile, str]:
        """The one writer of each profile."""
        if self.writer is not None:
            return {"embedded": self.writer, "cluster": self.writer}
        return {"embedded": EMBEDDED, "cluster": STREAM}


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
_KLINES = {
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
_DIM_DATE = {
    "date": pl.Date(),
    **dict.fromkeys(("year", "quarter", "month", "day", "iso_year", "iso_week", "iso_weekday"), pl.Int64()),
    "is_weekend": pl.Boolean(),
}
_DIM_SOURCE = {
    "source": pl.String(),
    "kind": pl.String(),
    "upstream": pl.String(),
    "first_known_at": TIME,
    "last_known_at": TIME,
}
_DIM_SYMBOL = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "base_asset": pl.String(),
    "quote_asset": pl.String(),
    "tick_size": PRICE,
    "step_size": PRICE,
    "status": pl.String(),
    "coingecko_id": pl.String(),
    "valid_from": TIME,
    "valid_to": TIME,
    "is_current": pl.Boolean(),
}
_MARKET_SNAPSHOTS = {
    "source": pl.String(),
    "coin": pl.String(),
    "observed_at": TIME,
    "price": AMOUNT,
    "market_cap": AMOUNT,
    "volume_24h": AMOUNT,
    "circulating_supply": AMOUNT,
    "market_cap_rank": pl.Int64(),
    "known_at": TIME,
    "loaded_at": TIME,
    "date": pl.Date(),
}
_SENTIMENT_DAILY = {
    "source": pl.String(),
    "date": pl.Date(),
    "value": pl.Int64(),
    "classification": pl.String(),
    "known_at": TIME,
    "loaded_at": TIME,
}
_NEWS_ITEMS = {
    "source": pl.String(),
    "key": pl.String(),
    "story": pl.String(),
    "published_at": TIME,
    "title": pl.String(),
    "link": pl.String(),
    "publisher": pl.String(),
    "tickers": pl.List(pl.String()),
    "sentiment": pl.Float64(),
    "tone": pl.String(),
    "known_at": TIME,
    "loaded_at": TIME,
    "date": pl.Date(),
}
_SYMBOL_HOURS = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "opened_at": TIME,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), PRICE),
    "quote_volume": NOTIONAL,
    "trades": pl.Int64(),
    "taker_buy_volume": PRICE,
    "taker_buy_quote_volume": NOTIONAL,
    "vwap": PRICE,
    **dict.fromkeys(("return", "volatility", "taker_imbalance"), pl.Float64()),
    **dict.fromkeys(("busiest_price", "value_area_low", "value_area_high"), PRICE),
    **dict.fromkeys(("signals", "spikes", "news"), pl.Int64()),
    "news_sentiment": pl.Float64(),
    "fear_greed": pl.Int64(),
    "completeness": pl.Float64(),
    "corrections": pl.Int64(),
    "known_at": TIME,
    "loaded_at": TIME,
    "date": pl.Date(),
}
_MARKET_DAYS = {
    "date": pl.Date(),
    "symbols": pl.Int64(),
    **dict.fromkeys(("mean_return", "btc_return", "mean_correlation"), pl.Float64()),
    "dollar_volume": NOTIONAL,
    "market_cap": AMOUNT,
    **dict.fromkeys(("btc_dominance", "eth_dominance"), pl.Float64()),
    **dict.fromkeys(("fear_greed", "fear_greed_change"), pl.Int64()),
    "fear_greed_return_correlation": pl.Float64(),
    "news": pl.Int64(),
    "spikes": pl.Int64(),
    "completeness": pl.Float64(),
}


def _mart(name: str, row: str, schema: Mapping[str, pl.DataType], sort_by: tuple[str, ...], *by: str) -> Table:
    """Return a table the warehouse publishes; `by` are its partitions."""
    return Table(name, row, "gold", schema, sort_by, by, WAREHOUSE)


TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
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
        Table(
            REJECTED, "a message refused, with its bytes and the reason", "bronze", _REJECTED, sort_by=("received_at",)
        ),
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
        _mart(DIM_DATE, "a UTC day from 2009 to 2040", _DIM_DATE, ("date",)),
        _mart(DIM_SOURCE, "a source: the exchange, a kind of CoinGecko's answers, a feed", _DIM_SOURCE, ("source",)),
        _mart(DIM_SYMBOL, "a version of what is known of a symbol", _DIM_SYMBOL, ("venue", "symbol", "valid_from")),
        _mart(
            MARKET_SNAPSHOTS,
            "what a source tells of a coin at a moment, in US dollars",
            _MARKET_SNAPSHOTS,
            ("coin", "observed_at"),
            "date",
        ),
        _mart(SENTIMENT_DAILY, "a day's Fear & Greed index", _SENTIMENT_DAILY, ("source", "date")),
        _mart(
            NEWS_ITEMS, "an item of news as it was last told", _NEWS_ITEMS, ("published_at", "source", "key"), "date"
        ),
        _mart(SYMBOL_HOURS, "an hour of a symbol", _SYMBOL_HOURS, ("symbol", "opened_at"), "date"),
        _mart(MARKET_DAYS, "a UTC day of the market as a whole", _MARKET_DAYS, ("date",)),
    )
}
MARTS = tuple(name for name, table in TABLES.items() if table.writer == WAREHOUSE)
"""The tables that the warehouse publishes."""


@dataclass(frozen=True)
class Topic:
    """A Kafka topic of the platform; `settings` are further ones of Kafka's own, by Kafka's names.

    `partitions` None takes as many as the settings say; `retention` None keeps the newest message of each key.
    """

    name: str
    message: str
    key: str
    cleanup: Literal["delete", "compact"] = "delete"
    retention: timedelta | None = timedelta(days=7)
    partitions: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


TRADES_TOPIC = "crypto-prices"
KLINES_TOPIC = "klines"
CANDLES_TOPIC = "candles"
CONTEXT_TOPICS = {"market_data": "market-data", "sentiment": "sentiment", "news": "news", "symbols": "symbols"}
"""The topic of each kind of observation about the market's context."""
DEAD_LETTERS = "dead-letters"
POSITIONS = "producer-positions"
SOURCE_STATUS = "source-status"

_KEPT_SHORT = {"segment.bytes": "8388608", "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}
"""Kafka's settings of a topic that is read from its beginning at every start, so that it is compacted often."""

TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(TRADES_TOPIC, "a trade as the exchange told it, or a row of its answer about trades", "venue:symbol"),
        Topic(KLINES_TOPIC, "an update of a kline of the exchange", "venue:symbol"),
        Topic(CONTEXT_TOPICS["market_data"], "an item of an answer about coins or the whole market", "source"),
        Topic(CONTEXT_TOPICS["sentiment"], "a value of the Fear & Greed index", "source"),
        Topic(CONTEXT_TOPICS["news"], "an item of a feed", "source"),
        Topic(CONTEXT_TOPICS["symbols"], "what the exchange says of a symbol", "source"),
        Topic(CANDLES_TOPIC, "a revision of a candle, told once it is in `silver/candles`", "venue:symbol"),
        Topic(
            DEAD_LETTERS,
            "a message that is refused or of a kind nobody knows, with the reason",
            "venue:symbol or source",
        ),
        Topic(
            POSITIONS,
            "which trade ids of a symbol a producer has put on the tape",
            "producer:venue:symbol",
            cleanup="compact",
            retention=None,
            partitions=1,
            settings=_KEPT_SHORT,
        ),
        Topic(
            SOURCE_STATUS,
            "what a polled source says of itself, told by its producer every 10 s and when it changes",
            "source",
            cleanup="compact",
            retention=None,
            partitions=1,
            settings=_KEPT_SHORT,
        ),
    )
}
