"""Exact numbers: prices and quantities as integers of 10^-8, their products as integers of 10^-16 (law 2)."""

import re
from decimal import MAX_PREC, Context, Decimal

PRICE_SCALE = 8
NOTIONAL_SCALE = 16
LARGEST = 2**63 - 1
"""Most units a price or a quantity may have: the bound Binance's own 64-bit numbers have, 92,233,720,368.54775807."""

DECIMAL_PATTERN = r"^[0-9]{1,11}(\.[0-9]{1,8})?$"
"""What a price or quantity looks like on the wire: no sign, no exponent, no NaN, at most eight decimals."""
LARGEST_SUM = 10**30 - 1
"""Most units a volume may have: with sixteen decimals it still fits the 38 digits of a notional."""

_exactly = Context(prec=MAX_PREC)
"""Python's own context rounds to 28 digits; a day's quote volume may have more."""
_matches = re.compile(DECIMAL_PATTERN, re.ASCII).match


def to_units(text: str) -> int:
    """Read a price or quantity into units of 10^-8; raise ValueError when it is not one exactly."""
    if not _matches(text) or text.endswith("\n"):
        raise ValueError(f"not a decimal with at most 8 places: {text[:40]!r}")
    whole, _, fraction = text.partition(".")
    units = int(whole) * 100_000_000 + int(fraction.ljust(PRICE_SCALE, "0"))
    if units > LARGEST:
        raise ValueError(f"larger than the exchange can say: {text[:40]!r}")
    return units


def sum_to_units(text: str) -> int:
    """Read a volume, which may be larger than any one amount; raise ValueError when it is not one exactly."""
    whole, point, fraction = text.partition(".")
    low = to_units(f"0{point}{fraction}")
    if not (whole.isascii() and whole.isdecimal() and len(whole) <= 22):
        raise ValueError(f"not a volume: {text[:40]!r}")
    return int(whole) * 100_000_000 + low


def to_decimal(units: int, scale: int = PRICE_SCALE) -> Decimal:
    """Return the exact decimal of a number of units."""
    return Decimal(units).scaleb(-scale, _exactly)
