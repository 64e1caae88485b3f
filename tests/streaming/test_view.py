"""The live view: what a fold shows, to whom, and how much of it."""

import asyncio
import threading

import pytest

from tapehouse.market.candles import Candle
from tapehouse.market.events import Trade
from tapehouse.market.ledger import CandleRow, Ledger
from tapehouse.market.windows import INTERVALS, MINUTE
from tapehouse.streaming import view as view_module
from tapehouse.streaming.rows import trade_columns
from tapehouse.streaming.view import SETTLED_KEPT, TAIL, UPDATES_KEPT, Interest, LiveView, SymbolHealth

OPENED = 1_723_161_600_000_000


def trade(trade_id: int, symbol: str = "BTCUSDT", at: int = OPENED) -> Trade:
    return Trade(symbol, trade_id, trade_id, 2, 3, "buy", at + trade_id, at + trade_id, at + trade_id, "stream")


def columns(*trades: Trade):
    return trade_columns([(each, b"") for each in trades]).drop("payload")


def row(opened: int, symbol: str = "BTCUSDT", interval: str = "1m") -> CandleRow:
    return CandleRow(symbol, interval, opened, Candle(*[1] * 11), None, "closed", 1, OPENED)


@pytest.fixture
def ledgers() -> dict[str, Ledger]:
    return {symbol: Ledger(symbol) for symbol in ("BTCUSDT", "ETHUSDT")}


@pytest.fixture
def view(ledgers) -> LiveView:
    view = LiveView()
    view.attach(ledgers, {})
    return view


def ids(trades) -> list[int]:
    return [each.first_trade_id for each in trades]


def hold(ledger: Ledger, first: int, last: int, opened: int = OPENED) -> None:
    ledger.coverage.accept(first, last)
    ledger.add(opened, Candle(1, 9, 1, 5, 7, 8, last - first + 1, 3, 4, first, last))


# The newest trades


def test_recent_trades_come_from_chunks_of_both_kinds_in_order_of_id(view):
    view.publish([[trade(1), trade(2, "ETHUSDT")], columns(trade(5), trade(3), trade(7, "ETHUSDT"))], [])
    view.publish([columns(trade(6)), [trade(4), trade(8)]], [])
    assert ids(view.recent_trades("BTCUSDT", 10)) == [1, 3, 4, 5, 6, 8]
    assert ids(view.recent_trades("BTCUSDT", 2)) == [6, 8]
    assert ids(view.recent_trades("ETHUSDT", 1)) == [7]
    assert view.recent_trades("DOGEUSDT", 5) == []
    assert view.recent_trades("BTCUSDT", 10)[1] == trade(3)


def test_the_last_trade_is_the_one_with_the_highest_id_whatever_comes_late(view):
    assert view.last_trade("BTCUSDT") is None
    view.publish([[trade(5)]], [])
    view.publish([columns(trade(3), trade(4)), [trade(2)]], [])
    assert view.last_trade("BTCUSDT") == trade(5)
    view.publish([columns(trade(9), trade(6))], [])
    assert view.last_trade("BTCUSDT") == trade(9)
    assert view.horizon == OPENED + 9


def test_no_more_trades_are_kept_than_the_bound_and_a_chunk(view, monkeypatch):
    monkeypatch.setattr(view_module, "RECENT_TRADES", 10)
    for first in range(0, 60, 4):
        view.publish([[trade(first + n) for n in range(4)]], [])
    assert ids(view.recent_trades("BTCUSDT", 1000)) == list(range(48, 60))
    view.publish([columns(*[trade(100 + n) for n in range(30)])], [])
    assert ids(view.recent_trades("BTCUSDT", 1000)) == list(range(100, 130))


# Candles


def test_open_windows_are_the_newest_and_those_over_and_not_proved(view, ledgers):
    ledger = ledgers["BTCUSDT"]
    assert view.recent_candles("BTCUSDT", "1m") == []
    for minute in range(3):
        hold(ledger, 10 * minute + 1, 10 * minute + 10, OPENED + minute * MINUTE)
    settled = ledger.settle(OPENED)
    assert [(each.opened_at, each.state) for each in view.recent_candles("BTCUSDT", "1m")] == [
        (OPENED, "gap"),
        (OPENED + MINUTE, "closed"),
        (OPENED + 2 * MINUTE, "open"),
    ]
    ledger.reach(OPENED + 4 * MINUTE)
    settled += ledger.settle(OPENED)
    found = view.recent_candles("BTCUSDT", "1m")
    assert [(each.opened_at, each.state, each.candle and each.candle.trades) for each in found[2:]] == [
        (OPENED + 2 * MINUTE, "open", 10),
        (OPENED + 3 * MINUTE, "open", None),
    ]
    assert [each.candle.trades for each in view.recent_candles("BTCUSDT", "1h")] == [30]
    assert settled == view.recent_candles("BTCUSDT", "1m")[:2]


def test_what_was_settled_is_told_after_a_number_and_what_is_held_no_longer_is_counted(view):
    rows = [row(OPENED + place * MINUTE) for place in range(SETTLED_KEPT + 2)]
    view.publish([], rows[:2])
    assert view.settled_since(0) == (rows[:2], 2, 0)
    assert view.settled_since(1) == (rows[1:2], 2, 0)
    view.publish([], rows[2:])
    assert view.settled_since(2) == (rows[2:], len(rows), 0)
    assert view.settled_since(0) == (rows[2:], len(rows), 2)
    assert view.settled_since(len(rows)) == ([], len(rows), 0)


def test_symbols_nobody_follows_have_no_candles(view):
    assert view.recent_candles("DOGEUSDT", "1m") == []
    assert view.symbols() == ["BTCUSDT", "ETHUSDT"]


def test_health_is_shown_as_it_was_set(view):
    health = SymbolHealth(1, 2, 3, 4, 5, 6, 7, 8)
    view.set_health("BTCUSDT", health)
    assert view.health() == {"BTCUSDT": health}


# Those who listen


async def listen(view: LiveView, interest: Interest | None = None):
    return view.subscribe(asyncio.get_running_loop(), None if interest is None else lambda: interest)


async def test_a_reader_is_told_of_trades_and_of_the_candles_they_move(view, ledgers):
    subscription = await listen(view)
    hold(ledgers["BTCUSDT"], 1, 2)
    view.publish([[trade(1), trade(2)]], [row(OPENED - MINUTE)])
    [update], lost = await subscription.updates()
    assert (update.sequence, lost, set(update.traded)) == (1, 0, {"BTCUSDT"})
    assert {symbol: ids(trades) for symbol, trades in update.trades.items()} == {"BTCUSDT": [1, 2]}
    assert update.skipped == {"BTCUSDT": 0}
    assert [(each.interval, each.state) for each in update.candles] == [
        ("1m", "closed"),
        *((interval, "open") for interval in INTERVALS),
    ]


async def test_a_reader_is_told_only_what_it_cares_for(view, ledgers):
    interest = Interest(trades=frozenset({"ETHUSDT"}), candles=frozenset({("BTCUSDT", "5m")}))
    subscription, deaf = await listen(view, interest), await listen(view, Interest())
    prices = await listen(view, Interest(prices=True))
    for symbol in ledgers:
        hold(ledgers[symbol], 1, 2)
    settled = [row(OPENED), row(OPENED, interval="5m"), row(OPENED, "ETHUSDT", "5m")]
    view.publish([[trade(1), trade(1, "ETHUSDT")], columns(trade(2), trade(2, "ETHUSDT"))], settled)
    [update], _ = await subscription.updates()
    assert {symbol: ids(trades) for symbol, trades in update.trades.items()} == {"ETHUSDT": [1, 2]}
    assert [(each.symbol, each.interval, each.state) for each in update.candles] == [
        ("BTCUSDT", "5m", "closed"),
        ("BTCUSDT", "5m", "open"),
    ]
    [update], _ = await prices.updates()
    assert (set(update.traded), update.trades, update.candles) == ({"BTCUSDT", "ETHUSDT"}, {}, [])
    assert not deaf._updates


async def test_of_many_trades_the_last_are_told_and_the_others_counted(view):
    subscription = await listen(view, Interest(trades=frozenset({"BTCUSDT"})))
    first, second = [trade(n) for n in range(30)], [trade(n) for n in range(30, 100)]
    view.publish([first, columns(*second, trade(1, "ETHUSDT"))], [])
    [update], _ = await subscription.updates()
    assert ids(update.trades["BTCUSDT"]) == list(range(100 - TAIL, 100))
    assert update.skipped == {"BTCUSDT": 100 - TAIL}


async def test_a_reader_that_lags_is_told_how_much_it_missed_and_gets_the_newest(view):
    subscription = await listen(view)
    for number in range(UPDATES_KEPT + 7):
        view.publish([[trade(number)]], [])
    updates: list = []
    await asyncio.sleep(0)  # what the engine's thread hands over is put by the loop
    updates, lost = await subscription.updates()
    assert (len(updates), lost) == (UPDATES_KEPT, 7)
    assert [update.sequence for update in updates] == list(range(8, UPDATES_KEPT + 8))
    view.publish([[trade(1000)]], [])
    [update], lost = await subscription.updates()
    assert (update.sequence, lost, view.sequence) == (UPDATES_KEPT + 8, 0, UPDATES_KEPT + 8)


async def test_updates_come_from_the_engines_thread_and_end_with_the_subscription(view):
    subscription = await listen(view)
    engine = threading.Thread(target=lambda: view.publish([[trade(1)]], []))
    engine.start()
    async with asyncio.timeout(20):
        [update], _ = await subscription.updates()
    engine.join()
    assert ids(update.trades["BTCUSDT"]) == [1]
    view.unsubscribe(subscription)
    view.unsubscribe(subscription)
    view.publish([[trade(2)]], [])
    await asyncio.sleep(0)
    assert not subscription._updates


async def test_a_fold_that_brought_nothing_is_no_update(view):
    subscription = await listen(view)
    view.publish([], [])
    view.publish([[]], [])
    await asyncio.sleep(0)
    assert (view.sequence, list(subscription._updates)) == (0, [])
