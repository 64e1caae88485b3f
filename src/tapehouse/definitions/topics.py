"""The topics of the tape on Kafka."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal


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
            "what a source says of itself, told by its producer every 10 s and when it changes",
            "source, or the producer of an exchange",
            cleanup="compact",
            retention=None,
            partitions=1,
            settings=_KEPT_SHORT,
        ),
    )
}
