"""A build takes the place of the warehouse whole or not at all, and restates what has changed and nothing else."""

import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import polars as pl
import pytest

from tapehouse.catalog import CANDLES, MARTS as PUBLISHED, SIGNALS, SYMBOL_HOURS, TABLES
from tapehouse.lake.delta import DeltaLake

pytestmark = pytest.mark.slow

HOURS = "select * exclude loaded_at from marts.agg_symbol_hour order by symbol, opened_at"
MARTS = (
    "fct_candle_1m", "fct_candle_1h", "fct_market_snapshot", "fct_sentiment_daily", "fct_news", "fct_signal",
    "agg_symbol_hour", "agg_market_day", "dim_source",
)  # fmt: skip
APPEARS_WITHIN, ENDS_WITHIN = 60.0, 100.0
LEFT = ("BTCUSDT", datetime(2026, 3, 1, 1, tzinfo=UTC))
"""The hour an undated story was received in; told anew it is one of a day later."""
DROPPED = ("BTCUSDT", datetime(2026, 2, 28, 20, tzinfo=UTC))
"""The hour of a story that told of Bitcoin at first."""


@pytest.fixture
def own(built, world, make_command, tmp_path):
    """A lake of the test's own (`.world`), and the command in a folder that has the warehouse built from it."""
    return copy_of(built, world, make_command, tmp_path)


def copy_of(built, world, make_command, folder):
    shutil.copytree(world.root, folder / "lake")
    command = make_command(folder / "work", str(folder / "lake"))
    command.world = type(world)(str(folder / "lake"))
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


class Later(NamedTuple):
    """What there was before, after a build upon it (`kept`, `published`), and after a full refresh (`command.file`)."""

    command: Any
    kept: Path
    before: pl.DataFrame
    judged_anew: set[tuple]
    published: dict[str, pl.DataFrame]
    reader: Reader
    said: str


@pytest.fixture(scope="module")
def later(built, world, make_command, tmp_path_factory, read) -> Later:
    """A copy of the lake of all that was told more of, built upon what there was and then anew."""
    command = copy_of(built, world, make_command, tmp_path_factory.mktemp("later"))
    before, judged = read(command.file, HOURS), signals(command.world.lake)
    command.world.take_the_lost()
    command.world.take_told_anew()
    command.environment["TAPEHOUSE_COINGECKO_COINS"] = "OTHER=another-coin"
    with Reader(command.file) as reader:
        said = command("build")
    kept = command.file.with_name("kept.duckdb")
    shutil.copyfile(command.file, kept)
    published = {name: command.world.lake.scan(name).collect() for name in PUBLISHED}
    judged_anew = signals(command.world.lake) - judged
    command("build", "--full-refresh")
    return Later(command, kept, before, judged_anew, published, reader, said)


def test_what_comes_late_restates_the_hours_it_changes_and_no_others(later, read):
    lake, before, after = later.command.world.lake, later.before, read(later.kept, HOURS)
    key = ("symbol", "opened_at")
    touched = hours_revised(lake)
    judged = {(symbol, opened_at.replace(minute=0)) for symbol, opened_at, *_ in later.judged_anew}
    of_other = set(before.filter(pl.col("symbol") == "ETHUSDT", pl.col("news") > 0).select(key).iter_rows())
    changed = set(after.join(before, on=before.columns, how="anti", nulls_equal=True).select(key).iter_rows())
    assert touched | {LEFT, DROPPED} <= changed <= touched | judged | of_other | {LEFT, DROPPED}
    assert later.judged_anew
    assert len(changed) < before.height / 2
    assert after["volume"].sum() > before["volume"].sum()
    loaded = read(later.kept, "select symbol, opened_at, loaded_at from marts.agg_symbol_hour").sort("loaded_at")
    assert set(loaded.filter(pl.col("loaded_at") == loaded["loaded_at"][-1]).select(key).iter_rows()) == changed
    assert SYMBOL_HOURS in later.said


def test_who_reads_during_a_build_is_told_what_there_was_before_it(later):
    assert later.reader.answers == {(later.before.height, later.before["volume"].sum())}
    assert later.reader.asked > 5


def test_a_story_told_anew_is_no_longer_counted_where_it_was(later, read):
    counted = {hour: news_of(later.before, hour) - news_of(read(later.kept, HOURS), hour) for hour in (LEFT, DROPPED)}
    assert counted == {LEFT: 1, DROPPED: 1}


def news_of(hours: pl.DataFrame, hour: tuple[str, datetime]) -> int:
    return hours.filter(pl.col("symbol") == hour[0], pl.col("opened_at") == hour[1])["news"].item()


@pytest.mark.parametrize("mart", MARTS)
def test_a_full_refresh_gives_the_rows_of_an_incremental_build(later, read, mart):
    assert read(later.kept, without_loading(mart)).equals(read(later.command.file, without_loading(mart)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_gold_has_the_rows_of_the_mart_and_no_older_ones_of_a_day_they_have_left(later, read, name):
    table = TABLES[name]
    mart = read(later.kept, f"select * from marts.{name.removeprefix('gold/')}").sort(table.sort_by)
    assert later.published[name].sort(table.sort_by).equals(mart)


def test_after_a_full_refresh_gold_is_the_mart_again(later, read):
    gold = later.command.world.lake.scan(SYMBOL_HOURS).collect()
    assert gold.drop("loaded_at").sort("symbol", "opened_at").equals(read(later.command.file, HOURS))


def test_a_symbol_has_a_version_for_each_time_it_changed_and_the_coin_that_is_pinned(later, read):
    versions = read(later.kept, "select * from marts.dim_symbol order by symbol, valid_from").to_dicts()
    told = [(row["symbol"], row["status"], row["coingecko_id"], row["is_current"]) for row in versions]
    assert told == [
        ("BTCUSDT", "TRADING", "bitcoin", False),
        ("BTCUSDT", "BREAK", "bitcoin", True),
        ("ETHUSDT", "UNKNOWN", "ethereum", False),
        ("ETHUSDT", "TRADING", "another-coin", True),
    ]
    for former, current in (versions[:2], versions[2:]):
        assert former["valid_from"] < former["valid_to"] == current["valid_from"]


def without_loading(mart: str) -> str:
    columns = "* exclude loaded_at" if mart.startswith("fct") or mart == "agg_symbol_hour" else "*"
    return f"select {columns} from marts.{mart} order by all"


def hours_revised(lake: DeltaLake) -> set[tuple[str, datetime]]:
    late = lake.scan(CANDLES).filter(pl.col("interval") == "1m", pl.col("revision") > 1).collect()
    return {(row["symbol"], row["opened_at"].replace(minute=0)) for row in late.iter_rows(named=True)}


def signals(lake: DeltaLake) -> set[tuple]:
    names = ("symbol", "opened_at", "kind", "interval", "revision")
    return set(lake.scan(SIGNALS).select(names).collect().iter_rows())


def test_a_build_that_is_killed_leaves_the_warehouse_as_it_was_and_the_next_one_goes_through_unheard(own, read):
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
    with own.start("build") as process:
        process.stdout.close()  # whoever read what it says has gone: it goes on without a word
        process.wait(timeout=ENDS_WITHIN)
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
