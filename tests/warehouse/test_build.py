"""A build takes the place of the warehouse whole or not at all, and restates what has changed and nothing else."""

import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Self

import duckdb
import polars as pl
import pytest

from tapehouse.catalog import CANDLES, SIGNALS, SYMBOL_HOURS
from tapehouse.lake.delta import DeltaLake

pytestmark = pytest.mark.slow

HOURS = "select * exclude loaded_at from marts.agg_symbol_hour order by symbol, opened_at"
MARTS = (
    "fct_candle_1m", "fct_candle_1h", "fct_market_snapshot", "fct_sentiment_daily", "fct_news", "fct_signal",
    "agg_symbol_hour", "agg_market_day", "dim_source",
)  # fmt: skip
APPEARS_WITHIN = 60.0


@pytest.fixture
def own(built, own_world, make_command, tmp_path):
    """A lake of the test's own (`.world`), and the command in a folder that has the warehouse built from it."""
    world = own_world()
    command = make_command(tmp_path / "work", world.root)
    command.world = world
    shutil.copytree(built.folder / "data", command.folder / "data", ignore=shutil.ignore_patterns("target", "logs"))
    return command


class Reader(threading.Thread):
    """A reader that keeps the file open and asks again and again; `answers` are all it was ever told."""

    def __init__(self, file) -> None:
        super().__init__()
        self._connection = duckdb.connect(str(file), read_only=True)
        self._over = threading.Event()
        self.answers: set[tuple] = set()
        self.asked = 0

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.answers.add(
                self._connection.execute("select count(*), sum(volume) from marts.agg_symbol_hour").fetchone()
            )
            self.asked += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._connection.close()


def test_a_late_revision_restates_the_hours_it_touches_for_readers_who_come_after(own, read):
    before = read(own.file, HOURS)
    judged = signals(own.world.lake)
    own.world.take_the_lost()
    touched = hours_revised(own.world.lake)
    judged_anew = signals(own.world.lake) - judged
    restated = touched | {(symbol, opened_at.replace(minute=0)) for symbol, opened_at, *_ in judged_anew}
    with Reader(own.file) as reader:
        said = own("build")
    after = read(own.file, HOURS)
    key = ("symbol", "opened_at")
    changed = after.join(before, on=before.columns, how="anti", nulls_equal=True)
    assert touched <= set(changed.select(key).iter_rows()) <= restated
    assert judged_anew
    assert len(restated) < before.height / 2
    assert after["volume"].sum() > before["volume"].sum()
    assert reader.answers == {(before.height, before["volume"].sum())}
    assert reader.asked > 5
    loaded = read(own.file, "select symbol, opened_at, loaded_at from marts.agg_symbol_hour").sort("loaded_at")
    assert set(loaded.filter(pl.col("loaded_at") == loaded["loaded_at"][-1]).select(key).iter_rows()) == restated
    assert SYMBOL_HOURS in said
    history = read(own.file, "select * from marts.dim_symbol where symbol = 'BTCUSDT' order by valid_from").to_dicts()
    assert [(row["status"], row["is_current"]) for row in history] == [("TRADING", False), ("BREAK", True)]
    assert history[0]["valid_to"] == history[1]["valid_from"] > history[0]["valid_from"]
    incremental = {mart: read(own.file, without_loading(mart)) for mart in MARTS}
    own("build", "--full-refresh")
    for mart, rows in incremental.items():
        assert rows.equals(read(own.file, without_loading(mart))), mart
    gold = own.world.lake.scan(SYMBOL_HOURS).collect()
    assert gold.drop("loaded_at").sort(key).equals(read(own.file, HOURS))


def without_loading(mart: str) -> str:
    columns = "* exclude loaded_at" if mart.startswith("fct") or mart == "agg_symbol_hour" else "*"
    return f"select {columns} from marts.{mart} order by all"


def hours_revised(lake: DeltaLake) -> set[tuple[str, datetime]]:
    late = lake.scan(CANDLES).filter(pl.col("interval") == "1m", pl.col("revision") > 1).collect()
    return {(row["symbol"], row["opened_at"].replace(minute=0)) for row in late.iter_rows(named=True)}


def signals(lake: DeltaLake) -> set[tuple]:
    names = ("symbol", "opened_at", "kind", "interval", "revision")
    return set(lake.scan(SIGNALS).select(names).collect().iter_rows())


def test_a_build_that_is_killed_leaves_the_warehouse_as_it_was_and_the_next_one_goes_through(own, read):
    before = own.file.read_bytes()
    building = own.file.with_name(own.file.name + ".building")
    with own.start("build") as process:
        deadline = time.monotonic() + APPEARS_WITHIN
        while not building.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert own.file.read_bytes() == before
    assert building.exists()
    own("build")
    assert not building.exists()
    assert read(own.file, HOURS).height > 50


def test_a_test_that_fails_is_explained_and_keeps_the_warehouse_before(own):
    before = own.file.read_bytes()
    spoil(own.world.lake)
    said = own("build", status=8)
    assert "stays as it was" in said
    assert "test closed_candles_are_whole: 1 rows break it" in said
    assert "dbt/tests/closed_candles_are_whole.sql" in said
    assert "steps that come after them were left out" in said
    assert "dbt.log" in said
    assert own.file.read_bytes() == before


def spoil(lake: DeltaLake) -> None:
    """Put a closed candle into silver whose low is above its high."""
    row = lake.scan(CANDLES).filter(pl.col("interval") == "1m", pl.col("state") == "closed").head(1).collect()
    wrong = row.with_columns(
        opened_at=pl.col("opened_at") + timedelta(days=3),
        known_at=pl.lit(datetime(2026, 3, 9, tzinfo=UTC)).cast(pl.Datetime("us", "UTC")),
        date=pl.col("date") + timedelta(days=3),
        low=pl.col("high") * 2,
    )
    lake.append(CANDLES, wrong.cast(dict(row.schema)), writer="spoiler", batch=1)


def test_two_builds_at_a_time_are_told_apart(own):
    import fcntl

    with own.file.with_name(own.file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another process is building" in own("build", status=8)


def test_where_there_is_no_lake_nothing_is_made(make_command, tmp_path):
    command = make_command(tmp_path, str(tmp_path / "nothing"))
    said = command("build", status=4)
    assert "tapehouse up" in said
    assert not (tmp_path / "nothing").exists()
    assert not command.file.exists()
    assert "tapehouse warehouse build" in command("test", status=8)
