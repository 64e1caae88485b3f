import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tapehouse.catalog import MARTS, NEWS_ITEMS, SENTIMENT_DAILY, TABLES, TRADES, WAREHOUSE
from tapehouse.errors import LakeError
from tapehouse.lake.delta import CHECKPOINT_EVERY, DeltaLake


def test_every_table_of_the_catalog_is_made_with_plain_protocol_and_its_partitions(lake, root):
    DeltaLake(root, writer=WAREHOUSE).create()
    for name, table in TABLES.items():
        delta = DeltaTable(lake.address(name))
        protocol = delta.protocol()
        assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
        assert delta.metadata().partition_columns == list(table.partition_by)
        assert "delta.enableDeletionVectors" not in delta.metadata().configuration


def test_the_platform_and_the_warehouse_make_their_own_tables_each(lake, root):
    assert not any(DeltaTable.is_deltatable(lake.address(name)) for name in MARTS)
    assert lake.scan(SENTIMENT_DAILY).collect().is_empty()  # a mart not published yet
    with pytest.raises(LakeError, match="written by warehouse alone"):
        lake.append(SENTIMENT_DAILY, sentiment(1), writer="engine", batch=0)
    other = DeltaLake(f"{root}-of-marts", writer=WAREHOUSE)
    other.create()
    assert {name for name in TABLES if DeltaTable.is_deltatable(other.address(name))} == set(MARTS)


def test_replacing_takes_out_what_was_there_and_is_done_once(root):
    lake = DeltaLake(root, writer=WAREHOUSE)
    lake.create()
    assert lake.replace(SENTIMENT_DAILY, sentiment(1, 2), writer="w", batch=1)
    assert lake.replace(SENTIMENT_DAILY, sentiment(3), writer="w", batch=2)
    assert lake.replace(SENTIMENT_DAILY, sentiment(4, 5), writer="w", batch=2) is False
    assert lake.scan(SENTIMENT_DAILY).collect()["value"].to_list() == [3]


def test_replacing_days_leaves_the_others_alone(root):
    lake = DeltaLake(root, writer=WAREHOUSE)
    lake.create()
    lake.replace(NEWS_ITEMS, news((1, "a"), (1, "b"), (2, "c")), writer="w", batch=1)
    lake.replace(NEWS_ITEMS, news((1, "d")), writer="w", batch=2, dates=["2026-03-01"])
    assert sorted(lake.scan(NEWS_ITEMS).collect()["key"]) == ["c", "d"]
    assert lake.dates(NEWS_ITEMS) == ["2026-03-01", "2026-03-02"]


def sentiment(*values: int) -> pl.DataFrame:
    return pl.DataFrame({"value": values}).select(**_filled(SENTIMENT_DAILY, value=pl.col("value").cast(pl.Int64)))


def news(*items: tuple[int, str]) -> pl.DataFrame:
    rows = pl.DataFrame(items, schema=["day", "key"], orient="row")
    return rows.select(**_filled(NEWS_ITEMS, key=pl.col("key"), date=pl.date(2026, 3, pl.col("day"))))


def _filled(table: str, **given: pl.Expr) -> dict[str, pl.Expr]:
    return {name: given.get(name, pl.lit(None, kind)) for name, kind in TABLES[table].schema.items()}


def test_a_table_with_other_columns_is_refused_with_its_place(root):
    other = pl.DataFrame({"symbol": ["BTCUSDT"], "price": [1.5]})
    other.write_delta(f"{root}/{TRADES}")
    with pytest.raises(LakeError, match=r"bronze/trades has other columns.*price") as told:
        DeltaLake(root).create()
    assert "TAPEHOUSE_LAKE" in str(told.value)


def test_a_lake_that_was_never_made_is_told_as_such(root):
    with pytest.raises(LakeError, match=TRADES):
        DeltaLake(root).last_batch(TRADES, "engine")


def test_a_commit_whose_outcome_was_not_learned_is_not_repeated(lake, root, make_trades):
    """The commit lands and the process dies before it hears of it; the next process tries the same batch."""
    rows = make_trades(1, 10)
    lake.append(TRADES, rows, writer="engine", batch=0)
    program = f"""
import os, pickle, sys
import polars as pl
from tapehouse.lake.delta import DeltaLake
lake = DeltaLake({root!r})
lake.append({TRADES!r}, pl.read_parquet(sys.argv[1]), writer="engine", batch=1)
os.kill(os.getpid(), 9)
"""
    make_trades(11, 10).write_parquet(Path(root) / "next.parquet")
    ended = subprocess.run([sys.executable, "-c", program, str(Path(root) / "next.parquet")], check=False)
    assert ended.returncode == -9
    assert lake.append(TRADES, make_trades(11, 10), writer="engine", batch=1) is False
    assert lake.scan(TRADES).collect()["first_trade_id"].sort().to_list() == list(range(1, 21))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_told_and_the_retry_stores_once(lake, make_trades):
    log = Path(lake.address(TRADES)) / "_delta_log"
    log.chmod(0o500)
    try:
        with pytest.raises(LakeError, match="read-only"):
            lake.append(TRADES, make_trades(1, 10), writer="engine", batch=0)
    finally:
        log.chmod(0o700)
    assert lake.append(TRADES, make_trades(1, 10), writer="engine", batch=0) is True
    assert lake.scan(TRADES).collect().height == 10


def test_a_log_that_cannot_be_written_is_told_and_the_retry_stores_once(lake, make_trades):
    """As a full or vanished disk: the data file is written, its commit cannot be."""
    lake.append(TRADES, make_trades(1, 10), writer="engine", batch=0)
    log = Path(lake.address(TRADES)) / "_delta_log"
    away = log.rename(log.with_name("_elsewhere"))
    log.write_text("not a folder")
    with pytest.raises(LakeError, match=r"bronze/trades.*disk"):
        lake.append(TRADES, make_trades(11, 10), writer="engine", batch=1)
    log.unlink()
    away.rename(log)
    assert lake.append(TRADES, make_trades(11, 10), writer="engine", batch=1) is True
    assert lake.append(TRADES, make_trades(11, 10), writer="engine", batch=1) is False
    assert lake.scan(TRADES).collect()["first_trade_id"].sort().to_list() == list(range(1, 21))


def test_many_commits_leave_checkpoints_and_stay_in_order(lake, make_trades):
    for batch in range(2 * CHECKPOINT_EVERY + 3):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)
    log = Path(lake.address(TRADES)) / "_delta_log"
    assert json.loads((log / "_last_checkpoint").read_text())["version"] >= CHECKPOINT_EVERY
    assert lake.last_batch(TRADES, "engine") == 2 * CHECKPOINT_EVERY + 2
    assert lake.scan(TRADES).collect().height == 2 * CHECKPOINT_EVERY + 3


def test_a_file_tells_the_log_its_ids_and_times_and_nothing_else(lake, make_trades):
    lake.append(TRADES, make_trades(5, 10), writer="engine", batch=0)
    log = (Path(lake.address(TRADES)) / "_delta_log" / f"{1:020d}.json").read_text().splitlines()
    (added,) = [action["add"] for action in map(json.loads, log) if "add" in action]
    stats = json.loads(added["stats"])
    assert stats["numRecords"] == 10
    assert set(stats["minValues"]) == {"symbol", "first_trade_id", "last_trade_id", "traded_at"}
    assert (stats["minValues"]["first_trade_id"], stats["maxValues"]["first_trade_id"]) == (5, 14)


def test_reading_and_writing_load_neither_pyarrow_nor_pandas(root):
    program = (
        f"from tapehouse.lake.delta import DeltaLake; lake = DeltaLake({root!r}); lake.create();"
        f"lake.scan({TRADES!r}).collect(); import sys; print({{'pyarrow', 'pandas'}} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "set()"


def test_a_lake_in_a_folder_with_blanks_and_accents_is_read_like_any_other(tmp_path, make_trades):
    lake = DeltaLake(str(tmp_path / "my market data é 100%"))
    lake.create()
    lake.append(TRADES, make_trades(1, 3), writer="test", batch=0)
    assert lake.scan(TRADES).collect()["first_trade_id"].to_list() == [1, 2, 3]
