"""How values become JSON: decimals with every digit and no trailing zeros, times as ISO 8601 UTC.

REST answers carry decimals as JSON numbers. The live socket carries them as strings, because a browser's `JSON.parse`
would round them.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tapehouse.market.fixed_point import PRICE_SCALE

DecimalForm = Callable[[int, int], object]
"""Turns units and their scale into what the JSON carries."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encoder = msgspec.json.Encoder()


def to_json(value: Any) -> bytes:
    """Encode plain values; raise TypeError for a type JSON has no exact form for (a float NaN becomes null)."""
    return _encoder.encode(value)


def decimal_text(units: int, scale: int = PRICE_SCALE) -> str:
    """Write a number of units of 10^-scale with every digit and no trailing zeros: 6500010000000 -> 65000.1."""
    if units < 0:
        return "-" + decimal_text(-units, scale)
    digits = str(units).rjust(scale + 1, "0")
    fraction = digits[-scale:].rstrip("0")
    return f"{digits[:-scale]}.{fraction}" if fraction else digits[:-scale]


def as_number(units: int, scale: int = PRICE_SCALE) -> msgspec.Raw:
    """Give the decimal as a JSON number."""
    return msgspec.Raw(decimal_text(units, scale).encode())


def as_text(units: int, scale: int = PRICE_SCALE) -> str:
    """Give the decimal as a JSON string."""
    return decimal_text(units, scale)


def time_text(microseconds: int) -> str:
    """Write microseconds since 1970 UTC as ISO 8601; the fraction is left out when it is zero."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()[:-6] + "Z"


def to_time(microseconds: int) -> datetime:
    """Return the aware UTC time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_microseconds(time: datetime) -> int:
    """Return microseconds since 1970 UTC of an aware time."""
    return (time - _EPOCH) // timedelta(microseconds=1)
