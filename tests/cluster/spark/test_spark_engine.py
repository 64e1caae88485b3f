"""The Spark engine gives what the embedded engine gives for the same tape, whichever way its batches take."""

import itertools
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import polars as pl
import pytest
from py4j.protocol import Py4JJavaError

from tapehouse import telemetry
from tapehouse.catalog import CANDLES, COVERAGE, OTHER_EVENTS, REJECTED, SIGNALS, TRADES
from tapehouse.errors import LakeError
from tapehouse.lake import versions
from tapehouse.lake.history import highest_revisions
from tapehouse.market.windows import MINUTE
from tapehouse.ports import Batch
from tapehouse.profiles.storage import open_lake
from tapehouse.streaming import spark_partitions
from tapehouse.streaming.signal_reads import newest_signals
from tapehouse.streaming.spark import FEW

MIDNIGHT = 1_723_161_600_000_000


def candles_of(lake) -> pl.DataFrame:
    rows = highest_revisions(lake.scan(CANDLES)).drop("known_at", "revision").collect()
    return rows.sort("symbol", "interval", "opened_at")


def signals_of(lake) -> pl.DataFrame:
    rows = newest_signals(lake.scan(SIGNALS)).filter(pl.col("state") != "retracted").drop("known_at", "revision")
    return rows.sort("symbol", "interval", "kind", "opened_at").collect()


def trades_of(lake) -> pl.DataFrame:
    return lake.scan(TRADES).sort("symbol", "first_trade_id").collect()


def late_trades() -> float:
    return sum(sample.value for sample in telemetry.trades_late.collect()[0].samples if sample.name.endswith("_total"))


def as_batch(frames) -> Batch:
    return Batch([frame for _, frame in frames], [at for at, _ in frames])


def cut(frames, size):
    return [as_batch(frames[place : place + size]) for place in range(0, len(frames), size)]


def of_symbol(symbol, market):
    return [each for each in market if symbol.encode() in each[1]]


def assert_same_tables(lake, expected):
    """The trades, and of candles and signals those that count."""
    assert trades_of(lake).equals(trades_of(expected))
    assert candles_of(lake).equals(candles_of(expected))
    assert signals_of(lake).equals(signals_of(expected))


@pytest.fixture
def take_all(records):
    """Let an engine take batches one after the other, each as it would after so many records if that is told."""

    def take(engine, batches, records_before=None):
        offsets = itertools.accumulate((len(batch.frames) for batch in batches), initial=0)
        for number, (batch, offset) in enumerate(zip(batches, offsets, strict=False)):
            if records_before is not None:
                engine._records_before = records_before
            engine.take(records([("crypto-prices", batch)], offset), number)

    return take


@pytest.mark.parametrize("rows_before", [FEW + 1, 0], ids=["in the workers", "on the driver"])
def test_a_regular_tape_gives_the_embedded_engines_tables(
    take_all, market, start_engine, embedded_lake, lake, rows_before
):
    engine = start_engine(lake)
    take_all(engine, cut(market, 400), rows_before)
    expected = embedded_lake(cut(market, 400))
    assert_same_tables(lake, expected)
    assert {"price_outlier", "taker_imbalance"} == set(signals_of(lake)["kind"])


def test_late_repeated_unordered_and_missing_trades_give_the_embedded_engines_tables(
    take_all, market, start_engine, embedded_lake, lake
):
    random = Random(3)
    frames = [frame for frame in market if random.random() > 0.02]
    frames = frames[:200] + frames[260:400] + frames[180:300] + frames[400:]
    frames[100:140] = random.sample(frames[100:140], 40)
    batches = cut([*frames, (frames[-1][0], b"{bad"), (frames[-1][0], b'{"data":{"e":"listStatus"}}')], 300)
    engine = start_engine(lake)
    take_all(engine, batches, FEW + 1)
    expected = embedded_lake(batches)
    assert_same_tables(lake, expected)
    for table in (REJECTED, OTHER_EVENTS):
        assert lake.scan(table).collect().equals(expected.scan(table).collect())


@pytest.mark.parametrize("rows_before", [FEW + 1, 0], ids=["in the workers", "on the driver"])
def test_trades_later_than_the_watermark_reach_their_final_candles_and_are_counted(
    records, market, start_engine, embedded_lake, changes_of, lake, rows_before
):
    late = [each for each in market[10:] if each[0] < MIDNIGHT + 3 * MINUTE][::20]  # of two days, among others
    before_midnight = [each for each in market if MIDNIGHT - 3 * MINUTE < each[0] < MIDNIGHT and each not in late]
    run = [each for each in before_midnight if b"ETHUSDT" in each[1]]  # ids that follow each other
    batches = [as_batch([each for each in market if each not in [*late, *run]]), as_batch(late), as_batch(run)]
    engine = start_engine(lake)
    expected = embedded_lake([])
    counted = []
    for number, batch in enumerate(batches):
        engine._records_before = rows_before
        ours, theirs, counter = changes_of(lake), changes_of(expected), late_trades()
        engine.take(records([("crypto-prices", batch)], number * 1000), number)
        embedded_lake([batch])
        assert ours().equals(theirs())
        assert ours()["opened_at"].dt.date().n_unique() == 2
        counted.append(late_trades() - counter)
    assert counted == [0, len(late), len(run)]
    assert "gap" not in set(ours().filter(interval="1m")["state"])
    assert trades_of(lake).equals(trades_of(expected))


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


def test_a_symbol_that_turns_out_odd_is_left_out_of_the_file_its_worker_wrote(
    take_all, market, start_engine, embedded_lake, lake
):
    bitcoin = of_symbol("BTCUSDT", market)
    ether = of_symbol("ETHUSDT", market)
    batches = [as_batch([*bitcoin[:200], *ether[:200]]), as_batch([*bitcoin[150:400], *ether[200:400]])]
    engine = start_engine(lake)
    take_all(engine, batches, FEW + 1)
    written = [file for file in Path(lake.address(TRADES)).rglob("*.parquet") if "_delta_log" not in file.parts]
    assert len(written) > len(lake.files(TRADES))
    expected = embedded_lake(batches)
    assert_same_tables(lake, expected)


def test_a_symbol_that_turns_out_odd_costs_no_trade_of_one_that_was_no_run(
    take_all, market, start_engine, embedded_lake, lake
):
    bitcoin = of_symbol("BTCUSDT", market)
    ether = of_symbol("ETHUSDT", market)
    batches = [
        as_batch([*bitcoin[:200], *ether[:200]]),
        as_batch([*bitcoin[150:400], *ether[200:300], *ether[250:400]]),
    ]
    engine = start_engine(lake)
    take_all(engine, batches, FEW + 1)
    expected = embedded_lake(batches)
    assert_same_tables(lake, expected)


def test_a_worker_killed_after_it_wrote_its_file_leaves_no_row(
    records, market, start_engine, embedded_lake, lake, monkeypatch
):
    batches = cut(market[:800], 400)
    engine = start_engine(lake)
    engine.take(records([("crypto-prices", batches[0])]), 0)
    take_partition = spark_partitions._take_partition

    def take_and_die(aim, batches):
        list(take_partition(aim, batches))
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    monkeypatch.setattr(spark_partitions, "_take_partition", take_and_die)
    engine._records_before = FEW + 1
    second = records([("crypto-prices", batches[1])], 400)
    with pytest.raises(Py4JJavaError, match="worker exited"):
        engine.take(second, 1)
    monkeypatch.undo()
    left = {str(file) for file in Path(lake.address(TRADES)).glob("date=*/*.parquet")} - set(lake.files(TRADES))
    assert left
    assert trades_of(lake).height == 400
    start_engine(lake).take(second, 1)
    expected = embedded_lake(batches)
    assert_same_tables(lake, expected)
    for file in left:
        os.utime(file, (0, 0))
    assert versions.vacuum(lake, TRADES, datetime.now(UTC)) == len(left)
    assert trades_of(lake).equals(trades_of(expected))


def test_a_number_that_somebody_else_took_ends_the_stream(records, market, start_engine, lake):
    first, second = cut(market, 500)[:2]
    engine = start_engine(lake)
    engine.take(records([("crypto-prices", first)]), 0)
    lake.append(TRADES, trades_of(lake).clear(), writer="test", batch=1)
    with pytest.raises(LakeError, match="Commit 1 of bronze/trades is there already"):
        engine.take(records([("crypto-prices", second)], 500), 1)


def test_trades_received_before_what_is_told_as_held_are_told_with_their_batch(records, market, start_engine, lake):
    first, second = cut(market[:800], 400)
    engine = start_engine(lake)
    told = engine._received_to = engine._covered_to = 2 * market[-1][0]  # as after a back-fill that ended today
    for number, batch in enumerate((first, second)):
        engine.take(records([("crypto-prices", batch)], number * 400), number)
        covered = lake.scan(COVERAGE).filter(pl.col("known_at").dt.epoch("us") == told)
        assert covered.select((pl.col("last_trade_id") - pl.col("first_trade_id") + 1).sum()).collect().item() == (
            trades_of(lake).height
        )


def test_rows_of_the_exchanges_answers_leave_residues_as_in_the_embedded_engine(
    records, market, start_engine, embedded_lake, lake
):
    ours = of_symbol("BTCUSDT", market)
    told = json.loads(ours[60][1])["data"]
    row = {"a": 1, "p": told["p"], "q": "9.9", "f": told["t"] - 1, "l": told["t"] + 3, "T": told["T"], "m": told["m"]}
    answer = Batch([json.dumps(row).encode()], [ours[60][0]], shape="aggTrades", symbol="BTCUSDT")
    tape = [as_batch(ours[:60]), answer, as_batch(ours[64:])]
    engine = start_engine(lake)
    engine._records_before = FEW + 1
    engine.take(records([("crypto-prices", batch) for batch in tape]), 0)
    expected = embedded_lake(tape)
    assert_same_tables(lake, expected)


def test_a_late_row_of_the_exchanges_answers_counts_as_the_trades_of_it_that_are_new(
    records, market, start_engine, lake
):
    ours = [frame for frame in market if b"BTCUSDT" in frame[1]]
    told = json.loads(ours[60][1])["data"]
    row = {"a": 1, "p": told["p"], "q": "9.9", "f": told["t"] - 1, "l": told["t"] + 3, "T": told["T"], "m": told["m"]}
    answer = Batch([json.dumps(row).encode()], [ours[60][0]], shape="aggTrades", symbol="BTCUSDT")
    engine, before = start_engine(lake), late_trades()
    engine.take(records([("crypto-prices", as_batch([*ours[:60], ours[62], *ours[64:]]))]), 0)
    engine.take(records([("crypto-prices", answer)], 1000), 1)
    assert late_trades() - before == 3  # of five: the first and one between are held


def test_an_amount_that_fits_no_column_is_refused_and_its_neighbours_are_kept(
    records, market, start_engine, embedded_lake, lake
):
    at, frame = market[5]
    bad = json.loads(frame)
    bad["data"]["t"] = 10**30
    poison = [(at, json.dumps(bad).encode()), (at, b"\xff\xfe"), (at, b"")]
    batches = [as_batch([*market[:200], *poison, *market[200:400]])]
    engine = start_engine(lake)
    engine._records_before = FEW + 1
    engine.take(records([("crypto-prices", batches[0])]), 0)
    expected = embedded_lake(batches)
    assert trades_of(lake).equals(trades_of(expected))
    assert lake.scan(REJECTED).collect().equals(expected.scan(REJECTED).collect())


@pytest.mark.recordings
def test_the_recorded_minutes_give_the_embedded_engines_tables(
    take_all, recorded_minutes, start_engine, embedded_lake, lake
):
    batches = cut(recorded_minutes, 11_000)
    engine = start_engine(lake)
    take_all(engine, batches)
    expected = embedded_lake(batches)
    assert_same_tables(lake, expected)


def test_a_lake_in_a_bucket_gets_the_same_tables(take_all, market, start_engine, embedded_lake, cluster_settings):
    lake = open_lake(cluster_settings)
    engine = start_engine(lake)
    take_all(engine, cut(market, 400))
    expected = embedded_lake(cut(market, 400))
    assert_same_tables(lake, expected)
