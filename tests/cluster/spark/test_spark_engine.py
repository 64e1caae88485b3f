"""The Spark engine gives what the embedded engine gives for the same tape, whichever way its batches take."""

from random import Random

import polars as pl
import pytest

from tapehouse.catalog import CANDLES, OTHER_EVENTS, REJECTED, TRADES
from tapehouse.lake.history import highest_revisions
from tapehouse.ports import Batch
from tapehouse.streaming.spark import FEW


def candles_of(lake) -> pl.DataFrame:
    rows = highest_revisions(lake.scan(CANDLES)).drop("known_at", "revision").collect()
    return rows.sort("symbol", "interval", "opened_at")


def trades_of(lake) -> pl.DataFrame:
    return lake.scan(TRADES).sort("symbol", "first_trade_id").collect()


def as_batch(frames) -> Batch:
    return Batch([frame for _, frame in frames], [at for at, _ in frames])


def cut(frames, size):
    return [as_batch(frames[place : place + size]) for place in range(0, len(frames), size)]


@pytest.mark.parametrize("rows_before", [FEW + 1, 0], ids=["in the workers", "on the driver"])
def test_a_regular_tape_gives_the_embedded_engines_tables(
    records, market, start_engine, embedded_lake, lake, rows_before
):
    engine = start_engine(lake)
    for number, batch in enumerate(cut(market, 400)):
        engine._rows_before = rows_before
        engine.take(records([("crypto-prices", batch)], number * 400), number)
    expected = embedded_lake(cut(market, 400))
    assert candles_of(lake).equals(candles_of(expected))
    assert trades_of(lake).equals(trades_of(expected))


def test_late_repeated_unordered_and_missing_trades_give_the_embedded_engines_tables(
    records, market, start_engine, embedded_lake, lake
):
    random = Random(3)
    frames = [frame for frame in market if random.random() > 0.02]
    frames = frames[:200] + frames[260:400] + frames[180:300] + frames[400:]
    frames[100:140] = random.sample(frames[100:140], 40)
    batches = cut([*frames, (frames[-1][0], b"{bad"), (frames[-1][0], b'{"data":{"e":"listStatus"}}')], 300)
    engine = start_engine(lake)
    for number, batch in enumerate(batches):
        engine._rows_before = FEW + 1
        engine.take(records([("crypto-prices", batch)], number * 300), number)
    expected = embedded_lake(batches)
    assert candles_of(lake).equals(candles_of(expected))
    assert trades_of(lake).equals(trades_of(expected))
    for table in (REJECTED, OTHER_EVENTS):
        assert lake.scan(table).collect().equals(expected.scan(table).collect())
