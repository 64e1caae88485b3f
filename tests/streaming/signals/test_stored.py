"""What is stored of signals follows from the candles beside it, also after a repair, and of what others told."""

import json
import math
from decimal import Decimal
from random import Random

import msgspec
import polars as pl
import pytest

from tapehouse.catalog import CANDLES
from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Detection
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import silver_candles
from tapehouse.streaming.view import LiveView

START = 1_723_161_600_000  # milliseconds, the beginning of a day


def test_what_is_stored_is_what_a_batch_finds_and_the_view_has_it_first(engines, tape, stored, standing):
    engine = engines.start()
    for start in range(0, len(tape), 7):
        engines.fold(engine, tape[start : start + 7])
        engine.commit()
    shown = engines.view.signals.newest()
    engine.close()
    assert stored.standing() == stored.of_batch() == standing(shown)
    spike = "volume_spike", "1m", (START + 90 * 60_000) * 1000
    assert stored.standing()[spike][1] == "confirmed"
    assert ("price_outlier", *spike[1:]) in stored.standing()
    stored.assert_unique()


def test_a_repaired_hole_confirms_what_was_provisional_and_revises_what_rests_on_it(engines, tape, stored):
    held_back = {90 * 4 + 1, *range(100 * 4, 100 * 4 + 2)}
    engine = engines.start()
    engines.fold(engine, [frame for place, frame in enumerate(tape) if place not in held_back])
    engine.commit()
    engine._committer.wait()
    minute, before = (START + 90 * 60_000) * 1000, stored.signals()
    assert {s.state for s in before if s.opened_at == minute and s.interval == "1m"} == {"provisional"}
    engines.fold(engine, [tape[place] for place in sorted(held_back)])
    engine.close()
    after = stored.standing()
    assert {state for key, (_, state, _) in after.items() if key[1:] == ("1m", minute)} == {"confirmed"}
    assert after == stored.of_batch()
    stored.assert_unique()


def test_a_signal_whose_ground_a_repair_takes_away_is_retracted_and_says_what_is_true_now(
    engines, stored, keen, trades
):
    """While the end of a minute is missing the next one seems to jump; with it, the jump was in the minute before."""
    tape = list(trades(Random(1), {}, rises_at=94 * 4 + 2))
    hole = range(94 * 4 + 2, 95 * 4)
    engine = engines.start()
    engines.fold(engine, [frame for place, frame in enumerate(tape) if place not in hole])
    engine.commit()
    engine._committer.wait()
    after, minute = (START + 95 * 60_000) * 1000, (START + 94 * 60_000) * 1000
    [seemed] = stored.outliers(after)
    assert (seemed.opened_at, seemed.state, seemed.revision) == (after, "provisional", 1)
    assert seemed.evidence["jump"] == pytest.approx(math.log(1.08), abs=0.01)
    assert seemed in engines.view.signals.newest()
    engines.fold(engine, [tape[place] for place in hole])
    engine.commit()
    changed, _, _ = engines.view.signals.since(0)
    engine.close()
    told = {(s.opened_at, s.revision): s for s in stored.outliers(minute, after)}
    assert {key: s.state for key, s in told.items()} == {
        (after, 1): "provisional",
        (after, 2): "retracted",
        (minute, 1): "confirmed",
    }
    gone = told[after, 2]
    assert abs(gone.evidence["jump"]) < 0.01
    assert abs(gone.score) < keen.outlier_score
    assert gone in changed
    assert stored.standing() == stored.of_batch()
    stored.assert_unique()


def test_a_repair_of_what_left_memory_is_judged_on_the_lake(engines, monkeypatch, stored, trades):
    monkeypatch.setattr("tapehouse.streaming.signals.SPARE", 3)
    tape = list(trades(Random(4), {20: (Decimal(1), Decimal(100)), 90: (Decimal(400), Decimal(90))}))
    held_back = range(40 * 4 + 1, 42 * 4)
    engine = engines.start()
    told = [frame for place, frame in enumerate(tape) if place not in held_back]
    for start in range(0, len(told), 11):
        engines.fold(engine, told[start : start + 11])
        engine.commit()
    for place in held_back:
        engines.fold(engine, [tape[place]])
        engine.commit()
    engine.close()
    assert stored.standing() == stored.of_batch()
    stored.assert_unique()


def test_prices_and_moods_told_by_others_become_signals_once(engines, tape, stored):
    engine = engines.start()
    engines.fold(engine, tape[: 60 * 4])
    engine.commit()
    minute, day = START + 50 * 60_000, START // 86_400_000 * 86_400_000
    at = (START + 61 * 60_000) * 1000
    coin = {"id": "bitcoin", "usd": 103.5, "last_updated_at": minute // 1000 + 5}
    moods = [
        {"value": value, "value_classification": "Fear", "timestamp": str((day - back * 86_400_000) // 1000)}
        for back, value in ((2, "40"), (1, "22"), (0, "20"))
    ]
    answers = [
        Batch([json.dumps(coin).encode()], [at], shape="market_data", symbol="coingecko_price"),
        Batch([json.dumps(mood).encode() for mood in moods], [at] * 3, shape="sentiment", symbol="fear_greed"),
    ]
    engine.fold(answers)
    engine.commit()
    engines.fold(engine, tape[60 * 4 : 70 * 4])
    engine.close()
    expected = [("divergence", "BTCUSDT", "1m", minute), ("sentiment_extreme", "*", "1d", day - 86_400_000)]
    told = [s for s in stored.signals() if s.kind in {"divergence", "sentiment_extreme"}]
    assert sorted((s.kind, s.symbol, s.interval, s.opened_at // 1000) for s in told) == expected
    assert [s.evidence["told_price"] for s in told if s.kind == "divergence"] == ["103.5"]
    again = engines.start()
    again.fold(answers)
    again.commit()
    again.close()
    assert [s for s in stored.signals() if s.kind in {"divergence", "sentiment_extreme"}] == told


def test_nothing_is_derived_when_no_interval_is_watched(lake, engines, tape, stored, as_batch):
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"], Detection(intervals=())), now=engines.now)
    engine.fold([as_batch(tape)])
    engine.close()
    assert stored.signals() == []
    assert lake.scan(CANDLES).select(pl.len()).collect().item() > 0


def test_an_hour_corrected_later_is_taken_into_account_in_the_same_hour_of_the_weeks_after(
    lake, engines, stored, keen, trades
):
    """The hour's season is known from two weeks before on; a candle of one of those hours comes anew."""
    step, week = 3_600_000, 7 * 24 * 3_600_000
    watched = msgspec.structs.replace(keen, intervals=("1m",))
    now = START + 2 * week
    rows = [hour_row(now - back * week + shift * step, 600) for back in (1, 2) for shift in (0, 1)]
    lake.append(CANDLES, silver_candles(rows), writer="test", batch=1)
    tape = [frame for at, frame in shifted(trades(Random(4), {90: (Decimal(60), Decimal(100))}), 2 * week)]
    engines._at = now * 1000
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"], watched), now=engines.now)
    minute = (now + 90 * 60_000) * 1000
    engine.fold([Batch(tape, [(now + 60_000) * 1000] * len(tape))])
    engine.commit()
    engine._committer.wait()
    [spike] = [s for s in stored.signals() if s.kind == "volume_spike" and s.opened_at == minute]
    assert spike.evidence["times_hour_of_week"] == pytest.approx(6, rel=0.2)
    busy = [msgspec.structs.replace(hour_row(now - back * week + step, 60_000), revision=2) for back in (1, 2)]
    found = engine._books._signals.derive(busy, [], engine._ledgers, engines.now())
    assert [(s.state, s.revision) for s in found if s.kind == "volume_spike" and s.opened_at == minute] == [
        ("retracted", 2)
    ]
    engine.close()


def hour_row(opened: int, volume: int) -> CandleRow:
    units = volume * 10**8
    candle = Candle(1, 1, 1, 1, units, units, 10, units // 2, units // 2, 1, 10)
    return CandleRow("BTCUSDT", "1h", opened * 1000, candle, None, "closed", 1, opened * 1000)


def shifted(frames, by: int):
    for at, frame in frames:
        told = json.loads(frame)
        told["data"] |= {"E": told["data"]["E"] + by, "T": told["data"]["T"] + by}
        yield at + by * 1000, json.dumps(told).encode()
