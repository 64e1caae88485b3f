"""Kafka orders a partition, and nothing between two: in whatever order they are read, the tables are the same."""

import itertools
from random import Random

import pytest

from tapehouse.catalog import CANDLES, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView

SYMBOLS = ("BTCUSDT", "ETHUSDT")
AFTER = 1_723_164_600_000_000
"""Microseconds: an hour after the market began."""


@pytest.fixture
def lanes(market, exchanges_klines, as_message):
    """What is on the topics: for each symbol a partition of trades, some late or told twice, and one of klines."""
    random = Random(5)
    made = []
    for symbol in SYMBOLS:
        trades = [each for each in market if symbol.encode() in each[1]]
        late = [trades.pop(random.randrange(1, len(trades) - 1)) for _ in range(5)]
        klines = [as_message(kline) for kline in exchanges_klines(market, symbol).values()]
        made += [trades + late + trades[20:40], klines[:-1]]
    return made


def tables(root, batches):
    """Take the batches to a lake of its own; return its candles, without when they were known, and its trades."""
    ticks = itertools.count(AFTER, 333_333)
    lake = DeltaLake(str(root))
    lake.create()
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, SYMBOLS), now=lambda: next(ticks))
    for batch in batches:
        engine.fold([batch])
        engine.commit_when_due()
    engine.close()
    candles = highest_revisions(lake.scan(CANDLES)).drop("revision", "known_at").collect()
    return candles.sort("symbol", "interval", "opened_at"), lake.scan(TRADES).collect().sort("symbol", "first_trade_id")


def batched(frames, random):
    frames = iter(frames)
    while taken := list(itertools.islice(frames, random.choice([1, 7, 60]))):
        yield Batch([frame for _, frame in taken], [at for at, _ in taken])


def interleaved(lanes, random):
    """Take from the lanes at random, each in its own order."""
    left = [list(reversed(lane)) for lane in lanes]
    while left := [lane for lane in left if lane]:
        lane = random.choice(left)
        for _ in range(min(len(lane), random.choice([1, 5, 100]))):
            yield lane.pop()


ORDERS = {
    "as it was received": lambda lanes: sorted(itertools.chain(*lanes)),
    "one partition after the other": lambda lanes: itertools.chain(*lanes),
    "klines before the trades they tell of": lambda lanes: itertools.chain(*reversed(lanes)),
    **{f"at random {seed}": lambda lanes, seed=seed: interleaved(lanes, Random(seed)) for seed in range(4)},
}


@pytest.mark.parametrize("order", ORDERS)
def test_tables_are_those_of_one_lane_after_the_other(tmp_path, lanes, order):
    candles, trades = tables(tmp_path / "plain", batched(itertools.chain(*lanes), Random(0)))
    assert {"closed", "quiet"} <= set(candles["state"])
    ours, held = tables(tmp_path / "this", batched(ORDERS[order](lanes), Random(1)))
    assert held.equals(trades)
    assert ours.equals(candles), ours.join(candles, on=ours.columns, how="anti", nulls_equal=True)
