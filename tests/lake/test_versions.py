import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tapehouse.catalog import TRADES
from tapehouse.lake import compaction, versions
from tapehouse.lake.compaction import Merge
from tapehouse.lake.delta import CHECKPOINT_EVERY, DeltaLake

NOW = datetime.now(UTC)


def age(path: Path, old: timedelta) -> None:
    moment = (NOW - old).timestamp()
    os.utime(path, (moment, moment))


def fill(lake, make_trades, batches):
    for batch in range(batches):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)


@pytest.fixture
def short_log(monkeypatch):
    monkeypatch.setattr(versions, "LOG_ENTRIES", 10)


def log_of(lake) -> Path:
    return Path(lake.address(TRADES)) / "_delta_log"


@pytest.mark.usefixtures("short_log")
def test_a_thinned_log_keeps_the_newest_versions_and_one_an_hour(lake, root, make_trades):
    fill(lake, make_trades, 3 * CHECKPOINT_EVERY)
    before = lake.scan(TRADES).collect()
    assert versions.thin_log(lake, TRADES, NOW) > 0
    assert before.equals(DeltaLake(root).scan(TRADES).collect())
    newest = DeltaTable(lake.address(TRADES)).version()
    readable = [version for version in range(newest + 1) if is_readable(lake, version)]
    assert set(range(newest - 10, newest + 1)) <= set(readable)
    assert sum(version < newest - 10 - CHECKPOINT_EVERY for version in readable) == 1


def is_readable(lake, version) -> bool:
    if not (log_of(lake) / f"{version:020d}.json").exists():
        return False
    return pl.scan_delta(lake.address(TRADES), version=version).collect().height == version


@pytest.mark.usefixtures("short_log")
def test_versions_older_than_the_time_travel_promised_are_let_go(lake, make_trades):
    fill(lake, make_trades, 3 * CHECKPOINT_EVERY)
    for path in log_of(lake).iterdir():
        age(path, timedelta(days=lake.time_travel_days, hours=1))
    versions.thin_log(lake, TRADES, NOW)
    newest = DeltaTable(lake.address(TRADES)).version()
    oldest = min(int(path.name[:20]) for path in log_of(lake).iterdir() if path.name[:20].isdigit())
    assert newest - 10 - CHECKPOINT_EVERY <= oldest <= newest - 10


@pytest.mark.usefixtures("short_log")
def test_a_table_opened_long_ago_finds_its_way_past_a_thinned_log(lake, root, make_trades):
    old = DeltaLake(root)
    assert old.last_batch(TRADES, "engine") == -1
    fill(lake, make_trades, 3 * CHECKPOINT_EVERY)
    versions.thin_log(lake, TRADES, NOW)
    assert old.last_batch(TRADES, "engine") == 3 * CHECKPOINT_EVERY - 1
    assert old.scan(TRADES).collect().height == 3 * CHECKPOINT_EVERY


def test_a_short_log_is_left_alone(lake, make_trades):
    fill(lake, make_trades, 5)
    assert versions.thin_log(lake, TRADES, NOW) == 0


def test_vacuum_takes_what_no_promised_version_needs_and_nothing_else(lake, make_trades, monkeypatch):
    fill(lake, make_trades, 4)
    folder = Path(lake.address(TRADES))
    beyond = timedelta(days=lake.time_travel_days, hours=2)
    first, *others = live_files(lake)
    with monkeypatch.context() as past:
        past.setattr("time.time", (NOW - beyond).timestamp)
        compaction.compact(lake, TRADES, Merge([first, others[0]], final=False))
    compaction.compact(lake, TRADES, Merge(others[1:], final=False))
    live = Path(lake.files(TRADES)[0])
    under_way, orphan = (live.with_name(f"{name}.parquet") for name in ("under-way", "orphan"))
    shutil.copy(live, under_way)
    shutil.copy(live, orphan)
    for path in (*map(Path, lake.files(TRADES)), orphan, folder / first.path, folder / others[0].path):
        age(path, beyond)
    assert versions.vacuum(lake, TRADES, NOW) == 3
    replaced = {Path(file.path).name for file in others[1:]}
    kept = {path.name for path in live.parent.iterdir()}
    assert kept == {under_way.name, *replaced, *(Path(path).name for path in lake.files(TRADES))}
    assert lake.scan(TRADES).collect().height == 4


def live_files(lake):
    with lake.writing(TRADES) as delta:
        return compaction.data_files(delta)


def test_without_time_travel_a_fresh_file_is_still_safe(root, make_trades):
    lake = DeltaLake(root, time_travel_days=0)
    lake.create()
    fill(lake, make_trades, 1)
    orphan = Path(lake.files(TRADES)[0]).with_name("under-way.parquet")
    shutil.copy(lake.files(TRADES)[0], orphan)
    assert versions.vacuum(lake, TRADES, NOW) == 0
    age(orphan, timedelta(hours=2))
    assert versions.vacuum(lake, TRADES, NOW) == 1


def test_checkpoints_forget_files_removed_long_ago(lake, make_trades, checkpoint):
    """Else the checkpoint of a table that is compacted all day grows without end."""
    fill(lake, make_trades, 4)
    with lake.writing(TRADES) as delta:
        compaction.compact(lake, TRADES, Merge(compaction.data_files(delta), final=False))
        configuration = delta.metadata().configuration
    assert configuration["delta.deletedFileRetentionDuration"] == "interval 1 hours"
    checkpoint(lake, TRADES)
    (checkpoint,) = log_of(lake).glob("*.checkpoint.parquet")
    removed = pl.read_parquet(checkpoint).select(pl.col("remove").struct.field("path")).drop_nulls()
    assert removed.height == 4
