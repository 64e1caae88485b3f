"""The Spark engine gives what the embedded engine gives for the same tape, whichever way its batches take."""

import gzip
import json
from random import Random

import polars as pl
import pytest

from tapehouse.catalog import CANDLES, OTHER_EVENTS, REJECTED, TRADES
from tapehouse.lake.history import highest_revisions
from tapehouse.ports import Batch
from tapehouse.profiles.storage import open_lake
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


def test_a_batch_that_was_committed_is_not_committed_again_by_the_next_start(records, market, start_engine, lake):
    first, second = cut(market, 500)[:2]
    engine = start_engine(lake)
    engine.take(records([("crypto-prices", first)]), 0)
    engine.take(records([("crypto-prices", second)], 500), 1)
    stored = trades_of(lake)
    again = start_engine(lake)
    for ledger in again._ledgers.values():
        ledger.coverage.held.remove(0, 10**9)  # as if recovery had not found them
    again.take(records([("crypto-prices", second)], 500), 1)
    assert trades_of(lake).equals(stored)


def test_rows_of_the_exchanges_answers_leave_residues_as_in_the_embedded_engine(
    records, market, start_engine, embedded_lake, lake
):
    ours = [frame for frame in market if b"BTCUSDT" in frame[1]]
    told = json.loads(ours[60][1])["data"]
    row = {"a": 1, "p": told["p"], "q": "9.9", "f": told["t"] - 1, "l": told["t"] + 3, "T": told["T"], "m": told["m"]}
    answer = Batch([json.dumps(row).encode()], [ours[60][0]], shape="aggTrades", symbol="BTCUSDT")
    tape = [as_batch(ours[:60]), answer, as_batch(ours[64:])]
    engine = start_engine(lake)
    engine._rows_before = FEW + 1
    engine.take(records([("crypto-prices", batch) for batch in tape]), 0)
    expected = embedded_lake(tape)
    assert candles_of(lake).equals(candles_of(expected))
    assert trades_of(lake).equals(trades_of(expected))


def test_an_amount_that_fits_no_column_is_refused_and_its_neighbours_are_kept(
    records, market, start_engine, embedded_lake, lake
):
    at, frame = market[5]
    bad = json.loads(frame)
    bad["data"]["t"] = 10**30
    poison = [(at, json.dumps(bad).encode()), (at, b"\xff\xfe"), (at, b"")]
    batches = [as_batch([*market[:200], *poison, *market[200:400]])]
    engine = start_engine(lake)
    engine._rows_before = FEW + 1
    engine.take(records([("crypto-prices", batches[0])]), 0)
    expected = embedded_lake(batches)
    assert trades_of(lake).equals(trades_of(expected))
    assert lake.scan(REJECTED).collect().equals(expected.scan(REJECTED).collect())


@pytest.mark.recordings
def test_the_recorded_minutes_give_the_embedded_engines_tables(records, recordings, start_engine, embedded_lake, lake):
    frames = []
    for day in ("20240808", "20240809"):
        with gzip.open(recordings / "1-binance-ws" / f"hftbacktest_spot_btcusdt_{day}.gz", "rt") as lines:
            stamped = (line.strip().partition(" ") for line in lines)
            frames += [(int(at) // 1000, text.encode()) for at, _, text in stamped if '@trade"' in text[:40]]
    batches = cut(frames, 11_000)
    engine = start_engine(lake)
    for number, batch in enumerate(batches):
        engine.take(records([("crypto-prices", batch)], number * 11_000), number)
    expected = embedded_lake(batches)
    assert candles_of(lake).equals(candles_of(expected))
    assert trades_of(lake).equals(trades_of(expected))


def test_a_lake_in_a_bucket_gets_the_same_tables(records, market, start_engine, embedded_lake, cluster_settings):
    lake = open_lake(cluster_settings)
    engine = start_engine(lake)
    for number, batch in enumerate(cut(market, 400)):
        engine.take(records([("crypto-prices", batch)], number * 400), number)
    expected = embedded_lake(cut(market, 400))
    assert candles_of(lake).equals(candles_of(expected))
    assert trades_of(lake).equals(trades_of(expected))
