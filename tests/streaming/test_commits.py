"""Units go to the lake whole and in order; what goes wrong there is raised here, and nothing comes after it."""

import threading

import pytest

from tapehouse.catalog import (
    CANDLES,
    CONTEXT_TABLES,
    COVERAGE,
    DISCREPANCIES,
    KLINES,
    MARTS,
    OTHER_EVENTS,
    REJECTED,
    SIGNALS,
    TABLES,
    TRADES,
)
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.candles import Candle
from tapehouse.market.context import Observation, Version
from tapehouse.market.events import Kline, Rejected, Trade
from tapehouse.market.ledger import CandleRow, Check
from tapehouse.market.signals import Signal
from tapehouse.streaming.commits import WRITER, Committer, Unit
from tapehouse.streaming.fold import Folded
from tapehouse.streaming.rows import trade_columns
from tapehouse.streaming.verification import discrepancies

AT = 1_723_161_600_000_000
ORDER = [TRADES, KLINES, REJECTED, OTHER_EVENTS, *CONTEXT_TABLES.values(), CANDLES, SIGNALS, DISCREPANCIES, COVERAGE]
"""What follows from the trades is written after them, and what is held is said last."""


class WatchedLake(DeltaLake):
    """A real lake that notes its appends, and refuses those of one table when it is told to."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.appended: list[tuple[str, int]] = []
        self.refuses = ""
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def append(self, table, frame, *, writer, batch):
        self.may_go_on.wait(20)
        if table == self.refuses:
            raise LakeError("the disk is full")
        self.appended.append((table, batch))
        return super().append(table, frame, writer=writer, batch=batch)


@pytest.fixture
def lake(tmp_path) -> WatchedLake:
    lake = WatchedLake(str(tmp_path / "lake"))
    lake.create()
    return lake


@pytest.fixture
def make_committer(lake):
    made = []

    def make(*, keep_payload: bool = True) -> Committer:
        made.append(Committer(lake, keep_payload=keep_payload, now=lambda: AT + 5))
        return made[-1]

    yield make
    lake.may_go_on.set()
    for each in made:
        each._units.put(None)
        each._thread.join()


def trade(trade_id: int, quantity: int = 3) -> Trade:
    return Trade("BTCUSDT", trade_id, trade_id, 2, quantity, "buy", AT, AT, AT, "stream")


def trades(*ids: int) -> Unit:
    unit = Unit()
    unit.add(Folded(singles=[(trade(each), b"{}") for each in ids]))
    return unit


def everything(trade_id: int) -> Unit:
    unit = trades(trade_id)
    candle = Candle(*[1] * 11)
    kline = Kline("BTCUSDT", "1m", AT, candle, 1, AT)
    refused = Rejected("klines", "no reason", b"x", AT)
    versions = [Version(Observation(kind, "s", "key", AT, AT, {}), AT, b"v") for kind in CONTEXT_TABLES]
    unit.add(Folded(klines=[(kline, b"k")], rejected=[refused], other=[("listStatus", b"o", AT)], versions=versions))
    unit.candles.append(CandleRow("BTCUSDT", "1m", AT, candle, None, "closed", 1, AT))
    unit.signals.append(Signal("volume_spike", "BTCUSDT", "1m", AT, 5.0, "confirmed", {}, 1, AT))
    unit.coverage.append(("BTCUSDT", trade_id, trade_id, "held"))
    unit.discrepancies += discrepancies(Check("BTCUSDT", AT, [("high", 1, 2)]), "stays", AT)
    unit.known_at = AT
    return unit


def test_bronze_goes_before_what_follows_from_it_and_coverage_last(lake, make_committer):
    committer = make_committer()
    for number in range(2):
        committer.submit(everything(number))
        committer.wait()
    assert lake.appended == [(table, number) for number in range(2) for table in ORDER]
    assert [lake.scan(table).collect().height for table in ORDER] == [2] * len(ORDER)
    assert sorted(ORDER) == sorted(set(TABLES) - set(MARTS))
    assert committer.committed_at == AT + 5


def test_a_table_without_rows_is_not_touched(lake, make_committer):
    committer = make_committer()
    committer.submit(trades(1, 2))
    committer.wait()
    assert lake.appended == [(TRADES, 0)]
    assert (Unit().is_empty(), trades(1).is_empty()) == (True, False)


def test_batches_go_on_where_the_last_writer_ended(lake, make_committer):
    first = make_committer()
    first.submit(trades(1))
    first.close()
    second = make_committer()
    second.submit(trades(2))
    second.wait()
    assert lake.appended == [(TRADES, 0), (TRADES, 1)]
    assert lake.last_batch(TRADES, WRITER) == 1
    assert sorted(lake.scan(TRADES).collect()["first_trade_id"]) == [1, 2]


@pytest.mark.parametrize("refuses", ORDER)
def test_what_goes_wrong_is_raised_by_every_later_call_and_nothing_is_committed_after_it(lake, make_committer, refuses):
    committer = make_committer()
    lake.refuses = refuses
    committer.submit(everything(1))
    with pytest.raises(LakeError, match="disk is full"):
        committer.wait()
    before = [table for table, _ in lake.appended]
    assert before == ORDER[: ORDER.index(refuses)]
    lake.refuses = ""
    with pytest.raises(LakeError, match="disk is full"):
        _ = committer.idle
    committer.submit(everything(2))
    with pytest.raises(LakeError, match="disk is full"):
        committer.wait()
    with pytest.raises(LakeError, match="disk is full"):
        committer.close()
    assert [table for table, _ in lake.appended] == before


def test_while_a_unit_is_on_its_way_it_is_not_idle_and_its_candles_are_pending(lake, make_committer):
    committer = make_committer()
    assert (committer.idle, committer.pending_candles()) == (True, [])
    lake.may_go_on.clear()
    unit = everything(1)
    committer.submit(unit)
    assert not committer.idle
    assert committer.pending_candles() == unit.candles
    lake.may_go_on.set()
    committer.wait()
    assert (committer.idle, committer.pending_candles()) == (True, [])


def test_the_end_commits_what_was_handed_over(lake, make_committer):
    committer = make_committer()
    committer.submit(trades(1))
    committer.close()
    assert lake.scan(TRADES).collect().height == 1
    assert not committer._thread.is_alive()


@pytest.mark.parametrize("keep", [True, False])
def test_the_wire_bytes_of_trades_are_kept_when_asked_for(lake, make_committer, keep):
    committer = make_committer(keep_payload=keep)
    committer.submit(trades(1))
    committer.wait()
    assert lake.scan(TRADES).collect()["payload"].to_list() == ([b"{}"] if keep else [None])


def test_a_unit_counts_its_rows_and_gives_its_trades_together():
    unit = everything(1)
    unit.add(Folded(frames=[trade_columns([(trade(each, 10), b"") for each in (2, 3)])]))
    assert unit.rows == 3 + 3 + len(CONTEXT_TABLES)  # trades; a kline, a refused message, an unknown event; versions
    assert sorted(unit.trades()["first_trade_id"]) == [1, 2, 3]
    assert Unit().trades() is None


def test_a_second_process_that_commits_to_the_same_lake_ends_the_first_at_its_next_commit(lake, make_committer):
    first, second = make_committer(), make_committer()
    second.submit(trades(1))
    second.wait()
    first.submit(trades(1))
    with pytest.raises(LakeError, match="another process writes this lake"):
        first.wait()
    assert lake.scan(TRADES).collect()["first_trade_id"].to_list() == [1]
