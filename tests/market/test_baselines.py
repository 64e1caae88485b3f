"""What is usual, against numpy; and that it is the same wherever the computation began."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tapehouse.market.baselines import NORMAL, Baseline, Rolling

VALUES = st.lists(st.one_of(st.just(math.nan), st.floats(-1e6, 1e6)), min_size=1, max_size=80)


@given(VALUES, st.integers(1, 30), st.lists(st.integers(0, 80), min_size=1, max_size=30))
def test_median_and_deviation_are_numpys_at_every_place_in_every_order(values, length, walk):
    rolling = Rolling(values, length)
    places = [place for place in (*walk, *range(len(values) + 1)) if place <= len(values)]
    for place in places:
        usable = np.array(values[max(place - length, 0) : place])
        usable = usable[~np.isnan(usable)]
        found = rolling.baseline(place, 0.0, 1)
        if not len(usable):
            assert found is None
            continue
        median = np.median(usable)
        assert found == Baseline(median, NORMAL * np.median(np.abs(usable - median)), len(usable))


def test_too_few_values_are_no_baseline_and_a_flat_one_has_the_smallest_scale():
    rolling = Rolling([5.0, 5.0, math.nan, 5.0], 4)
    assert rolling.baseline(4, 0.5, enough=4) is None
    found = rolling.baseline(4, 0.5, enough=3)
    assert found == Baseline(5.0, 0.5, 3)
    assert found.score(7.0) == pytest.approx(4.0)


def test_nearly_half_of_the_values_may_be_absurd():
    honest = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = Rolling([*honest, 1e9, 1e9, 1e9, 1e9], 9).baseline(9, 0.0, 1)
    assert found.median == 5.0
    assert found.scale < 10
