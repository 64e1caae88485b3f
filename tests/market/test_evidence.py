"""What a signal says of itself: its score follows from its evidence alone, and the candles' ids are there."""

from collections.abc import Callable
from math import log, log2

import msgspec
import pytest

from tapehouse.market.divergences import Told
from tapehouse.market.seasons import HOUR, WEEK, Seasons
from tapehouse.market.sentiments import sentiment_extreme
from tapehouse.market.signals import KINDS, Evidence, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import DAY, MINUTE

START = 1_723_161_600_000_000


def spike(of: Evidence) -> float:
    times = [of[name] for name in ("times_before", "times_hour_of_week") if of[name] is not None]
    return (log(min(times)) - of["usual_excess"]) / of["deviation"]


def divergence(of: Evidence) -> float:
    price, highest, lowest = (float(of[name]) for name in ("told_price", "highest", "lowest"))
    distance = log(price / highest) if price > highest else log(price / lowest)
    return float(f"{distance:.6g}") / of["deviation"]


SCORES: dict[str, Callable[[Evidence], float]] = {
    "volume_spike": spike,
    "price_outlier": lambda of: (of["jump"] - of["usual_move"]) / of["deviation"],
    "vwap_deviation": lambda of: (of["distance"] - of["usual_distance"]) / of["deviation"],
    "volatility_regime": lambda of: log2(float(f"{of['recent_volatility'] / of['usual_volatility']:.6g}")),
    "taker_imbalance": lambda of: (of["odds"] - of["usual_odds"]) / of["deviation"],
    "divergence": divergence,
    "sentiment_extreme": lambda of: (of["value"] - 50) / 10,
}
"""The score of each kind as `docs/explanation/signals.md` has it, of nothing but the evidence."""


@pytest.fixture(scope="module")
def found_in(keen) -> Callable[..., list[Signal]]:
    """The signals of candles and of what others told, where so many weeks before are known."""

    def find(rows, told=(), *, weeks=0) -> list[Signal]:
        seasons = Seasons(START - weeks * WEEK)
        for back in range(1, weeks + 1):
            for hour in range(4):
                seasons.tell(START - back * WEEK + hour * HOUR, 600 * 10**8)
        watch = Watch("BTCUSDT", "1m", START - reach(keen) * MINUTE, keen, seasons)
        for each in rows:
            watch.put(each)
        for each in told:
            watch.tell(each)
        return watch.derive(known_at=1)

    return find


@pytest.fixture(scope="module")
def found(calm, keen, found_in) -> dict[str, list[tuple[float, Evidence]]]:
    """Scores and evidence of each kind."""
    told = [Told(START + place * MINUTE + 5, 1, "coingecko", price) for place, price in ((50, "103.25"), (90, "95"))]
    signals = [*found_in(calm(200), told), *found_in(calm(200), weeks=3)]
    by_kind = {kind: [(each.score, each.evidence) for each in signals if each.kind == kind] for kind in KINDS}
    values = {START: 9, START - 2 * DAY: 40, START - 8 * DAY: 80}
    moods = [sentiment_extreme(values, day, keen) for day in values]
    by_kind["sentiment_extreme"] = [(mood.score, mood.evidence) for mood in moods if mood.fires]
    return by_kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_score_follows_from_the_evidence_to_the_last_digit_told(found, kind):
    assert len(found[kind]) >= 2
    for score, evidence in found[kind]:
        assert score == float(f"{SCORES[kind](evidence):.6g}"), evidence


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sentiment_extreme"])
def test_the_ids_of_the_window_and_the_windows_compared_with_are_told(found, kind, keen):
    for _, evidence in found[kind]:
        assert evidence["last_trade_id"] - evidence["first_trade_id"] == 9
        assert evidence["baseline_from"]
        assert keen.enough <= evidence["baseline_windows"] <= keen.baseline


def test_a_divergence_names_the_range_it_lies_outside_of(row, found_in):
    rows = [row(place, 100.0, 10.0, before=99.9 if place % 2 else 100.1) for place in range(41)]
    rows[37] = row(37, 100.0, 10.0, high=100.25, low=99.5)
    found = found_in(rows, [Told(START + 40 * MINUTE + 5, 1, "coingecko", "103")])
    [evidence] = [signal.evidence for signal in found if signal.kind == "divergence"]
    assert (evidence["highest"], evidence["lowest"]) == ("100.25", "99.5")
    assert (evidence["range_first_trade_id"], evidence["range_last_trade_id"]) == (360, 409)
    assert evidence["range_from"] == "2024-08-09T00:36:00Z"
    assert evidence["distance"] == pytest.approx(log(103 / 100.25), rel=1e-5)


def test_the_first_trade_of_all_is_told_by_its_id(calm, found_in):
    rows = calm(200)
    opened = next(signal.opened_at for signal in found_in(rows) if signal.kind == "volatility_regime")
    first = next(each.candle.first_trade_id for each in rows if each.opened_at == opened)
    shifted = [
        msgspec.structs.replace(
            each,
            candle=msgspec.structs.replace(
                each.candle,
                first_trade_id=each.candle.first_trade_id - first,
                last_trade_id=each.candle.last_trade_id - first,
            ),
        )
        for each in rows
    ]
    told = {(signal.kind, signal.opened_at): signal.evidence for signal in found_in(shifted)}
    evidence = told["volatility_regime", opened]
    assert (evidence["first_trade_id"], evidence["last_trade_id"]) == (0, 9)


def test_the_value_before_is_told_with_its_day_and_none_is_made_up(keen):
    evidence = sentiment_extreme({START: 9, START - 3 * DAY: 40}, START, keen).evidence
    assert (evidence["value_before"], evidence["day_before"], evidence["mood_before"]) == (
        40,
        "2024-08-06T00:00:00Z",
        "none",
    )
    alone = sentiment_extreme({START: 9, START - 4 * DAY: 40}, START, keen)
    assert alone.fires
    assert (alone.evidence["value_before"], alone.evidence["day_before"]) == (None, None)
