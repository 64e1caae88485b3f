"""The watch: the signals that stand follow from the newest candles alone, however they came (law 5)."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from tapehouse.market.divergences import Told
from tapehouse.market.seasons import HOUR, WEEK, Seasons
from tapehouse.market.signals import revised
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import MINUTE

START = 1_723_161_600_000_000


@pytest.fixture(scope="session")
def watch_anew(keen) -> Callable[[], Watch]:
    """Begin to watch, as far before START as a window rests on others."""
    return lambda: Watch("BTCUSDT", "1m", START - reach(keen) * MINUTE, keen, Seasons(START))


def standing(signals) -> dict:
    """What counts: of each signal its newest revision, if that is not retracted, without number and time."""
    newest = {(signal.kind, signal.opened_at): signal for signal in signals}
    return {
        key: (signal.score, signal.state, signal.evidence)
        for key, signal in newest.items()
        if signal.state != "retracted"
    }


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), repaired=st.integers(0, 60))
def test_any_order_of_revisions_gives_the_signals_that_a_batch_gives(
    calm, row, batch, seed, repaired, watch_anew, keen
):
    random = Random(seed)
    final = calm(140, seed)
    for place in random.sample(range(140), 10):
        final[place] = row(place, 100 + random.gauss(0, 3), random.choice([0, 10, 200]), bought=random.random())
    for place in random.sample(range(140), 5):
        final[place] = msgspec.structs.replace(final[place], state="gap")
    first = [(row(place, 90.0, 1.0, state="gap"), place) for place in random.sample(range(140), repaired)]
    last = [(msgspec.structs.replace(each, revision=2), place + 200) for place, each in enumerate(final)]
    arriving = [each for each, _ in sorted([*first, *last], key=lambda pair: pair[1] + random.randrange(60))]
    watch, told, at = watch_anew(), [], 0
    for each in arriving:
        watch.put(each)
        if random.random() < 0.3:
            at += 1
            told += watch.derive(at)
    told += watch.derive(at + 1)
    assert standing(told) == standing(batch(final, keen))
    assert len(standing(told)) > 10
    assert_revisions_count_up(told)


def assert_revisions_count_up(told) -> None:
    seen: dict = {}
    for signal in told:
        key = signal.kind, signal.opened_at
        before = seen.get(key)
        assert signal.revision == (before.revision + 1 if before else 1)
        assert before is None or signal.known_at >= before.known_at
        assert before is None or (before.state, before.score, before.evidence) != (
            signal.state, signal.score, signal.evidence,
        )  # fmt: skip
        seen[key] = signal


def test_no_signal_changes_with_what_comes_after_it(calm, batch, keen):
    rows = calm(200, 7)
    whole = standing(batch(rows, keen))
    assert whole
    for end in (60, 120, 199):
        until = {key: told for key, told in whole.items() if key[1] < rows[end].opened_at}
        assert standing(batch(rows[:end], keen)) == until


def test_a_watch_that_begins_as_far_back_as_windows_rest_finds_the_same(calm, batch, keen):
    rows = calm(300, 3)
    first = reach(keen)
    expected = {key: told for key, told in standing(batch(rows, keen)).items() if key[1] >= rows[first].opened_at}
    late = Watch("BTCUSDT", "1m", START, keen, Seasons(START))
    late.recall(rows[:first])
    for each in rows[first:]:
        late.put(each)
    assert not late.reaches(rows[first - 1].opened_at)
    assert late.reaches(rows[first].opened_at)
    assert standing(late.derive(1)) == expected
    assert expected


def test_a_gap_is_provisional_a_repair_confirms_or_retracts_and_says_what_is_true_now(calm, row, watch_anew):
    rows = calm(60)
    watch = watch_anew()
    for each in rows[:50]:
        watch.put(each)
    watch.derive(1)
    close = rows[49].candle.close / 1e8
    watch.put(row(50, close, 200.0, state="gap"))
    [spike] = [signal for signal in watch.derive(2) if signal.kind == "volume_spike"]
    assert (spike.state, spike.revision, spike.known_at) == ("provisional", 1, 2)
    assert spike.evidence["times_before"] > 10
    watch.put(row(50, close, 200.0, revision=2))
    [again] = [signal for signal in watch.derive(3) if signal.kind == "volume_spike"]
    assert (again.state, again.revision, again.score) == ("confirmed", 2, spike.score)
    watch.put(row(50, close, 10.0, revision=3))
    [gone] = [signal for signal in watch.derive(4) if signal.kind == "volume_spike"]
    assert (gone.state, gone.revision) == ("retracted", 3)
    assert abs(gone.score) < 2
    assert gone.evidence["times_before"] < 3
    watch.put(row(50, close, 10.0, revision=4))
    assert [signal for signal in watch.derive(5) if signal.kind == "volume_spike"] == []


def test_what_was_said_before_a_restart_is_not_said_again(calm, watch_anew):
    rows = calm(200, 5)
    first = watch_anew()
    for each in rows:
        first.put(each)
    said = first.derive(1)
    again = watch_anew()
    again.recall(rows, said)
    again.touch(START, START + 200 * MINUTE)
    assert said
    assert again.derive(2) == []


def test_an_open_candle_is_judged_as_if_it_ended_now_and_leaves_no_trace(calm, row, watch_anew, keen):
    watch = watch_anew()
    for each in calm(50):
        watch.put(each)
    watch.derive(1)
    opened = row(50, 100.0, 500.0, state="open")
    [foreseen] = [signal for signal in watch.foresee(opened) if signal.kind == "volume_spike"]
    assert (foreseen.state, foreseen.opened_at, foreseen.revision) == ("provisional", opened.opened_at, 0)
    assert len(watch.series) == reach(keen) + 50
    assert watch.foresee(row(49, 100.0, 500.0, state="open")) == []
    watch.put(row(50, 100.0, 500.0))
    [confirmed] = [signal for signal in watch.derive(3) if signal.kind == "volume_spike"]
    assert (confirmed.score, confirmed.state) == (foreseen.score, "confirmed")


def test_forgetting_the_oldest_windows_changes_nothing_of_the_newest(calm, batch, watch_anew, keen):
    rows = calm(400, 11)
    expected = standing(batch(rows, keen))
    watch, told = watch_anew(), []
    for each in rows:
        watch.put(each)
        told += watch.derive(1)
        if len(watch.series) > 2 * reach(keen):
            watch.forget(len(watch.series) - reach(keen) - 1)
    assert standing(told) == expected


def test_quiet_windows_are_no_spikes_and_no_baseline_and_a_market_of_them_has_none(row, batch, keen):
    sparse = [row(place, 100.0, 10.0 if place % 3 == 0 else 0) for place in range(120)]
    sparse[99] = row(99, 100.0, 5_000.0)
    assert [signal for signal in batch(sparse, keen) if signal.kind == "volume_spike"] == []
    half = [row(place, 100.0, 10.0 if place % 2 == 0 else 0) for place in range(120)]
    half[98] = row(98, 100.0, 5_000.0)
    assert [signal.opened_at for signal in batch(half, keen) if signal.kind == "volume_spike"] == [half[98].opened_at]


def test_nothing_is_said_before_half_of_the_baseline_is_known(calm, row, batch, keen):
    rows = calm(60)
    for place in (9, 11):
        rows[place] = row(place, 150.0, 10.0)
    told = [signal.opened_at for signal in batch(rows, keen) if signal.kind == "price_outlier"]
    assert rows[9].opened_at not in told
    assert rows[11].opened_at in told
    for place in (27, 28):
        rows[place] = row(place, 100.0, 5_000.0)
    told = [signal.opened_at for signal in batch(rows, keen) if signal.kind == "volume_spike"]
    assert rows[27].opened_at not in told
    assert rows[28].opened_at in told


@pytest.mark.parametrize(("price", "found"), [("100.0", []), ("101.9", ["confirmed"]), ("98.2", ["confirmed"])])
def test_a_price_told_by_others_diverges_when_it_lies_well_outside_of_what_was_traded(row, price, found, watch_anew):
    watch = watch_anew()
    watch.tell(Told(START + 40 * MINUTE + 5, 1, "coingecko", "100.0"))
    watch.tell(Told(START + 40 * MINUTE + 9, 2, "coingecko_price", price))
    watch.tell(Told(START + 40 * MINUTE + 9, 1, "coingecko", "500"))
    for place in range(41):
        watch.put(row(place, 100.0, 10.0, before=99.9 if place % 2 else 100.1))
    told = [signal for signal in watch.derive(3) if signal.kind == "divergence"]
    assert [signal.state for signal in told] == found
    if told:
        assert told[0].opened_at == START + 40 * MINUTE
        assert told[0].evidence["told_price"] == price
    watch.tell(Told(START + 40 * MINUTE + 10, 3, "coingecko", "100.0"))
    assert [signal.state for signal in watch.derive(4)] == ["retracted"] * len(found)


def test_the_hour_of_the_week_is_taken_into_account_once_two_weeks_of_it_are_known(row, batch, keen):
    """An hour as busy as in the weeks before is no spike; where the hours are not known it looks like one."""
    rows = [row(place, 100.0, 10.0 * (1 + 0.1 * (place % 7))) for place in range(60)]
    rows += [row(place, 100.0, 100.0 * (1 + 0.1 * (place % 7))) for place in range(60, 75)]
    for weeks, seasonal in ((1, False), (2, True)):
        hours = [
            msgspec.structs.replace(row(0, 100.0, volume), interval="1h", opened_at=START + shift * HOUR - back * WEEK)
            for back in range(weeks, 0, -1)
            for shift, volume in ((0, 600.0), (1, 9_000.0))
        ]
        spikes = {signal.opened_at for signal in batch(rows, keen, hours) if signal.kind == "volume_spike"}
        assert (rows[60].opened_at in spikes) is not seasonal
        [last] = [
            signal
            for signal in batch([*rows[:74], row(74, 100.0, 10_000.0)], keen, hours)
            if signal.kind == "volume_spike" and signal.opened_at == rows[74].opened_at
        ]
        assert (last.evidence["times_hour_of_week"] is not None) is seasonal


def test_the_next_revision_never_goes_back_in_time():
    from tapehouse.market.signals import Finding

    about = ("volume_spike", "BTCUSDT", "1m", START)
    spike = revised(None, Finding("volume_spike", 5.0, fires=True, proved=True, evidence={}), about, 100)
    assert revised(spike, None, about, 50).known_at == 100
    assert revised(None, None, about, 50) is None
