"""The shapes of the answers about what a symbol does, for the documentation."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tapehouse.api.schemas import Exact


class Completeness(BaseModel):
    """How much of what a figure was made from was held, and proved whole."""

    interval: str
    windows: int = Field(description="Windows the period has, the open one among them.")
    held: int
    proved: int = Field(description="Those that are closed, final or quiet.")
    gaps: int = Field(description="Those in which ids are known to be missing.")


class Period(BaseModel):
    """What happened in the last hour, day or week."""

    start: datetime | None
    end: datetime | None
    open: Exact | None = None
    high: Exact | None = None
    low: Exact | None = None
    close: Exact | None = None
    change: Exact | None = None
    change_ratio: float | None = Field(None, description="close / open - 1.")
    volume: Exact | None = None
    quote_volume: Exact | None = None
    trades: int | None = None
    vwap: Exact | None = None
    taker_buy_ratio: float | None = Field(None, description="Part of the volume that takers bought.")
    volatility: dict[str, float | None] | None = Field(
        None, description="For a year: close_to_close, parkinson, garman_klass, of the windows that are over."
    )
    completeness: Completeness


class HourlyVolume(BaseModel):
    """The quote volume of an hour of the UTC day, over the proved hours of the last week."""

    hour: int
    hours: int = Field(description="How many such hours it is the sum of.")
    quote_volume: Exact


class Correlations(BaseModel):
    """Pearson's correlation of log returns with other symbols; null where too few windows are shared."""

    model_config = ConfigDict(populate_by_name=True)

    interval: str
    period: str
    others: dict[str, float | None] = Field(alias="with")


class IndicatorWindow(BaseModel):
    """The indicators of a window, by name; null before there is enough history."""

    model_config = ConfigDict(extra="allow")

    opened_at: datetime
    state: Literal["open", "closed", "gap", "quiet"] = Field(description="Values of an open window are provisional.")


class IndicatorWindows(BaseModel):
    """Windows in order of time, the open one last; no value uses anything after its window."""

    symbol: str
    interval: str
    count: int
    windows: list[IndicatorWindow]


class Analytics(BaseModel):
    """What a symbol does."""

    symbol: str
    periods: dict[str, Period]
    hourly_volume: list[HourlyVolume]
    correlations: Correlations
    indicators: IndicatorWindows | None = Field(description="Of the newest window; null where none was asked for.")
