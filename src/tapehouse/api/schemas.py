"""The shapes of the answers, for the documentation: the bytes are written by `encoding`, every digit kept."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field, WithJsonSchema

Exact = Annotated[
    Decimal, WithJsonSchema({"type": "number", "format": "decimal", "description": "Every digit; no trailing zeros."})
]


class Price(BaseModel):
    """The last trade of a symbol."""

    venue: str
    symbol: str
    price: Exact
    quantity: Exact
    taker_side: Literal["buy", "sell"] = Field(description="Who crossed the spread.")
    first_trade_id: int
    last_trade_id: int
    traded_at: datetime = Field(description="The exchange's time of the trade; candles are made by it.")
    event_at: datetime | None = Field(description="When the exchange sent it.")
    received_at: datetime = Field(description="When it came here, on our clock.")
    source: Literal["stream", "rest", "archive"]


class LatestPrices(BaseModel):
    """The last trade of every symbol, from memory."""

    prices: list[Price]


class Trades(BaseModel):
    """The last trades of a symbol, newest last."""

    symbol: str
    count: int
    trades: list[Price]


class Candle(BaseModel):
    """One window, the highest revision of it."""

    venue: str
    symbol: str
    interval: str
    opened_at: datetime
    closes_at: datetime = Field(description="The first time that is no longer in the window.")
    open: Exact | None
    high: Exact | None
    low: Exact | None
    close: Exact | None
    volume: Exact
    quote_volume: Exact
    trades: int = Field(description="How many trade ids are in it.")
    taker_buy_volume: Exact
    taker_buy_quote_volume: Exact
    vwap: Exact | None = Field(description="quote_volume / volume, rounded to 8 places; null without volume.")
    first_trade_id: int | None
    last_trade_id: int | None
    state: Literal["open", "closed", "final", "gap", "quiet"] = Field(
        description="open: still filling. closed: proved whole. final: closed, and the 5-minute watermark has passed. "
        "gap: ids are known to be missing. quiet: proved that no trade happened."
    )
    revision: int = Field(description="Counts from 1; 0 while open.")
    known_at: datetime | None = Field(description="When this revision was written; null while open.")


class Candles(BaseModel):
    """Windows in order of time, the open one last."""

    symbol: str
    interval: str
    count: int
    next_start: datetime | None = Field(description="The `start` that goes on from here, when `limit` cut the answer.")
    candles: list[Candle]


class CoverageRange(BaseModel):
    """Consecutive trade ids."""

    first_trade_id: int
    last_trade_id: int
    status: Literal["held", "missing"]


class Coverage(BaseModel):
    """Which of a symbol's trades are held. Nothing is claimed about ids before the first."""

    symbol: str
    first_trade_id: int | None
    last_trade_id: int | None
    missing_trades: int
    checked_candles: int = Field(
        description="Closed 1m candles compared with the exchange's own: those of the day before the start, and since."
    )
    agreeing_candles: int = Field(description="Those equal to it in every field.")
    uncompared_candles: int = Field(
        description="Closed 1m candles of the last day whose kline has not come; after a minute it is asked for."
    )
    truncated: bool = Field(description="Whether there are more ranges than are listed; the newest are.")
    ranges: list[CoverageRange]


class Health(BaseModel):
    """The health of the data now."""

    status: Literal["ok", "degraded", "failing"]
    reasons: list[str] = Field(description="A sentence for each thing that is not as it should be.")
    now: datetime
    event_time: datetime | None = Field(description="The newest event time seen.")
    watermark: datetime | None = Field(
        description="Candles that ended before it are final: 5 minutes behind event time."
    )
    commit: dict[str, object] = Field(description="committed_at and age_seconds of the last commit to bronze.")
    sources: dict[str, object] = Field(
        description="By name: state (connecting, connected, silent, cut), freshness_seconds, gaps, missing_trades, "
        "trades_not_offered, trades_left_to_backfill, lag_seconds, clock_offset_seconds, checked_candles, "
        "agreeing_candles, uncompared_candles, windows_overdue, connections. Of one that is polled: state "
        "(connecting, connected, stale, limited, circuit_open, silent), fresh_within, requests_today, stale (how many "
        "of its addresses are), notes (which)."
    )
    symbols: dict[str, object] = Field(
        description="By symbol: last_trade_id, freshness_seconds, missing_trades, holes, of the missing those in "
        "trades_not_offered (the exchange does not have them) and in trades_left_to_backfill (a back-fill alone brings "
        "them, from backfill_from to backfill_to), windows_overdue, checked_candles, agreeing_candles, "
        "uncompared_candles."
    )


class Problem(BaseModel):
    """What went wrong and what to do (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
