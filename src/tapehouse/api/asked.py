"""What a request may ask for: every parameter, its limits, and how its text is read."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BeforeValidator

from tapehouse.api.problems import ProblemError, unknown_symbol
from tapehouse.market.signals import Kind, State

MOST_ROWS = 5000
MOST_HOURS = 24 * 31
MOST_DAYS = 5000
LONGEST_SEARCH = 200
_EARLIEST = datetime(2009, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)

IntervalName = Literal["1m", "5m", "15m", "1h", "4h", "1d"]


def read_time(text: object) -> datetime:
    """Read an ISO 8601 day or time (UTC unless it says otherwise), or milliseconds since 1970."""
    if not isinstance(text, str):
        raise ValueError("not a time")  # noqa: TRY004  # pydantic reports a ValueError as a 422
    if "T" in text:
        text = text.replace(" ", "+")  # an unescaped + in an address arrives as a space
    try:
        time = _of_milliseconds(int(text)) if text.isascii() and text.isdigit() else datetime.fromisoformat(text)
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a time such as 2026-01-31T12:00:00Z, 2026-01-31 or milliseconds since 1970") from None
    if not _EARLIEST <= time <= _LATEST:
        raise ValueError(f"must lie between {_EARLIEST:%Y} and {_LATEST:%Y}; a number is milliseconds since 1970")
    return time


def _of_milliseconds(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


_Time = Annotated[datetime | None, BeforeValidator(read_time)]

Symbol = Annotated[str, Path(description="A symbol that is held, such as BTCUSDT; upper or lower case.", max_length=40)]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most rows in the answer.")]
Hours = Annotated[
    float | None,
    Query(gt=0, le=MOST_HOURS, allow_inf_nan=False, description="Only trades of this many hours up to now."),
]
Interval = Annotated[IntervalName, Query(description="Length of the windows.")]
Start = Annotated[_Time, Query(description="First opening time; the answer starts here and `next_start` leads on.")]
End = Annotated[_Time, Query(description="Opening times before this one.")]
AsOf = Annotated[_Time, Query(description="As it was known then: the highest revision up to this time.")]
Days = Annotated[int, Query(ge=1, le=MOST_DAYS, description="Days up to the newest that is held.")]
SymbolMentioned = Annotated[
    str | None, Query(description="A symbol that is held, or what it trades: BTCUSDT or BTC.", max_length=40)
]
Anchor = Annotated[_Time, Query(description="When an anchored indicator begins.")]
Against = Annotated[str | None, Query(description="The symbol that correlation and beta compare with.", max_length=40)]
ReturnsCompared = Annotated[int, Query(ge=11, le=500, description="Windows up to the newest one, which may be open.")]
SymbolsCompared = Annotated[
    str | None,
    Query(
        description="Symbols that are held, separated by commas: the order of the answer. By default the ten largest.",
        max_length=40 * 20,
        examples=["BTCUSDT,ETHUSDT"],
    ),
]
Search = Annotated[str, Query(description="Words; a story must hold every one.", max_length=LONGEST_SEARCH)]

SignalSymbol = Annotated[
    str | None, Query(description="A symbol that is held; `*` is the market as a whole.", max_length=40)
]
SignalKind = Annotated[Kind | None, Query(description="Only signals of this kind.")]
SignalState = Annotated[
    State | None, Query(description="Only those in this state; without it and `known_since`, all not retracted.")
]
IntervalWatched = Annotated[IntervalName | None, Query(description="Only of windows of this length.")]
Since = Annotated[_Time, Query(description="Only of windows that opened then or later.")]
KnownSince = Annotated[
    _Time, Query(description="Only what became known then or later, retractions among it, in that order.")
]


def known(symbol: str, symbols: list[str]) -> str:
    """Return the symbol as it is held; raise the 404 when it is not."""
    name = symbol.upper()
    if name not in symbols:
        raise unknown_symbol(symbol, symbols)
    return name


def in_order(start: datetime | None, end: datetime | None) -> None:
    """Raise the 422 when the range is empty by its bounds."""
    if start is not None and end is not None and start >= end:
        raise ProblemError(422, "unusable-parameter", "start must lie before end: the range is [start, end).")
