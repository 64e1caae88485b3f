"""Upkeep of a lake in a bucket: the same laws as in a folder, where no file can be moved or made older."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from deltalake import DeltaTable

from tapehouse.catalog import MARTS, TABLES, TRADES
from tapehouse.errors import LakeError
from tapehouse.lake import compaction, versions
from tapehouse.lake.compaction import FAN_IN, Merge
from tapehouse.lake.delta import CHECKPOINT_EVERY, DeltaLake
from tapehouse.lake.maintenance import Maintenance
from tapehouse.lake.snapshot import Snapshot

pytestmark = pytest.mark.slow

DAY = datetime(2024, 8, 9, 12, tzinfo=UTC)


@pytest.fixture
def lake(bucket_root, bucket_options):
    lake = DeltaLake(bucket_root, storage_options=bucket_options)
    lake.create()
    return lake


def fill(lake, make_trades, batches, first=0):
    for batch in range(first, first + batches):
        rows = pl.concat([make_trades(10 * batch, 10, symbol) for symbol in ("ETHUSDT", "BTCUSDT")])
        lake.append(TRADES, rows, writer="engine", batch=batch)


def compact(lake):
    with lake.writing(TRADES) as delta:
        files = compaction.data_files(delta)
    compaction.compact(lake, TRADES, Merge(files, final=True))


def rows(lake):
    return lake.scan(TRADES).collect().sort("symbol", "first_trade_id")


def readable(lake, version):
    delta = DeltaTable(lake.address(TRADES), version=version, storage_options=lake.delta_options)
    return lake.scan_files(TRADES, [file.replace("%20", " ").replace("%C3%A9", "é") for file in delta.file_uris()])


def test_compaction_changes_no_row_and_disturbs_no_reader(lake, make_trades):
    fill(lake, make_trades, 5)
    before, pinned = rows(lake), Snapshot(lake)
    compact(lake)
    assert len(lake.files(TRADES)) == 1
    assert before.equals(lake.scan(TRADES).collect())
    assert before.equals(pinned.scan(TRADES).collect().sort("symbol", "first_trade_id"))
    fill(lake, make_trades, 1, first=5)
    assert rows(lake).height == before.height + 20


@pytest.mark.parametrize("dies_before", ["_taken_in", "AddAction"])
def test_a_compaction_killed_anywhere_changes_no_row(lake, make_trades, dies_before):
    fill(lake, make_trades, 3)
    before = rows(lake)
    program = f"""
import os
from tapehouse.lake import compaction, loose_files
from tapehouse.lake.delta import DeltaLake
loose_files.{dies_before} = lambda *args, **kwargs: os.kill(os.getpid(), 9)
lake = DeltaLake({lake.root!r}, storage_options={lake.storage_options!r})
with lake.writing({TRADES!r}) as delta:
    files = compaction.data_files(delta)
compaction.compact(lake, {TRADES!r}, compaction.Merge(files, final=True))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert before.equals(rows(lake))
    compact(lake)
    assert before.equals(rows(lake))


def test_a_run_of_upkeep_keeps_the_tables_of_this_process_and_no_other(lake, make_trades):
    fill(lake, make_trades, FAN_IN)
    other = DeltaLake(lake.root, storage_options=lake.storage_options, writer="other")
    assert Maintenance(other).run_once(DAY).merges == 0
    assert len(lake.files(TRADES)) == FAN_IN
    assert Maintenance(lake).run_once(DAY).merges == 1
    assert len(lake.files(TRADES)) == 1


def test_the_log_is_thinned_and_newer_versions_stay(lake, make_trades, monkeypatch):
    monkeypatch.setattr(versions, "LOG_ENTRIES", 5)
    fill(lake, make_trades, 2 * CHECKPOINT_EVERY)
    before, entries = rows(lake), len(lake.place.log_entries(TRADES))
    removed = versions.thin_log(lake, TRADES, datetime.now(UTC) + timedelta(days=lake.time_travel_days + 1))
    assert removed > 0
    assert len(lake.place.log_entries(TRADES)) == entries - removed
    again = DeltaLake(lake.root, storage_options=lake.storage_options)
    assert before.equals(rows(again))
    assert readable(again, again.version(TRADES) - 3).collect().height == before.height - 60


@pytest.mark.parametrize("promised", [True, False])
def test_vacuum_removes_what_was_replaced_but_for_what_a_promised_version_names(
    lake, make_trades, checkpoint, monkeypatch, promised
):
    """However old an object is: that it was replaced only now cannot be seen from its age."""
    monkeypatch.setattr(versions, "_SHORTEST_RETENTION", timedelta(0))
    lake.time_travel_days = 0
    fill(lake, make_trades, 3)
    checkpoint(lake, TRADES)
    version, before = lake.version(TRADES), rows(lake)
    compact(lake)
    checkpoint(lake, TRADES)
    moment = datetime.now(UTC) + timedelta(hours=-1 if promised else 1)
    assert versions.vacuum(lake, TRADES, moment) == (0 if promised else 3)
    assert before.equals(rows(lake))
    if promised:
        assert before.equals(readable(lake, version).collect().sort("symbol", "first_trade_id"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"aws_secret_access_key": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
        ({"aws_access_key_id": "wrong"}, "AWS_ACCESS_KEY_ID"),
        ({"aws_endpoint_url": "http://127.0.0.1:9"}, "AWS_ENDPOINT_URL"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_said_with_what_to_do(bucket_root, bucket_options, monkeypatch, wrong, told):
    monkeypatch.setattr("tapehouse.lake.bucket.MOST_RETRIES", 1)
    lake = DeltaLake(f"{bucket_root}/403", storage_options=bucket_options | wrong)  # a name that looks like a status
    with pytest.raises(LakeError, match=told) as refused:
        lake.create()
    assert bucket_options["aws_secret_access_key"] not in str(refused.value)


def test_each_commit_names_the_writer_that_made_it(lake):
    for name in TABLES.keys() - MARTS:
        lake.append(name, pl.DataFrame(schema=dict(TABLES[name].schema)), writer="embedded", batch=0)
        delta = DeltaTable(lake.address(name), storage_options=lake.delta_options)
        engines = {commit["engineInfo"].partition(":")[0] for commit in delta.history()}
        assert engines == {"delta-rs"}
        assert delta.transaction_version("embedded") == 0
