"""The shapes of the answers about signals, for the documentation."""

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from tapehouse.api.signal_queries import MOST_DAYS_READ
from tapehouse.market.signals import Kind, State

_SPIKE: JsonDict = {
    "kind": "volume_spike",
    "venue": "binance",
    "symbol": "BTCUSDT",
    "interval": "1m",
    "opened_at": "2026-01-31T12:04:00Z",
    "score": 5.21,
    "state": "confirmed",
    "evidence": {
        "baseline_from": "2026-01-31T08:04:00Z",
        "baseline_windows": 240,
        "deviation": 0.605,
        "first_trade_id": 4500123001,
        "last_trade_id": 4500131207,
        "times_before": 24.4,
        "times_hour_of_week": 27.9,
        "usual_excess": 0.0426,
    },
    "revision": 1,
    "known_at": "2026-01-31T12:05:00.311Z",
}


class Signal(BaseModel):
    """Something unusual about a window, as it is known now."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SPIKE]})

    kind: Kind
    venue: str
    symbol: str = Field(description="`*` where it is about the whole market.")
    interval: str
    opened_at: datetime = Field(description="When the window opened.")
    score: float = Field(description="How unusual: robust deviations from what was usual; the sign is the direction.")
    state: State = Field(
        description="`provisional` where a repair may change it; `retracted`: there is no such signal."
    )
    evidence: dict[str, str | int | float | bool | None] = Field(description="The numbers it was made from.")
    revision: int
    known_at: datetime | None = Field(description="Since when this revision is known; null while no table has it.")


class Signals(BaseModel):
    """Signals, by the opening of their window, newest last; with `known_since` by when they became known."""

    symbol: str | None
    kind: Kind | None
    count: int
    searched_from: date | None = Field(
        description=f"The first day looked through, where there were more than {MOST_DAYS_READ} to look through."
    )
    next_known_since: datetime | None = Field(
        description="The `known_since` to go on with, where the limit left some out."
    )
    signals: list[Signal]
