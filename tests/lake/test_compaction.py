import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, strategies as st

from tapehouse.catalog import MARKET_DATA, TRADES
from tapehouse.lake import compaction
from tapehouse.lake.compaction import FAN_IN, FULL_BYTES, FULL_ROWS, FULL_ROWS_OF_CONTEXT, DataFile, Merge, choose
from tapehouse.lake.delta import DeltaLake

NEVER_FINISHED = "2000-01-01"
FINISHED = "2100-01-01"


def live_files(lake) -> list[DataFile]:
    with lake.writing(TRADES) as delta:
        return compaction.data_files(delta)


def fill(lake, make_trades, batches=6, symbols=("BTCUSDT", "ETHUSDT")):
    for batch in range(batches):
        rows = pl.concat([make_trades(10 * batch, 10, symbol) for symbol in reversed(symbols)])
        lake.append(TRADES, rows, writer="engine", batch=batch)


def in_order(frame):
    return frame.sort("symbol", "first_trade_id")


def test_compaction_keeps_exactly_the_same_rows_sorted_in_one_file(lake, make_trades):
    fill(lake, make_trades)
    before = in_order(lake.scan(TRADES).collect())
    compaction.compact(lake, TRADES, Merge(live_files(lake), final=True))
    assert len(live_files(lake)) == 1
    assert before.equals(lake.scan(TRADES).collect())


def test_other_readers_see_the_same_rows_and_keep_pruning_by_statistics(lake, make_trades):
    fill(lake, make_trades)
    compaction.compact(lake, TRADES, Merge(live_files(lake), final=True))
    assert in_order(pl.scan_delta(lake.address(TRADES)).collect()).equals(lake.scan(TRADES).collect())
    with lake.writing(TRADES) as delta:
        (added,) = pl.DataFrame(delta.get_add_actions(flatten=True)).to_dicts()
    assert (added["num_records"], added["min.first_trade_id"], added["max.first_trade_id"]) == (120, 0, 59)


def test_writing_goes_on_during_and_after_a_compaction(lake, root, make_trades):
    fill(lake, make_trades)
    group = live_files(lake)
    DeltaLake(root).append(TRADES, make_trades(100, 10), writer="engine", batch=6)
    compaction.compact(lake, TRADES, Merge(group, final=True))
    assert lake.append(TRADES, make_trades(100, 10), writer="engine", batch=6) is False
    assert lake.append(TRADES, make_trades(110, 10), writer="engine", batch=7) is True
    btc = lake.scan(TRADES).filter(pl.col("symbol") == "BTCUSDT").collect()["first_trade_id"].sort().to_list()
    assert btc == [*range(60), *range(100, 120)]


def test_versions_from_before_stay_readable(lake, make_trades):
    fill(lake, make_trades)
    with lake.writing(TRADES) as delta:
        version = delta.version()
    before = lake.scan(TRADES).collect()
    compaction.compact(lake, TRADES, Merge(live_files(lake), final=True))
    travelled = pl.scan_delta(lake.address(TRADES), version=version).collect()
    assert in_order(before).equals(in_order(travelled))


@pytest.mark.parametrize(
    "dies_before",
    [
        "loose_files.write_deltalake",
        "loose_files._taken_in",
        "compaction.swap",
        "loose_files.AddAction",
        "compaction.RemoveAction",
    ],
)
def test_a_compaction_killed_anywhere_changes_no_row(lake, root, make_trades, dies_before):
    fill(lake, make_trades)
    before = in_order(lake.scan(TRADES).collect())
    program = f"""
import os, signal
from tapehouse.lake import compaction, loose_files
from tapehouse.lake.delta import DeltaLake
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
{dies_before} = die
lake = DeltaLake({root!r})
with lake.writing({TRADES!r}) as delta:
    files = compaction.data_files(delta)
compaction.compact(lake, {TRADES!r}, compaction.Merge(files, final=True))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert before.equals(in_order(lake.scan(TRADES).collect()))
    lake.place.clear_scratch()
    compaction.compact(lake, TRADES, Merge(live_files(lake), final=True))
    assert before.equals(lake.scan(TRADES).collect())


def test_a_replaced_file_starts_to_age_when_it_is_replaced(lake, make_trades):
    fill(lake, make_trades)
    group = live_files(lake)
    folder = Path(lake.address(TRADES))
    for file in group:
        os.utime(folder / file.path, (0, 0))
    compaction.compact(lake, TRADES, Merge(group, final=True))
    assert all((folder / file.path).stat().st_mtime > 0 for file in group)


LATER = 2**53
sizes = st.lists(st.tuples(st.integers(1, 2 * FULL_ROWS), st.sampled_from(["2024-08-08", "2024-08-09"])), max_size=200)


def files_of(sizes):
    files = [DataFile(f"date={date}/{number}", rows, 1, date) for number, (rows, date) in enumerate(sizes)]
    return sorted(files, key=lambda file: (file.date, -file.rows, file.path))


@given(
    sizes,
    st.sampled_from([FULL_ROWS, FULL_ROWS_OF_CONTEXT]),
    st.sampled_from([NEVER_FINISHED, "2024-08-09", FINISHED]),
)
def test_groups_are_bounded_disjoint_and_of_one_day(sizes, full, finished_before):
    merges = list(choose(files_of(sizes), full, finished_before=finished_before, quiet_since=0))
    chosen = [file.path for merge in merges for file in merge.files]
    assert len(chosen) == len(set(chosen))
    for merge in merges:
        rows = [file.rows for file in merge.files]
        assert merge.final or len(rows) > 1
        assert sum(rows) <= full or len(rows) == 1
        assert {file.date < finished_before for file in merge.files} == {merge.final}
        assert len({file.date for file in merge.files}) == 1


def test_a_finished_day_is_rewritten_once_and_then_left_alone(lake, make_trades):
    fill(lake, make_trades)
    for merge in choose(live_files(lake), FULL_ROWS, finished_before=FINISHED, quiet_since=LATER):
        compaction.compact(lake, TRADES, merge)
    assert list(choose(live_files(lake), FULL_ROWS, finished_before=FINISHED, quiet_since=LATER)) == []
    lake.append(TRADES, make_trades(200, 10), writer="engine", batch=99)
    (late,) = choose(live_files(lake), FULL_ROWS, finished_before=FINISHED, quiet_since=LATER)
    assert [file.rows for file in late.files] == [10]


def test_few_small_files_of_a_running_day_are_left_alone_and_of_a_finished_day_are_merged():
    files = files_of([(100, "2024-08-08")] * (FAN_IN - 1))
    assert list(choose(files, FULL_ROWS, finished_before=NEVER_FINISHED, quiet_since=0)) == []
    assert [len(group.files) for group in choose(files, FULL_ROWS, finished_before="2024-08-09", quiet_since=0)] == [
        FAN_IN - 1
    ]


def test_documents_are_merged_fewer_at_a_time_than_trades():
    assert compaction.full_rows(MARKET_DATA) < compaction.full_rows(TRADES)


def test_rows_with_long_payloads_are_merged_fewer_at_a_time():
    files = [DataFile(f"{number}", 400, FULL_BYTES // 8, "2024-08-08") for number in range(FAN_IN)]
    merges = list(choose(files, FULL_ROWS, finished_before=NEVER_FINISHED, quiet_since=0))
    assert [len(merge.files) for merge in merges] == [8] * (FAN_IN // 8)


def test_a_day_of_commits_rewrites_each_row_only_a_few_times():
    files, rewritten, total = [], 0, 0
    for commit in range(20_000):
        files.append(DataFile(f"{commit}", 500, 1, "2024-08-08"))
        total += 500
        if len(files) % FAN_IN == 0:
            files.sort(key=lambda file: (file.date, -file.rows, file.path))
            for merge in list(choose(files, FULL_ROWS, finished_before=NEVER_FINISHED, quiet_since=0)):
                rows = sum(file.rows for file in merge.files)
                files = [file for file in files if file not in merge.files] + [
                    DataFile(f"m{commit}-{rows}", rows, 1, "2024-08-08")
                ]
                rewritten += rows
    assert rewritten < 4 * total
    assert len(files) < 200
