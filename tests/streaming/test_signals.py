"""Signals in the embedded engine: stored with their candles, retracted by a repair, none twice or lost by a kill."""

import asyncio
import itertools
import json
import math
from decimal import Decimal
from random import Random

import msgspec
import polars as pl
import pytest

from tapehouse.catalog import CANDLES, COVERAGE, SIGNALS
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.lake.snapshot import Snapshot
from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import Seasons
from tapehouse.market.signals import Detection, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import INTERVALS, MINUTE
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.followed_view import FollowedView
from tapehouse.streaming.follower import Follower
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import candle_rows, signals_of, silver_candles
from tapehouse.streaming.settled import Settled
from tapehouse.streaming.view import Interest, LiveView

START = 1_723_161_600_000  # milliseconds, the beginning of a day
MINUTES = 130
KEEN = Detection(
    intervals=("1m", "5m"),
    baseline=20,
    volume_score=3.0,
    outlier_score=4.0,
    vwap_score=2.5,
    taker_score=2.0,
    volatility_ratio=1.5,
    minimum_quote_volume=0,
)


@pytest.fixture
def tape() -> list[tuple[int, bytes]]:
    """Two hours of four trades a minute; in minute 90 one of them is enormous and far off."""
    return list(trades(Random(4), {90: (Decimal(400), Decimal(90))}))


def trades(random: Random, special: dict[int, tuple[Decimal, Decimal]], rises_at: int = -1):
    price = Decimal(100)
    for number in range(MINUTES * 4):
        price *= Decimal("1.08") if number == rises_at else 1
        minute, part = divmod(number, 4)
        at = START + minute * 60_000 + part * 15_000 + random.randrange(10_000)
        price = round(price * (1 + Decimal(random.gauss(0, 0.0005))), 4)
        quantity = round(Decimal(random.lognormvariate(0, 0.3)), 3)
        size, told = special[minute] if part == 2 and minute in special else (quantity, price)
        fields = {"e": "trade", "E": at, "s": "BTCUSDT", "t": 1000 + number, "p": f"{told}", "q": f"{size}"}
        frame = {"stream": "btcusdt@trade", "data": {**fields, "T": at, "m": random.random() < 0.5}}
        yield at * 1000, json.dumps(frame).encode()


def batch(frames) -> Batch:
    return Batch(frames=[frame for _, frame in frames], received_at=[at for at, _ in frames])


class Engines:
    """Starts engines over one lake, on a clock that goes with the tape and on from where it was."""

    def __init__(self, lake) -> None:
        self.lake = lake
        self.view = LiveView()
        self._steps = itertools.count(1)
        self._at = START * 1000

    def now(self) -> int:
        return self._at + next(self._steps)

    def advance(self, microseconds: int) -> None:
        self._at += microseconds

    def start(self) -> EmbeddedEngine:
        self.view = LiveView()
        return EmbeddedEngine(self.lake, self.view, recover(self.lake, ["BTCUSDT"], KEEN), now=self.now)

    def fold(self, engine: EmbeddedEngine, frames) -> None:
        self._at = max(self._at, frames[-1][0])
        engine.fold([batch(frames)])


@pytest.fixture
def engines(lake) -> Engines:
    return Engines(lake)


def stored(lake) -> list[Signal]:
    return signals_of(lake.scan(SIGNALS).sort("known_at", "opened_at", "revision").collect())


def standing(signals) -> dict:
    newest = {(s.kind, s.interval, s.opened_at): s for s in sorted(signals, key=lambda s: s.revision)}
    return {key: (s.score, s.state, s.evidence) for key, s in newest.items() if s.state != "retracted"}


def outliers(lake, *openings: int) -> list[Signal]:
    return [s for s in stored(lake) if (s.kind, s.interval) == ("price_outlier", "1m") and s.opened_at in openings]


def of_batch(lake) -> dict:
    """What follows from the newest candles of the lake, each taken once and in order."""
    candles = candle_rows(highest_revisions(lake.scan(CANDLES)).sort("opened_at").collect())
    found: list[Signal] = []
    for interval in KEEN.intervals:
        rows = [row for row in candles if row.interval == interval]
        origin = rows[0].opened_at - reach(KEEN) * INTERVALS[interval]
        watch = Watch("BTCUSDT", interval, origin, KEEN, Seasons(rows[0].opened_at))
        for row in rows:
            watch.put(row)
        found += watch.derive(0)
    return standing(found)


def assert_unique(lake) -> None:
    keys = ["kind", "symbol", "interval", "opened_at", "revision"]
    rows = lake.scan(SIGNALS).collect()
    assert rows.select(keys).is_unique().all()
    for _, group in rows.sort("revision").group_by(keys[:-1]):
        assert group["revision"].to_list() == list(range(1, group.height + 1))
        assert group["known_at"].is_sorted()


def test_what_is_stored_is_what_a_batch_finds_and_the_view_has_it_first(lake, engines, tape):
    engine = engines.start()
    for start in range(0, len(tape), 7):
        engines.fold(engine, tape[start : start + 7])
        engine.commit()
    shown = engines.view.signals.newest()
    engine.close()
    assert standing(stored(lake)) == of_batch(lake) == standing(shown)
    spike = "volume_spike", "1m", (START + 90 * 60_000) * 1000
    assert standing(stored(lake))[spike][1] == "confirmed"
    assert ("price_outlier", *spike[1:]) in standing(stored(lake))
    assert_unique(lake)


def test_a_repaired_hole_confirms_what_was_provisional_and_revises_what_rests_on_it(lake, engines, tape):
    held_back = {90 * 4 + 1, *range(100 * 4, 100 * 4 + 2)}
    engine = engines.start()
    engines.fold(engine, [frame for place, frame in enumerate(tape) if place not in held_back])
    engine.commit()
    engine._committer.wait()
    minute, before = (START + 90 * 60_000) * 1000, stored(lake)
    assert {s.state for s in before if s.opened_at == minute and s.interval == "1m"} == {"provisional"}
    engines.fold(engine, [tape[place] for place in sorted(held_back)])
    engine.close()
    after = standing(stored(lake))
    assert {state for key, (_, state, _) in after.items() if key[1:] == ("1m", minute)} == {"confirmed"}
    assert after == of_batch(lake)
    assert_unique(lake)


def test_a_signal_whose_ground_a_repair_takes_away_is_retracted_and_says_what_is_true_now(lake, engines):
    """While the end of a minute is missing the next one seems to jump; with it, the jump was in the minute before."""
    tape = list(trades(Random(1), {}, rises_at=94 * 4 + 2))
    hole = range(94 * 4 + 2, 95 * 4)
    engine = engines.start()
    engines.fold(engine, [frame for place, frame in enumerate(tape) if place not in hole])
    engine.commit()
    engine._committer.wait()
    after, minute = (START + 95 * 60_000) * 1000, (START + 94 * 60_000) * 1000
    [seemed] = outliers(lake, after)
    assert (seemed.opened_at, seemed.state, seemed.revision) == (after, "provisional", 1)
    assert seemed.evidence["jump"] == pytest.approx(math.log(1.08), abs=0.01)
    assert seemed in engines.view.signals.newest()
    engines.fold(engine, [tape[place] for place in hole])
    engine.commit()
    changed, _, _ = engines.view.signals.since(0)
    engine.close()
    told = {(s.opened_at, s.revision): s for s in outliers(lake, minute, after)}
    assert {key: s.state for key, s in told.items()} == {
        (after, 1): "provisional",
        (after, 2): "retracted",
        (minute, 1): "confirmed",
    }
    gone = told[after, 2]
    assert abs(gone.evidence["jump"]) < 0.01
    assert abs(gone.score) < KEEN.outlier_score
    assert gone in changed
    assert standing(stored(lake)) == of_batch(lake)
    assert_unique(lake)


def test_a_repair_of_what_left_memory_is_judged_on_the_lake(lake, engines, monkeypatch):
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
    assert standing(stored(lake)) == of_batch(lake)
    assert_unique(lake)


class FragileLake(DeltaLake):
    """A real lake whose process dies at one of its commits: it refuses that one and all that follow."""

    dies_at = -1
    commits = 0

    def append(self, table, frame, *, writer, batch):
        self.commits += 1
        if 0 <= self.dies_at <= self.commits:
            raise LakeError("killed")
        return super().append(table, frame, writer=writer, batch=batch)


@pytest.mark.parametrize("seed", range(4))
def test_killed_between_any_two_commits_it_loses_no_signal_and_writes_none_twice(tmp_path, tape, seed):
    random = Random(seed)
    root = str(tmp_path / "lake")
    lake = FragileLake(root)
    lake.create()
    engines = Engines(lake)
    place = 0
    while place < len(tape):
        lake.commits, lake.dies_at = 0, random.choice([1, 2, 3, 5, 9, 14, 30])
        engine = engines.start()
        held = engine._ledgers["BTCUSDT"].coverage.last
        place = max(held - 999, 0)  # the exchange tells again what is not held
        try:
            while place < len(tape):
                size = random.choice([3, 20, 60])
                engines.fold(engine, tape[place : place + size])
                place += size
                engine.commit()
            engine.close()
        except LakeError:
            place = 0
        if engine._committer._thread.is_alive():
            engine._committer._units.put(None)
            engine._committer._thread.join()
    lake.dies_at = -1
    engine = engines.start()
    engine.close()
    assert standing(stored(lake)) == of_batch(lake)
    assert_unique(lake)


def test_a_start_with_nothing_new_writes_nothing(lake, engines, tape):
    engine = engines.start()
    engines.fold(engine, tape)
    engine.close()
    before = {table: lake.version(table) for table in (CANDLES, SIGNALS, COVERAGE)}
    again = engines.start()
    again.commit()
    again.close()
    assert {table: lake.version(table) for table in (CANDLES, SIGNALS)} == {t: before[t] for t in (CANDLES, SIGNALS)}
    assert lake.scan(SIGNALS).select(pl.len()).collect().item() > 0


def test_an_open_window_is_told_while_somebody_watches_and_never_stored(lake, engines, tape):
    engine = engines.start()
    engines.fold(engine, tape[: 90 * 4])
    engine.commit()
    minute = (START + 90 * 60_000) * 1000
    engines.fold(engine, tape[90 * 4 : 90 * 4 + 3])
    assert engines.view.signals.open() == []
    loop = asyncio.new_event_loop()
    watcher = engines.view.subscribe(loop, lambda: Interest(signals=frozenset({"BTCUSDT"})))
    engines.advance(1_000_000)
    engines.fold(engine, tape[90 * 4 + 2 : 90 * 4 + 3])
    seen = {(s.kind, s.interval): s for s in engines.view.signals.open()}
    spike = seen["volume_spike", "1m"]
    assert (spike.opened_at, spike.state, spike.revision) == (minute, "provisional", 0)
    engine.commit()
    engine._committer.wait()
    assert [s for s in stored(lake) if s.opened_at == minute and s.interval == "1m"] == []
    engines.advance(1_000_000)
    engines.fold(engine, tape[90 * 4 + 3 : 91 * 4 + 1])
    engine.commit()
    told = [s for s in engines.view.signals.since(0)[0] if (s.kind, s.interval) == ("volume_spike", "1m")]
    told = [(s.state, s.revision) for s in told if s.opened_at == minute]
    assert told[0] == ("provisional", 0)
    assert told[-1] == ("confirmed", 1)
    assert ("retracted", 0) not in told
    engines.view.unsubscribe(watcher)
    loop.close()
    engine.close()


def test_what_an_open_window_says_no_more_is_told_as_gone(engines):
    view = engines.view.signals
    spike = Signal("volume_spike", "BTCUSDT", "1m", START * 1000, 5.0, "provisional", {}, 0, 1)
    open_until, over = spike.opened_at + MINUTE - 1, spike.opened_at + MINUTE
    for seen in ([spike], [spike], []):
        view.foresee("BTCUSDT", seen, open_until)
    assert [(s.state, s.revision) for s in view.since(0)[0]] == [("provisional", 0), ("retracted", 0)]
    view.foresee("BTCUSDT", [spike], open_until)
    view.foresee("BTCUSDT", [], over)
    assert len(view.since(0)[0]) == 3
    view.publish([])
    assert [(s.state, s.revision) for s in view.since(0)[0]][3:] == [("retracted", 0)]
    assert view.open() == []


def test_prices_and_moods_told_by_others_become_signals_once(lake, engines, tape):
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
    told = [s for s in stored(lake) if s.kind in {"divergence", "sentiment_extreme"}]
    assert sorted((s.kind, s.symbol, s.interval, s.opened_at // 1000) for s in told) == expected
    assert [s.evidence["told_price"] for s in told if s.kind == "divergence"] == ["103.5"]
    again = engines.start()
    again.fold(answers)
    again.commit()
    again.close()
    assert [s for s in stored(lake) if s.kind in {"divergence", "sentiment_extreme"}] == told


def test_context_that_was_committed_without_its_signals_is_judged_at_the_next_start(tmp_path, tape):
    lake = FragileLake(str(tmp_path / "lake"))
    lake.create()
    engines = Engines(lake)
    engine = engines.start()
    engines.fold(engine, tape[: 60 * 4])
    engine.commit()
    engine._committer.wait()
    minute, at = START + 50 * 60_000, (START + 61 * 60_000) * 1000
    coin = {"id": "bitcoin", "usd": 103.5, "last_updated_at": minute // 1000 + 5}
    engine.fold([Batch([json.dumps(coin).encode()], [at], shape="market_data", symbol="coingecko_price")])
    lake.commits, lake.dies_at = 0, 2
    engine.commit()
    with pytest.raises(LakeError, match="killed"):
        engine._committer.wait()
    engine._committer._units.put(None)
    engine._committer._thread.join()
    assert "divergence" not in {s.kind for s in stored(lake)}
    lake.dies_at = -1
    again = engines.start()
    again.commit()
    again.close()
    assert [s.opened_at // 1000 for s in stored(lake) if s.kind == "divergence"] == [minute]


def test_nothing_is_derived_when_no_interval_is_watched(lake, engines, tape):
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"], Detection(intervals=())), now=engines.now)
    engine.fold([batch(tape)])
    engine.close()
    assert stored(lake) == []
    assert lake.scan(CANDLES).select(pl.len()).collect().item() > 0


def test_an_hour_corrected_later_is_taken_into_account_in_the_same_hour_of_the_weeks_after(lake, engines):
    """The hour's season is known from two weeks before on; a candle of one of those hours comes anew."""
    step, week = 3_600_000, 7 * 24 * 3_600_000
    watched = msgspec.structs.replace(KEEN, intervals=("1m",))
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
    [spike] = [s for s in stored(lake) if s.kind == "volume_spike" and s.opened_at == minute]
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


def test_a_follower_tells_from_the_tape_what_the_lake_will_tell_and_takes_over_what_it_tells(lake, engines, tape):
    engine = engines.start()
    engines.fold(engine, tape[: 80 * 4])
    engine.commit()
    engine._committer.wait()
    beside, view = DeltaLake(lake.root, writer=None), FollowedView()
    snapshot = Snapshot(beside)
    view.signals.recall(snapshot)
    follower = Follower(beside, view, recover(snapshot, ["BTCUSDT"], KEEN), now=engines.now)
    settled = Settled(beside, snapshot)
    follower.fold([batch(tape[80 * 4 :])])
    spike = "volume_spike", "1m", (START + 90 * 60_000) * 1000
    [ahead] = [s for s in view.signals.newest() if (s.kind, s.interval, s.opened_at) == spike]
    assert (ahead.state, ahead.revision, ahead.known_at) == ("confirmed", 1, 0)
    engines.fold(engine, tape[80 * 4 :])
    engine.close()
    rows, signals, committed = settled.look()
    follower.take_over(rows, signals)
    assert committed is False
    assert standing(view.signals.newest()) == standing(stored(lake)) == of_batch(lake)
    assert all(s.known_at > 0 for s in view.signals.newest())
    assert settled.look() == ([], [], False)
