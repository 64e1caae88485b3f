"""Every table and topic: its name, what is in it, its columns, order and writer. Outside tools rely on these names."""

from collections.abc import Mapping

from tapehouse.definitions.marts import (
    DIM_DATE,
    DIM_SOURCE,
    DIM_SYMBOL,
    MARKET_DAYS,
    MARKET_SNAPSHOTS,
    MART_TABLES,
    NEWS_ITEMS,
    SENTIMENT_DAILY,
    SYMBOL_HOURS,
)
from tapehouse.definitions.table import AMOUNT, EMBEDDED, NOTIONAL, PRICE, STREAM, TIME, WAREHOUSE, Profile, Table
from tapehouse.definitions.tables import (
    CANDLES,
    CONTEXT_TABLES,
    COVERAGE,
    DISCREPANCIES,
    KLINES,
    MARKET_DATA,
    NEWS,
    OTHER_EVENTS,
    PLATFORM_TABLES,
    REJECTED,
    SENTIMENT,
    SIGNALS,
    SYMBOLS,
    TRADES,
    VENUE,
)
from tapehouse.definitions.topics import (
    CANDLES_TOPIC,
    CONTEXT_TOPICS,
    DEAD_LETTERS,
    KLINES_TOPIC,
    POSITIONS,
    SOURCE_STATUS,
    TOPICS,
    TRADES_TOPIC,
    Topic,
)

TABLES: Mapping[str, Table] = {table.name: table for table in (*PLATFORM_TABLES, *MART_TABLES)}
MARTS = tuple(table.name for table in MART_TABLES)
"""The tables that the warehouse publishes."""

__all__ = [
    "AMOUNT",
    "CANDLES",
    "CANDLES_TOPIC",
    "CONTEXT_TABLES",
    "CONTEXT_TOPICS",
    "COVERAGE",
    "DEAD_LETTERS",
    "DIM_DATE",
    "DIM_SOURCE",
    "DIM_SYMBOL",
    "DISCREPANCIES",
    "EMBEDDED",
    "KLINES",
    "KLINES_TOPIC",
    "MARKET_DATA",
    "MARKET_DAYS",
    "MARKET_SNAPSHOTS",
    "MARTS",
    "NEWS",
    "NEWS_ITEMS",
    "NOTIONAL",
    "OTHER_EVENTS",
    "POSITIONS",
    "PRICE",
    "REJECTED",
    "SENTIMENT",
    "SENTIMENT_DAILY",
    "SIGNALS",
    "SOURCE_STATUS",
    "STREAM",
    "SYMBOLS",
    "SYMBOL_HOURS",
    "TABLES",
    "TIME",
    "TOPICS",
    "TRADES",
    "TRADES_TOPIC",
    "VENUE",
    "WAREHOUSE",
    "Profile",
    "Table",
    "Topic",
]
