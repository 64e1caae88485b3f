import itertools
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tapehouse import pipeline
from tapehouse.catalog import COVERAGE, TABLES, TRADES
from tapehouse.lake import history
from tapehouse.lake.compaction import FAN_IN
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.maintenance import MERGES_A_RUN, Maintenance

DAY = datetime(2024, 8, 9, 12, tzinfo=UTC)
LONG_AFTER = datetime.now(UTC) + timedelta(days=1)


def coverage_rows(rows):
    columns = ("symbol", "first_trade_id", "last_trade_id", "status", "known_at")
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    known = frame.with_columns(venue=pl.lit("binance"), date=pl.col("known_at").dt.date())
    return known.select(*TABLES[COVERAGE].schema).cast(dict(TABLES[COVERAGE].schema))


def write_coverage(lake, told):
    for batch, row in enumerate(told):
        lake.append(COVERAGE, coverage_rows([row]), writer="engine", batch=batch)


def test_small_files_are_merged_once_enough_have_gathered(lake, make_trades):
    maintenance = Maintenance(lake)
    for batch in range(FAN_IN - 1):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)
    assert maintenance.run_once(DAY).merges == 0
    lake.append(TRADES, make_trades(FAN_IN, 1), writer="engine", batch=FAN_IN)
    report = maintenance.run_once(DAY)
    assert (report.merges, report.rows_rewritten, report.pending) == (1, FAN_IN, False)
    assert len(lake.files(TRADES)) == 1


def test_memory_is_given_back_after_upkeep_that_merged_and_only_then(lake, make_trades, monkeypatch):
    monkeypatch.setattr(pipeline, "MAINTAIN_EVERY", 0.001)
    stopping, looks, given_back = threading.Event(), itertools.count(), []

    def now() -> int:
        """One more small file is there at each look."""
        look = next(looks)
        stopping.set() if look == 2 * FAN_IN else lake.append(TRADES, make_trades(look, 1), writer="engine", batch=look)
        return int(DAY.timestamp() * 1e6)

    pipeline.maintain_forever(Maintenance(lake), now, lambda: given_back.append(len(lake.files(TRADES))), stopping)
    assert given_back == [1, 1]  # one file is left by each of the two merges


def test_a_finished_day_ends_as_one_file(lake, make_trades):
    maintenance = Maintenance(lake)
    for batch in range(3):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)
    assert maintenance.run_once(DAY).merges == 0
    assert maintenance.run_once(LONG_AFTER).merges == 1
    assert maintenance.run_once(LONG_AFTER).merges == 0
    assert lake.scan(TRADES).collect()["first_trade_id"].to_list() == [0, 1, 2]


def test_a_run_does_a_bounded_piece_and_tells_that_more_is_due(lake, make_trades):
    for batch in range((MERGES_A_RUN + 1) * FAN_IN):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)
    maintenance = Maintenance(lake)
    assert [(report.merges, report.pending) for report in (maintenance.run_once(DAY), maintenance.run_once(DAY))] == [
        (MERGES_A_RUN, True),
        (1, False),
    ]


def test_a_run_that_is_to_end_does_no_further_merge(lake, make_trades):
    for batch in range(2 * FAN_IN):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)
    asked = iter([True, False, False])
    assert Maintenance(lake).run_once(DAY, go_on=lambda: next(asked)).merges == 1


def test_a_past_day_that_is_still_written_to_is_not_finished(lake, make_trades):
    for batch in range(3):
        lake.append(TRADES, make_trades(batch, 1), writer="engine", batch=batch)
    assert Maintenance(lake).run_once(datetime.now(UTC)).merges == 0
    assert Maintenance(lake, finished_after=timedelta(0)).run_once(LONG_AFTER).merges == 1


def test_finished_days_are_merged_one_a_run(lake, make_trades):
    for day in range(2):
        lake.append(TRADES, make_trades(day, 1, start=DAY + timedelta(days=day)), writer="engine", batch=day)
    maintenance = Maintenance(lake)
    reports = [maintenance.run_once(LONG_AFTER) for _ in range(3)]
    assert [(report.merges, report.pending) for report in reports] == [(1, True), (1, False), (0, False)]


def test_what_a_killed_compaction_left_is_cleared_at_the_start(lake):
    left = Path(lake.root) / "_scratch" / "bronze"
    left.mkdir(parents=True)
    Maintenance(lake)
    assert not left.parent.exists()


def test_coverage_stays_short_and_says_the_same(lake):
    told = [("BTCUSDT", 10 * step, 10 * step + 9, "held", DAY + timedelta(seconds=step)) for step in range(FAN_IN)]
    write_coverage(lake, told)
    Maintenance(lake).run_once(DAY)
    rows = lake.scan(COVERAGE).collect()
    assert rows.rows(named=True) == [
        {
            "venue": "binance",
            "symbol": "BTCUSDT",
            "first_trade_id": 0,
            "last_trade_id": 10 * FAN_IN - 1,
            "status": "held",
            "known_at": told[-1][-1],
            "date": DAY.date(),
        }
    ]


def test_what_is_known_after_the_rewrite_still_overrides(lake):
    write_coverage(lake, [("BTCUSDT", step, step, "missing", DAY) for step in range(FAN_IN)])
    Maintenance(lake).run_once(DAY)
    lake.append(COVERAGE, coverage_rows([("BTCUSDT", 0, 9, "held", DAY)]), writer="engine", batch=1000)
    held, missing = history.coverage(lake, "BTCUSDT")
    assert (list(held), list(missing)) == ([(0, 9)], [(10, FAN_IN - 1)])


claims = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.integers(0, 9), st.sampled_from(["held", "missing"])),
    min_size=1,
    max_size=20,
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(claims)
def test_any_coverage_keeps_its_meaning_when_rewritten(tmp_path_factory, claims):
    from tapehouse.lake import compaction
    from tapehouse.lake.maintenance import normalise_coverage

    lake = DeltaLake(str(tmp_path_factory.mktemp("lake")))
    lake.create()
    rows = [
        (s, first, first + more, status, DAY + timedelta(seconds=n))
        for n, (s, first, more, status) in enumerate(claims)
    ]
    lake.append(COVERAGE, coverage_rows(rows), writer="engine", batch=0)
    before = [history.coverage(lake, symbol) for symbol in "AB"]
    with lake.writing(COVERAGE) as delta:
        files = compaction.data_files(delta)
    normalise_coverage(lake, files)
    assert before == [history.coverage(lake, symbol) for symbol in "AB"]
