"""A follower beside the engine that writes: what it shows is what the lake will say, and never counts a trade twice."""

import itertools
from pathlib import Path

import msgspec
import polars as pl
import pytest

from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.catalog import CANDLES
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.snapshot import Snapshot
from tapehouse.market.windows import INTERVALS
from tapehouse.streaming.followed_view import NOT_STORED, FollowedView
from tapehouse.streaming.follower import Follower
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.settled import Settled
from tapehouse.streaming.view import LiveView

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


class Beside:
    """A follower of what a lake holds at one moment, and what the API answers from it."""

    def __init__(self, lake: DeltaLake, snapshot: Snapshot | None = None) -> None:
        self.lake = DeltaLake(lake.root, writer=None)
        snapshot = snapshot or Snapshot(self.lake)
        self.view = FollowedView()
        ticks = itertools.count(1_723_190_000_000_000, 333_333)
        self.follower = Follower(self.lake, self.view, recover(snapshot, SYMBOLS), now=lambda: next(ticks))
        self.settled = Settled(self.lake, snapshot)

    def look(self) -> None:
        rows, signals, _ = self.settled.look()
        self.follower.take_over(rows, signals)


def candles(view: LiveView, lake: DeltaLake, symbol: str, interval: str):
    return Queries(view, lake).candles(CandleQuery(symbol, interval, 1000))


def contents(view, lake):
    """All that is shown, but for when it came to be known."""
    return {
        (symbol, interval): [msgspec.structs.replace(row, known_at=0) for row in candles(view, lake, symbol, interval)]
        for symbol, interval in itertools.product(SYMBOLS, INTERVALS)
    }


@pytest.fixture
def write(lake, start_engine):
    """The engine that writes, and a way to let it take frames and commit them."""
    engine = start_engine(lake)

    def take(*batches) -> None:
        engine.fold(batches)
        engine.commit()
        engine._committer.wait()

    take.view = engine._view
    yield take
    engine.close()


@pytest.mark.parametrize("committed", [0, 1, 57, 110])
@pytest.mark.parametrize("again", [0, 40])
def test_whatever_was_committed_before_it_shows_what_the_writing_engine_shows(
    lake, write, market, as_batch, committed, again
):
    if committed:
        write(as_batch(market[:committed]))
    beside = Beside(lake)
    rest = market[max(0, committed - again) :]
    for begin in range(0, len(rest), 23):
        beside.follower.fold([as_batch(rest[begin : begin + 23])])
    write(as_batch(market[committed:]))
    assert contents(beside.view, beside.lake) == contents(write.view, lake)
    beside.look()
    for symbol, interval in itertools.product(SYMBOLS, INTERVALS):
        assert candles(beside.view, beside.lake, symbol, interval) == candles(write.view, lake, symbol, interval)


def test_what_is_committed_while_it_starts_is_not_counted_twice(lake, write, market, as_batch):
    """Trades and candles are committed between two of its reads; then the tape tells it of them as well."""
    write(as_batch(market[:100]))
    snapshot = Snapshot(DeltaLake(lake.root, writer=None))
    write(as_batch(market[100:]))
    beside = Beside(lake, snapshot)
    beside.follower.fold([as_batch(market[60:])])
    beside.look()
    assert contents(beside.view, beside.lake) == contents(write.view, lake)
    held = {symbol: health.last_trade_id for symbol, health in beside.view.health().items()}
    assert held == {symbol: health.last_trade_id for symbol, health in write.view.health().items()}


def test_a_settled_window_that_is_not_stored_yet_is_the_first_revision_and_known_to_no_table(lake, market, as_batch):
    beside = Beside(lake)
    beside.follower.fold([as_batch(market)])
    shown = [row for row in candles(beside.view, beside.lake, "BTCUSDT", "1m") if row.state != "open"]
    assert {(row.revision, row.known_at) for row in shown} == {(1, NOT_STORED)}


def test_a_late_trade_is_shown_as_the_revision_that_the_lake_will_give_it(lake, write, market, as_batch):
    late = [frame for frame in market if b"BTCUSDT" in frame[1]][-12]
    rest = [frame for frame in market if frame is not late]
    write(as_batch(rest))
    beside = Beside(lake)
    before = contents(beside.view, beside.lake)
    beside.follower.fold([as_batch([late])])
    shown = contents(beside.view, beside.lake)
    assert shown != before
    write(as_batch([late]))
    assert shown == contents(write.view, lake)
    beside.look()
    assert shown == contents(beside.view, beside.lake)


def test_what_the_lake_came_to_know_later_than_we_is_shown_as_the_lake_has_it(lake, write, market, as_batch):
    """As after `tapehouse rebuild`: a revision the tape does not tell of."""
    write(as_batch(market))
    beside = Beside(lake)
    row = next(row for row in beside.view.recent_candles("BTCUSDT", "1m") if row.state == "closed")
    corrected = msgspec.structs.replace(row, revision=row.revision + 1, known_at=row.known_at + 1, state="gap")
    beside.follower.take_over([corrected])
    assert corrected in beside.view.recent_candles("BTCUSDT", "1m")
    beside.follower.take_over([row])  # told again by a file that upkeep wrote anew
    assert corrected in beside.view.recent_candles("BTCUSDT", "1m")


def test_revisions_of_the_lake_are_told_to_whoever_listens(lake, write, market, as_batch):
    beside = Beside(lake)
    beside.follower.fold([as_batch(market)])
    write(as_batch(market))
    told = []
    beside.view.publish = lambda _chunks, rows: told.extend(rows)
    beside.look()
    assert sorted(told, key=str) == sorted(_stored(lake), key=str)
    beside.look()
    assert len(told) == lake.scan(CANDLES).collect().height


def _stored(lake):
    from tapehouse.streaming.rows import candle_rows

    return candle_rows(lake.scan(CANDLES).collect())


def test_a_look_that_fails_half_way_loses_nothing_to_the_next(lake, write, market, as_batch, tmp_path):
    beside = Beside(lake)
    write(as_batch(market))
    (file, *_) = Path(lake.root, CANDLES).glob("date=*/*.parquet")
    away = file.rename(tmp_path / "away")
    with pytest.raises((LakeError, FileNotFoundError, pl.exceptions.PolarsError)):
        beside.settled.look()
    away.rename(file)
    rows, *_ = beside.settled.look()
    assert sorted(rows, key=str) == sorted(_stored(lake), key=str)
    assert beside.settled.look()[0] == []


def test_a_follower_writes_nothing(lake, market, as_batch):
    beside = Beside(lake)
    versions = {name: lake.version(name) for name in lake._tables}
    beside.follower.fold([as_batch(market)])
    assert {name: lake.version(name) for name in lake._tables} == versions


def test_a_moment_that_is_past_takes_no_rows_and_shows_none_that_came_later(lake, write, market, as_batch):
    snapshot = Snapshot(lake)
    write(as_batch(market))
    assert snapshot.scan(CANDLES).collect().height == 0
    assert snapshot.dates(CANDLES) == []
    with pytest.raises(LakeError, match="past"):
        snapshot.append(CANDLES, lake.scan(CANDLES).collect(), writer="engine", batch=0)
    days = lake.dates(CANDLES)
    assert len(days) == 2
    later = Snapshot(lake)
    assert later.dates(CANDLES) == days
    assert later.scan(CANDLES, dates=days[:1]).collect()["date"].unique().cast(str).to_list() == days[:1]
