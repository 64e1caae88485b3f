from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from tapehouse.market.fixed_point import LARGEST, LARGEST_SUM, NOTIONAL_SCALE, sum_to_units, to_decimal, to_units

REFUSED = [
    "",
    ".",
    "1.",
    ".5",
    "-1",
    "+1",
    "1e3",
    "1E-3",
    "NaN",
    "Infinity",
    "0x10",
    "1_000",
    "1,5",
    " 1",
    "1 ",
    "1\n",
    "1.0\n",
    "1.123456789",
    "1.000000000",
    "123456789012",
    "\N{ARABIC-INDIC DIGIT THREE}.5",
    "\N{FULLWIDTH DIGIT ONE}",
    "92233720368.54775808",
    "1.2.3",
]


@given(st.integers(0, LARGEST), st.integers(0, 8))
def test_every_amount_of_the_wire_is_read_exactly(units, places):
    units -= units % 10 ** (8 - places)
    text = f"{units // 10**8}"
    if places:
        text += "." + f"{units % 10**8:08d}"[:places]
    assert to_units(text) == units
    assert to_decimal(to_units(text)) == Decimal(text)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_exactly_an_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"not a decimal|larger than"):
        to_units(text)


@given(st.text(max_size=16))
def test_any_text_is_an_exact_amount_or_refused(text):
    try:
        units = to_units(text)
    except ValueError:
        return
    assert to_decimal(units) == Decimal(text)
    assert 0 <= units <= LARGEST


def test_the_largest_amount_the_exchange_can_say_is_read():
    assert to_units("92233720368.54775807") == LARGEST


@given(st.integers(0, 10**38 - 1))
def test_products_become_decimals_of_sixteen_places_without_rounding(units):
    _, digits, exponent = to_decimal(units, NOTIONAL_SCALE).as_tuple()
    assert exponent == -16
    assert int("".join(map(str, digits))) == units


@given(st.integers(0, LARGEST_SUM))
def test_volumes_are_read_exactly_though_they_are_larger_than_any_trade(units):
    assert sum_to_units(f"{units // 10**8}.{units % 10**8:08d}") == units


@pytest.mark.parametrize("text", [*(text for text in REFUSED if len(text) < 12), "1" * 23, "1.2.3", "1" * 5000])
def test_what_is_not_exactly_a_volume_is_refused(text):
    with pytest.raises(ValueError, match=r"not a "):
        sum_to_units(text)
