"""The engine is killed between any two commits; what the lake holds is enough to go on as if nothing had happened."""

from random import Random

import polars as pl
import pytest

from tapehouse.catalog import CANDLES, COVERAGE, REJECTED, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.streaming.recovery import ranges_of, read_coverage, recover


class PowerCutError(Exception):
    """The machine is off."""


class FailingLake(DeltaLake):
    """A lake whose machine goes off after some appends; the append it stops at is not made."""

    appends_left = 10**9

    def append(self, table, frame, *, writer, batch):
        if self.appends_left == 0:
            raise PowerCutError
        self.appends_left -= 1
        return super().append(table, frame, writer=writer, batch=batch)


def candles_of(lake) -> pl.DataFrame:
    rows = highest_revisions(lake.scan(CANDLES)).drop("known_at", "revision").collect()
    return rows.sort("symbol", "interval", "opened_at")


def different(ours: pl.DataFrame, theirs: pl.DataFrame) -> list[tuple]:
    """The rows that only one of two frames has."""
    return sorted(set(ours.iter_rows()) ^ set(theirs.iter_rows()), key=str)


def check_bronze(lake, market) -> None:
    stored = lake.scan(TRADES).select("symbol", "first_trade_id", "payload").collect()
    assert stored.select("symbol", "first_trade_id").is_unique().all()
    assert sorted(stored["payload"]) == sorted(frame for _, frame in market)


def check_revisions(lake) -> None:
    """Each window's revisions are 1, 2, 3 and so on, and what was known later has the higher number."""
    rows = lake.scan(CANDLES).sort("revision").collect()
    for _, window in rows.group_by("symbol", "interval", "opened_at", maintain_order=True):
        assert window["revision"].to_list() == list(range(1, window.height + 1)), window.rows()
        assert window["known_at"].is_sorted(), window


@pytest.fixture
def undisturbed(tmp_path, start_engine, market, as_batch) -> pl.DataFrame:
    lake = DeltaLake(str(tmp_path / "undisturbed"))
    lake.create()
    engine = start_engine(lake)
    engine.fold([as_batch(market)])
    engine.close()
    return candles_of(lake)


def test_killed_between_any_two_commits_nothing_is_lost_or_counted_twice(
    tmp_path, start_engine, market, as_batch, undisturbed
):
    for appends in range(14):
        random = Random(appends)
        lake = FailingLake(str(tmp_path / f"killed after {appends}".replace(" ", "-")))
        lake.create()
        engine, place = start_engine(lake), 0
        lake.appends_left = appends
        while place < len(market) and lake.appends_left:
            size = random.choice([1, 5, 20])
            engine.fold([as_batch([*market[place : place + size], (market[place][0], b"garbage")])])
            place += size
            if random.random() < 0.5:
                try:
                    engine.commit()
                    engine._committer.wait()
                except PowerCutError:
                    break
        lake.appends_left = 10**9
        again = DeltaLake(lake.root)
        resumed = start_engine(again)
        resumed.fold([as_batch(market[max(place - 30, 0) :])])
        resumed.fold([as_batch(market)])
        resumed.close()
        check_bronze(again, market)
        check_revisions(again)
        assert different(candles_of(again), undisturbed) == [], appends


def test_a_second_start_without_anything_new_writes_nothing(lake, start_engine, market, as_batch):
    engine = start_engine(lake)
    engine.fold([as_batch(market)])
    engine.close()
    before = {table: lake.scan(table).collect() for table in (TRADES, CANDLES, COVERAGE, REJECTED)}
    start_engine(lake).close()
    assert all(lake.scan(table).collect().equals(rows) for table, rows in before.items())


def test_a_restart_knows_the_last_trade_the_ranges_and_the_holes(lake, start_engine, market, as_batch):
    engine = start_engine(lake)
    bitcoin = [frame for frame in market if b'"BTCUSDT"' in frame[1]]
    engine.fold([as_batch([*bitcoin[:20], *bitcoin[25:60]])])
    engine.close()
    found = recover(lake, ["BTCUSDT"])
    assert list(found.ledgers["BTCUSDT"].coverage.held) == [(1000, 1019), (1025, 1059)]
    [hole] = found.holes
    assert (hole.symbol, hole.first_trade_id, hole.last_trade_id) == ("BTCUSDT", 1020, 1024)
    assert hole.after <= bitcoin[20][0] <= bitcoin[24][0] <= hole.before
    assert found.last["BTCUSDT"].last_trade_id == 1059


def test_a_hole_found_before_a_crash_and_repaired_after_it_leaves_no_trace_in_the_candles(
    lake, start_engine, market, as_batch, undisturbed
):
    random = Random(5)
    lost = set(random.sample(range(3, len(market) - 3), 12))
    engine = start_engine(lake)
    for place in range(0, len(market), 25):
        part = [market[n] for n in range(place, min(place + 25, len(market))) if n not in lost]
        engine.fold([as_batch(part)])
        engine.commit()
    engine._committer.wait()
    resumed = start_engine(lake)
    assert resumed.holes.all()
    for place in sorted(lost, reverse=True):
        resumed.fold([as_batch([market[place]])])
        resumed.commit()
    resumed.close()
    assert resumed.holes.all() == []
    check_bronze(lake, market)
    check_revisions(lake)
    assert different(candles_of(lake), undisturbed) == []
    held, missing, _ = read_coverage(lake)
    assert missing == {}
    assert {symbol: len(ranges) for symbol, ranges in held.items()} == {"BTCUSDT": 1, "ETHUSDT": 1}


def test_rows_become_runs_whatever_their_order():
    rows = [("B", 5, 5), ("A", 1, 3), ("A", 9, 9), ("A", 4, 4), ("B", 6, 8)]
    frame = pl.DataFrame(rows, schema=["symbol", "first_trade_id", "last_trade_id"], orient="row")
    assert ranges_of(frame) == [("A", 1, 4), ("A", 9, 9), ("B", 5, 8)]
