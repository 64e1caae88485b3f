from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from tapehouse.api.encoding import as_number, as_text, decimal_text, time_text, to_json, to_microseconds, to_time

LARGEST = 10**38


@pytest.mark.parametrize(
    ("units", "scale", "text"),
    [
        (6_500_010_000_000, 8, "65000.1"),
        (6_500_000_000_000, 8, "65000"),
        (1, 8, "0.00000001"),
        (0, 8, "0"),
        (0, 16, "0"),
        (-50_000_000, 8, "-0.5"),
        (12_345_678_901_234_567_890_123_456_789, 16, "1234567890123.4567890123456789"),
    ],
)
def test_a_decimal_has_every_digit_and_no_trailing_zeros(units, scale, text):
    assert text == decimal_text(units, scale)


@given(units=st.integers(-LARGEST, LARGEST), scale=st.sampled_from([8, 16]))
def test_no_digit_of_a_decimal_is_lost(units, scale):
    assert Decimal(decimal_text(units, scale)) == Decimal(units) / Decimal(1).scaleb(scale) or len(str(units)) > 28
    whole, _, fraction = decimal_text(units, scale).partition(".")
    assert int(whole + fraction.ljust(scale, "0")) == units


def test_a_decimal_is_a_number_for_rest_and_a_string_for_the_socket():
    assert to_json({"price": as_number(10_000_000), "text": as_text(10_000_000)}) == b'{"price":0.1,"text":"0.1"}'


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_723_161_240_000_000, "2024-08-08T23:54:00Z"),
        (1_723_161_240_000_001, "2024-08-08T23:54:00.000001Z"),
    ],
)
def test_a_time_is_iso_8601_in_utc(microseconds, text):
    assert text == time_text(microseconds)
    assert microseconds == to_microseconds(to_time(microseconds))
