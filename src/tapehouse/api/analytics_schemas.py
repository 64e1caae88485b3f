"""The shapes of the answers about what a symbol does, for the documentation."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from tapehouse.api.context_schemas import Attribution, IndexDay, Story
from tapehouse.api.schemas import Exact, Price
from tapehouse.api.signal_schemas import Signal
from tapehouse.market.signals import Kind

_SPAN: JsonDict = {
    "start": "2026-01-31T11:05:00Z",
    "end": "2026-01-31T12:05:00Z",
    "as_of": "2026-01-31T12:04:31.52Z",
    "age_seconds": 0.31,
    "completeness": {"interval": "1m", "windows": 60, "held": 60, "proved": 59, "gaps": 0, "open": 1},
}
_HOUR: JsonDict = {
    **_SPAN,
    "open": 65000.1,
    "high": 65210,
    "low": 64950.02,
    "close": 65120.5,
    "change": 120.4,
    "change_ratio": 0.00185,
    "volume": 812.40175,
    "quote_volume": 52874210.1180025,
    "trades": 48211,
    "vwap": 65083.80913562,
    "taker_buy_ratio": 0.5143,
    "volatility": {"windows": 59, "close_to_close": 0.412, "parkinson": 0.398, "garman_klass": 0.391},
}


class Completeness(BaseModel):
    """How much of what a figure was made from was held, and proved whole."""

    interval: str
    windows: int = Field(description="Windows the period has, the open one among them.")
    held: int
    proved: int | None = Field(description="Those that are closed, final or quiet; null where nothing can be proved.")
    gaps: int | None = Field(description="Those in which ids are known to be missing; null where there are no ids.")
    open: int = Field(description="Those that are still filling, or over and not proved yet.")


class Span(BaseModel):
    """From when to when a figure's windows reach, how fresh they are, and how complete; null where none is held."""

    start: datetime | None
    end: datetime | None
    as_of: datetime | None = Field(description="Event time of the newest that is in it.")
    age_seconds: float | None = Field(description="From then to this answer.")
    completeness: Completeness


class Latest(Price, Span):
    """The last trade, its age, and how many trades before it are known to be missing; its window is its minute."""

    missing_trades: int | None


class Volatility(BaseModel):
    """How much returns deviate, for a year of 365 days, over windows that are over; null below 11 of them."""

    windows: int = Field(description="How many are over.")
    close_to_close: float | None
    parkinson: float | None
    garman_klass: float | None


class Period(Span):
    """What happened in the last hour, day or week."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HOUR]})

    open: Exact | None = None
    high: Exact | None = None
    low: Exact | None = None
    close: Exact | None = None
    change: Exact | None = Field(None, description="close - open.")
    change_ratio: float | None = Field(None, description="close / open - 1.")
    volume: Exact | None = None
    quote_volume: Exact | None = None
    trades: int | None = None
    vwap: Exact | None = Field(None, description="quote_volume / volume, rounded to 8 places.")
    taker_buy_ratio: float | None = Field(None, description="Part of the volume that takers bought.")
    volatility: Volatility | None = None


class HourOfDay(BaseModel):
    """What was traded in an hour of the UTC day."""

    hour: int
    hours: int = Field(description="How many such hours it is the sum of.")
    volume: Exact
    quote_volume: Exact
    trades: int


class HourlyVolume(Span):
    """The volume by hour of the UTC day, over those hours of the period that were proved."""

    period: str
    hours: list[HourOfDay]


class Likeness(Span):
    """How a symbol moves with another: null where they share too few returns, or one did not move.

    The window, its age and its completeness are those of the other symbol.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"correlation": 0.83, "beta": 0.71, "returns": 94, **_SPAN}]}
    )

    correlation: float | None = Field(description="Pearson's, of log returns.")
    beta: float | None = Field(description="How much the symbol moves when the other moves by one.")
    returns: int = Field(description="Windows in which both have a return.")


class CorrelatedWith(Span):
    """The other symbols, the largest first; ten where there are more.

    The largest is what traded most dollars in the stored hours of the last day; what is quoted in something else comes
    last.
    """

    model_config = ConfigDict(populate_by_name=True)

    interval: str
    period: str
    others: dict[str, Likeness] = Field(alias="with")


class SentimentOfDay(IndexDay, Span):
    """The newest day of the Fear & Greed index; its age is from the beginning of that day.

    Complete means today's: `held` is 0 where the newest day that was told is an earlier one.
    """

    attribution: Attribution


class NewsOfCoin(Span):
    """The newest stories that mention the symbol's coin; the same story through several feeds is one.

    `as_of` is when the newest story of any coin was published, `held` in how many hours of the period any was: nothing
    numbers stories, so that none are known to be missing and none proved to be all.
    """

    ticker: str
    period: str
    count: int = Field(description="Stories of that period.")
    mean_sentiment: float | None = Field(description="How their headlines sound on average, -1 to 1; null without any.")
    stories: list[Story] = Field(description="At most five, of the period or before it, newest last.")


class RecentSignals(Span):
    """The signals of the last day about the symbol or the market as a whole; those that were retracted are left out.

    They start a day ago, or later where there were more than memory holds; they are as fresh and as complete as the
    symbol's trades of that day, which they rest on.
    """

    period: str
    count: int
    provisional: int = Field(description="Those that a repair may still change.")
    kinds: dict[Kind, int] = Field(description="How many of each kind.")
    signals: list[Signal] = Field(description="At most ten, newest last.")


class IndicatorWindow(BaseModel):
    """The indicators of a window, by name; null before there is enough history."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [{"opened_at": "2026-01-31T12:00:00Z", "state": "open", "rsi": 56.2}]},
    )

    opened_at: datetime
    state: Literal["open", "closed", "gap", "quiet"] = Field(description="Values of an open window are provisional.")


class IndicatorWindows(Span):
    """Windows in order of time, the open one last; no value uses anything after its window.

    What they are made from reaches back before the first of them, so far that an average does not depend on where it
    began; where less is held, `held` lies below `windows`.
    """

    symbol: str
    interval: str
    anchor: datetime | None
    against: str | None
    against_span: Span | None = Field(description="What was held of the symbol it is compared with.")
    count: int
    windows: list[IndicatorWindow]


class CorrelationMatrix(BaseModel):
    """Each symbol with each, in the order of `symbols`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "interval": "15m",
                    "limit": 96,
                    "symbols": ["BTCUSDT", "ETHUSDT"],
                    "correlations": [[1.0, 0.83], [0.83, 1.0]],
                    "returns": [[94, 94], [94, 94]],
                    "spans": {"BTCUSDT": _SPAN},
                }
            ]
        }
    )

    interval: str
    limit: int
    symbols: list[str]
    correlations: list[list[float | None]]
    returns: list[list[int]] = Field(description="How many returns each pair shares.")
    spans: dict[str, Span] = Field(description="What was held of each symbol.")


class Analytics(BaseModel):
    """What a symbol does."""

    symbol: str
    latest: Latest | None = Field(description="Null before the first trade.")
    periods: dict[Literal["1h", "24h", "7d"], Period]
    hourly_volume: HourlyVolume
    correlations: CorrelatedWith
    sentiment: SentimentOfDay | None = Field(description="Null before a day of the index was told.")
    news: NewsOfCoin
    signals: RecentSignals
    indicators: IndicatorWindows | None = Field(description="Of the newest window; null where none was asked for.")
