"""The windows kept in memory are those that the lake and the view give."""

from collections import deque

import msgspec
import pytest

from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.api.recent_windows import MOST_KEPT, RecentWindows
from tapehouse.market.windows import DAY, INTERVALS, MINUTE


@pytest.fixture
def forgotten(told):
    """The same, all of it stored, and forgotten by the ledgers as far as they forget."""
    told.tell(told.trade("105", at=told.view.last_trade("BTCUSDT").traded_at + 4 * DAY // 24))
    told.commit()
    for ledger in told.ledgers.values():
        ledger.trim()
    return told


def revise(market, start: int, minute: int) -> None:
    """Settle another revision of a minute that the ledger has forgotten, as a repair does, and store it."""
    [stored] = [
        row
        for row in Queries(market.view, market.lake).candles(CandleQuery("BTCUSDT", "1m", 700))
        if row.opened_at == start + minute * MINUTE
    ]
    row = msgspec.structs.replace(
        stored, revision=stored.revision + 1, candle=msgspec.structs.replace(stored.candle, low=1)
    )
    market.view.publish([], [row])
    market._candles.append(row)
    market.commit()


def test_windows_kept_in_memory_are_those_the_lake_and_the_view_give(forgotten, start):
    queries = Queries(forgotten.view, forgotten.lake)
    windows = RecentWindows(forgotten.view, queries)

    def check() -> None:
        for interval in INTERVALS:
            for count in (5, 300, MOST_KEPT + 1):
                expected = queries.candles(CandleQuery("BTCUSDT", interval, count))
                assert windows.last("BTCUSDT", interval, count) == expected

    check()
    revise(forgotten, start, 3)
    assert any(row.candle and row.candle.low == 1 for row in windows.last("BTCUSDT", "1m", 300))
    check()
    forgotten.tell(forgotten.trade("106"))
    check()


def test_a_reader_that_fell_behind_reads_the_lake_again(forgotten, start):
    forgotten.view._settled = deque(maxlen=1)
    queries = Queries(forgotten.view, forgotten.lake)
    windows = RecentWindows(forgotten.view, queries)
    windows.last("BTCUSDT", "1m", 300)
    revise(forgotten, start, 3)
    revise(forgotten, start, 5)
    assert windows.last("BTCUSDT", "1m", 300) == queries.candles(CandleQuery("BTCUSDT", "1m", 300))
