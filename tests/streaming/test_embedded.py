"""The embedded engine on a clock of the test's own: when it commits, what it says of coverage, and its bounds."""

from math import ceil

import pytest

from tapehouse.catalog import CANDLES, COVERAGE, DISCREPANCIES, KLINES, REJECTED, TRADES
from tapehouse.market.events import Rejected
from tapehouse.market.windows import SECOND
from tapehouse.streaming import embedded
from tapehouse.streaming.embedded import COVERAGE_EVERY, LOAD, LOOK_TAKES, UNHURRIED, EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import to_microseconds, trade_columns
from tapehouse.streaming.verification import Finding, discrepancies
from tapehouse.streaming.view import LiveView, to_trades

SYMBOL = "BTCUSDT"
BEGUN = 1_723_200_000_000_000
HURRIED = 250_000


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.time = BEGUN

    def __call__(self) -> int:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(lake, clock):
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, [SYMBOL, "ETHUSDT"]), now=clock)
    yield engine
    engine.close()


@pytest.fixture
def bitcoin(market):
    return [frame for frame in market if b'"BTCUSDT"' in frame[1]]


def settled(engine: EmbeddedEngine) -> None:
    """Wait until what was handed over is in the lake."""
    engine._committer.wait()


def rows(lake, table: str) -> int:
    return lake.scan(table).collect().height


def ranges(lake) -> list[tuple]:
    told = lake.scan(COVERAGE).sort("known_at", "first_trade_id").collect()
    return told.select("symbol", "first_trade_id", "last_trade_id", "status").rows()


def test_few_messages_are_committed_after_two_seconds_and_not_before(lake, engine, clock, bitcoin, as_batch):
    engine.fold([as_batch(bitcoin[:5])])
    clock.time += UNHURRIED - 1
    engine.commit_when_due()
    settled(engine)
    assert rows(lake, TRADES) == 0
    clock.time += 1
    engine.commit_when_due()
    settled(engine)
    assert rows(lake, TRADES) == 5
    assert engine._view.committed_at == 0
    clock.time += UNHURRIED
    engine.commit_when_due()
    assert engine._view.committed_at == BEGUN + UNHURRIED


@pytest.mark.parametrize(("rows_more", "committed"), [(0, True), (-1, False)])
def test_under_load_a_commit_comes_before_the_shorter_interval_is_over(
    lake, engine, clock, bitcoin, as_batch, rows_more, committed
):
    waited = HURRIED - LOOK_TAKES
    frames = [(at, b"garbage") for at, _ in bitcoin[:1]] * (ceil(LOAD * waited / SECOND) + rows_more)
    engine.fold([as_batch(frames)])
    clock.time += waited - 1
    engine.commit_when_due()
    settled(engine)
    assert rows(lake, REJECTED) == 0
    clock.time += 1
    engine.commit_when_due()
    settled(engine)
    assert rows(lake, REJECTED) == (len(frames) if committed else 0)


def test_what_is_held_is_said_every_so_often_and_at_the_end(lake, engine, clock, bitcoin, as_batch):
    engine.fold([as_batch(bitcoin[:5])])
    engine.commit()
    settled(engine)
    assert ranges(lake) == []
    clock.time += COVERAGE_EVERY
    engine.fold([as_batch(bitcoin[5:9])])
    engine.commit()
    settled(engine)
    assert ranges(lake) == [(SYMBOL, 1000, 1008, "held")]
    engine.fold([as_batch(bitcoin[9:12])])
    engine.close()
    assert ranges(lake) == [(SYMBOL, 1000, 1008, "held"), (SYMBOL, 1009, 1011, "held")]


def test_a_hole_is_said_with_the_next_commit_as_far_as_it_still_is_one(lake, engine, bitcoin, as_batch):
    engine.fold([as_batch([*bitcoin[:5], *bitcoin[9:12]])])
    engine.fold([as_batch(bitcoin[5:7])])
    [hole] = engine.holes.all()
    assert (hole.first_trade_id, hole.last_trade_id) == (1007, 1008)
    engine.commit()
    settled(engine)
    assert (SYMBOL, 1007, 1008, "missing") in ranges(lake)
    assert [each for each in ranges(lake) if each[3] == "missing"] == [(SYMBOL, 1007, 1008, "missing")]
    health = engine._view.health()[SYMBOL]
    assert (health.missing_trades, health.holes) == (2, 1)
    engine.fold([as_batch(bitcoin[7:9])])
    assert engine.holes.all() == []
    assert engine._view.health()[SYMBOL].missing_trades == 0


def test_it_takes_no_more_than_the_bound_while_the_lake_is_busy(engine, monkeypatch, bitcoin, as_batch):
    monkeypatch.setattr(embedded, "MOST_ROWS", 20)
    engine.fold([as_batch(bitcoin[:19])])
    assert engine.ready
    engine.fold([as_batch(bitcoin[19:21])])
    assert not engine.ready
    engine.commit()
    assert engine.ready


def test_columns_of_a_back_fill_and_refusals_reach_the_same_tables(lake, engine, bitcoin, as_batch, clock):
    engine.fold([as_batch(bitcoin[:3])])
    trades = engine._view.recent_trades(SYMBOL, 3)
    later = [(trade, b"line") for trade in trades]
    engine.fold_columns(trade_columns(later))
    refused = Rejected("crypto-prices", "an archive's line", b"line", clock())
    engine.refuse([refused])
    engine.refuse([])
    engine.close()
    assert to_trades(lake.scan(TRADES).sort("first_trade_id").collect()) == trades
    assert lake.scan(REJECTED).collect()["reason"].to_list() == ["an archive's line"]


def test_candles_that_differ_wait_to_be_looked_into_and_what_stays_is_stored(
    lake, engine, bitcoin, as_batch, exchanges_klines, as_message
):
    klines = list(exchanges_klines(bitcoin, SYMBOL).values())
    altered = next(kline for kline in klines[2:] if kline["n"])
    told = [as_message(kline | ({"h": "99"} if kline is altered else {})) for kline in klines]
    engine.count_verified(SYMBOL, 100, 90)
    engine.fold([as_batch(sorted([*bitcoin, *told], key=lambda frame: frame[0]))])
    [check] = engine.books.disputes
    assert (check.opened_at, [column for column, _, _ in check.differences]) == (altered["t"] * 1000, ["high"])
    health = engine._view.health()[SYMBOL]
    assert (health.checked_candles, health.agreeing_candles) == (100 + len(klines), 90 + len(klines) - 1)
    engine.books.record(Finding(check, "stays", discrepancies(check, "stays", BEGUN)))
    engine.commit()
    settled(engine)
    assert rows(lake, DISCREPANCIES) == 1
    assert rows(lake, KLINES) == len(klines)


def test_what_is_folded_is_in_the_view_before_it_is_committed(lake, engine, bitcoin, as_batch):
    engine.fold([as_batch(bitcoin[:30])])
    assert [trade.first_trade_id for trade in engine._view.recent_trades(SYMBOL, 5)] == list(range(1025, 1030))
    assert engine._view.recent_candles(SYMBOL, "1m")[-1].state == "open"
    assert rows(lake, TRADES) == rows(lake, CANDLES) == 0
    engine.commit()
    settled(engine)
    assert rows(lake, TRADES) == 30
    newest = lake.scan(CANDLES).collect()["known_at"].max()
    assert to_microseconds(newest) == BEGUN
