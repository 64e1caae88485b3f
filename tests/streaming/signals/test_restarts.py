"""A process that is killed or started again loses no signal and writes none twice."""

import json
from random import Random

import polars as pl
import pytest

from tapehouse.catalog import CANDLES, COVERAGE, SIGNALS
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch

START = 1_723_161_600_000  # milliseconds, the beginning of a day


class FragileLake(DeltaLake):
    """A real lake whose process dies at one of its commits: it refuses that one and all that follow."""

    dies_at = -1
    commits = 0

    def append(self, table, frame, *, writer, batch):
        self.commits += 1
        if 0 <= self.dies_at <= self.commits:
            raise LakeError("killed")
        return super().append(table, frame, writer=writer, batch=batch)


@pytest.fixture
def lake(tmp_path) -> FragileLake:
    lake = FragileLake(str(tmp_path / "lake"))
    lake.create()
    return lake


@pytest.mark.parametrize("seed", range(4))
def test_killed_between_any_two_commits_it_loses_no_signal_and_writes_none_twice(tape, seed, stored, engines, lake):
    random = Random(seed)
    place = 0
    while place < len(tape):
        lake.commits, lake.dies_at = 0, random.choice([1, 2, 3, 5, 9, 14, 30])
        engine = engines.start()
        held = engine._ledgers["BTCUSDT"].coverage.last
        place = max(held - 999, 0)  # the exchange tells again what is not held
        try:
            while place < len(tape):
                size = random.choice([3, 20, 60])
                engines.fold(engine, tape[place : place + size])
                place += size
                engine.commit()
            engine.close()
        except LakeError:
            place = 0
        if engine._committer._thread.is_alive():
            engine._committer._units.put(None)
            engine._committer._thread.join()
    lake.dies_at = -1
    engine = engines.start()
    engine.close()
    assert stored.standing() == stored.of_batch()
    stored.assert_unique()


def test_context_that_was_committed_without_its_signals_is_judged_at_the_next_start(tape, stored, engines, lake):
    engine = engines.start()
    engines.fold(engine, tape[: 60 * 4])
    engine.commit()
    engine._committer.wait()
    minute, at = START + 50 * 60_000, (START + 61 * 60_000) * 1000
    coin = {"id": "bitcoin", "usd": 103.5, "last_updated_at": minute // 1000 + 5}
    engine.fold([Batch([json.dumps(coin).encode()], [at], shape="market_data", symbol="coingecko_price")])
    lake.commits, lake.dies_at = 0, 2
    engine.commit()
    with pytest.raises(LakeError, match="killed"):
        engine._committer.wait()
    engine._committer._units.put(None)
    engine._committer._thread.join()
    assert "divergence" not in {s.kind for s in stored.signals()}
    lake.dies_at = -1
    again = engines.start()
    again.commit()
    again.close()
    assert [s.opened_at // 1000 for s in stored.signals() if s.kind == "divergence"] == [minute]


def test_a_start_with_nothing_new_writes_nothing(lake, engines, tape):
    engine = engines.start()
    engines.fold(engine, tape)
    engine.close()
    before = {table: lake.version(table) for table in (CANDLES, SIGNALS, COVERAGE)}
    again = engines.start()
    again.commit()
    again.close()
    assert {table: lake.version(table) for table in (CANDLES, SIGNALS)} == {t: before[t] for t in (CANDLES, SIGNALS)}
    assert lake.scan(SIGNALS).select(pl.len()).collect().item() > 0
