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
TIME = pl.Datetime("us", "UTC")

TRADES = "bronze/trades"
KLINES = "bronze/klines"
REJECTED = "bronze/rejected"
OTHER_EVENTS = "bronze/other_events"
MARKET_DATA = "bronze/market_data"
SENTIMENT = "bronze/sentiment"
NEWS = "bronze/news"
CONTEXT_TABLES = {"market_data": MARKET_DATA, "sentiment": SENTIMENT, "news": NEWS}
"""The table of each kind of observation about the market's context."""
CANDLES = "silver/candles"
COVERAGE = "silver/coverage"
DISCREPANCIES = "silver/discrepancies"
SIGNALS = "gold/signals"


EMBEDDED, STREAM = "embedded", "stream"
"""The writers: the platform in one process, and `tapehouse stream`, the driver of Spark."""

Profile = Literal["embedded", "cluster"]


@dataclass(frozen=True)
class Table:
    """A Delta table of the platform; `sort_by` is the order rows are compacted into.

    Law: one engine, delta-rs, commits to every table, in each profile from one process, and upkeep is that process's.
    In a bucket two engines that write one table lose each other's commits.
    """

    name: str
    row: str
    layer: Literal["bronze", "silver", "gold"]
    schema: Mapping[str, pl.DataType]
    sort_by: tuple[str, ...]
    partition_by: tuple[str, ...] = ("date",)

    @property
    def writers(self) -> Mapping[Profile, str]:
        """The one writer of each profile."""
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
}


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
CONTEXT_TOPICS = {"market_data": "market-data", "sentiment": "sentiment", "news": "news"}
"""The topic of each kind of observation about the market's context."""
DEAD_LETTERS = "dead-letters"
POSITIONS = "producer-positions"

TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(TRADES_TOPIC, "a trade as the exchange told it, or a row of its answer about trades", "venue:symbol"),
        Topic(KLINES_TOPIC, "an update of a kline of the exchange", "venue:symbol"),
        Topic(CONTEXT_TOPICS["market_data"], "an item of an answer about coins or the whole market", "source"),
        Topic(CONTEXT_TOPICS["sentiment"], "a value of the Fear & Greed index", "source"),
        Topic(CONTEXT_TOPICS["news"], "an item of a feed", "source"),
        Topic("candles", "a revision of a candle", "venue:symbol"),
        Topic(DEAD_LETTERS, "a message that is refused or of a kind nobody knows, with the reason", "venue:symbol"),
        Topic(
            POSITIONS,
            "which trade ids of a symbol a producer has put on the tape",
            "producer:venue:symbol",
            cleanup="compact",
            retention=None,
            partitions=1,  # it is read whole at every start of a producer, so it is kept short
            settings={"segment.bytes": "8388608", "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"},
        ),
    )
}
