"""Detectors on windows small enough to be worked out by hand: the sign, the size, and when a signal begins and ends."""

from math import exp, log, log2

import msgspec
import pytest

from tapehouse.market.signals import Detection
from tapehouse.profiles.signals import detection
from tapehouse.settings import Settings

EVENS = Detection(baseline=20, vwap_score=4.0, taker_score=3.5, minimum_quote_volume=0)
LONG = Detection(baseline=120, volatility_ratio=2.5, minimum_quote_volume=0)


@pytest.fixture
def found(batch):
    """The signals of a kind, by the place of their window."""

    def found(kind, rows, detection):
        first = rows[0].opened_at
        return {
            (signal.opened_at - first) // 60_000_000: signal for signal in batch(rows, detection) if signal.kind == kind
        }

    return found


@pytest.mark.parametrize("price", [110.0, 90.0])
def test_a_close_far_from_the_vwap_is_told_in_the_first_window_on_that_side_of_it(row, found, price):
    """Sixty windows at 100, so that the usual distance is 0 and its deviation the smallest there is, 0.0001.

    Two windows at another price; then the old price lies on the other side of the average.
    """
    closes = [100.0] * 60 + [price] * 2 + [100.0] * 2
    told = found("vwap_deviation", [row(place, close, 1.0) for place, close in enumerate(closes)], EVENS)
    assert sorted(told) == [60, 62]
    left, back = log(price / ((59 * 100 + price) / 60)), log(100 / ((58 * 100 + 2 * price) / 60))
    assert [told[place].evidence["distance"] for place in (60, 62)] == pytest.approx([left, back], rel=1e-5)
    assert [told[place].score for place in (60, 62)] == pytest.approx([left / 1e-4, back / 1e-4], rel=1e-5)
    assert told[60].evidence["usual_distance"] == 0
    assert (told[60].score > 0) is (price > 100)


def test_a_regime_begins_beyond_its_limit_and_ends_well_within_it(row, found):
    """Of twenty recent windows eleven make the median; volatility goes from 1 to 3, 1.8, 1 and 0.3 of the usual."""

    def windows(start, count, volatility):
        edge = 0.001 * volatility
        return [row(start + at, 100.0, 1.0, high=100 * exp(edge), low=100 * exp(-edge)) for at in range(count)]

    rows = []
    for count, volatility in ((160, 1.0), (20, 3.0), (30, 1.8), (20, 1.0), (20, 0.3)):
        rows += windows(len(rows), count, volatility)
    told = found("volatility_regime", rows, LONG)
    assert [(place, it.evidence["regime_before"], it.evidence["regime"]) for place, it in sorted(told.items())] == [
        (170, "normal", "high"),
        (220, "high", "normal"),
        (240, "normal", "low"),
    ]
    assert [it.score for _, it in sorted(told.items())] == pytest.approx([log2(3), 0, log2(0.3)], abs=1e-4)


@pytest.mark.parametrize(("bought", "volume", "score"), [(0.9, 10.0, 1), (0.1, 10.0, -1), (0.9, 9.0, None)])
def test_takers_on_one_side_are_told_by_their_side_where_as_much_as_usual_is_traded(row, found, bought, volume, score):
    """Takers on both sides alike make odds of 0 with the smallest deviation there is, 0.1."""
    rows = [row(place, 100.0, 10.0) for place in range(40)]
    told = found("taker_imbalance", [*rows, row(40, 100.0, volume, bought=bought)], EVENS)
    if score is None:
        assert told == {}
        return
    assert told.keys() == {40}
    assert told[40].score == pytest.approx(score * log(0.905 / 0.105) / 0.1, rel=1e-5)
    assert told[40].evidence["buyers_share"] == pytest.approx(bought, rel=1e-5)
    assert told[40].evidence["times_usual"] == 1


@pytest.mark.parametrize(
    ("symbol", "quote_volume", "enough"),
    [
        ("BTCUSDT", 1_100, True),
        ("BTCUSDT", 900, False),
        ("BTCUSD1", 900, False),
        ("ETHBTC", 0.011, True),
        ("ETHBTC", 0.009, False),
        ("USDTTRY", 20_000, False),
        ("USDTTRY", 50_000, True),
        ("BTCXYZ", 0.001, True),
    ],
)
def test_a_spike_has_traded_for_a_thousand_dollars_whatever_it_is_quoted_in(row, batch, symbol, quote_volume, enough):
    """Windows of 1 and 1.1, then one of 100; of a quote that nobody named a worth for there is no minimum."""
    told, price = detection(Settings()), quote_volume / 100
    rows = [row(place, price, 100.0 if place == 200 else 1 + place % 2 / 10) for place in range(201)]
    rows = [msgspec.structs.replace(each, symbol=symbol) for each in rows]
    spikes = [signal.opened_at for signal in batch(rows, told) if signal.kind == "volume_spike"]
    assert spikes == [rows[200].opened_at] * enough
