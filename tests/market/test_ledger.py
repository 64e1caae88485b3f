"""Random worlds: trades and klines arrive late, twice, out of order and in pieces; at every step the ledger may only
say what is true, must say all that is proved, and in the end has every window right.
"""

from collections import defaultdict
from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from tapehouse.market.candles import COLUMNS, Candle
from tapehouse.market.events import Kline, Trade
from tapehouse.market.ledger import LONGEST_EMPTY_RUN, CandleRow, Check, Ledger
from tapehouse.market.windows import DAY, INTERVALS, MINUTE, closes_at, is_over, opened_at

MIDNIGHT = 1_723_161_600_000_000  # 2024-08-09
UNIT = Decimal("0.00000001")


def make_trade(trade_id: int, at: int, price: int, quantity: int = 1, side: str = "buy") -> Trade:
    return Trade("BTCUSDT", trade_id, trade_id, price, quantity, side, at, at, at, "stream")


class World:
    """What truly happened, and what may truly be said of it; in plain lists and decimals."""

    def __init__(self, trades: list[Trade], end: int) -> None:
        self.trades = trades
        self.end = end
        self.minutes = range(opened_at(trades[0].traded_at, "1m"), end, MINUTE)
        self._windows = {interval: defaultdict(list) for interval in INTERVALS}
        for trade in trades:
            for interval in INTERVALS:
                self._windows[interval][opened_at(trade.traded_at, interval)].append(trade)

    def of(self, interval: str, opened: int) -> list[Trade]:
        return self._windows[interval].get(opened, [])

    def needed(self, interval: str, opened: int) -> set[int]:
        """The ids that prove a window when they are held: its own, the one before and the one after."""
        before = [t.first_trade_id for t in self.trades if t.traded_at < opened]
        after = [t.first_trade_id for t in self.trades if t.traded_at >= closes_at(opened, interval)]
        own = [t.first_trade_id for t in self.of(interval, opened)]
        return {*own, before[-1] if before else -1, after[0] if after else -1}

    def candle(self, interval: str, opened: int) -> dict[str, Decimal | int] | None:
        trades = sorted(self.of(interval, opened), key=lambda trade: trade.first_trade_id)
        if not trades:
            return None
        price = [trade.price * UNIT for trade in trades]
        quantity = [trade.quantity * UNIT for trade in trades]
        bought = [q if trade.taker_side == "buy" else Decimal(0) for trade, q in zip(trades, quantity, strict=True)]
        return {
            "open": price[0],
            "high": max(price),
            "low": min(price),
            "close": price[-1],
            "volume": sum(quantity),
            "quote_volume": sum(p * q for p, q in zip(price, quantity, strict=True)),
            "trades": len(trades),
            "taker_buy_volume": sum(bought),
            "taker_buy_quote_volume": sum(p * b for p, b in zip(price, bought, strict=True)),
            "first_trade_id": trades[0].first_trade_id,
            "last_trade_id": trades[-1].last_trade_id,
        }

    def close_before(self, opened: int) -> Decimal:
        return [trade.price for trade in self.trades if trade.traded_at < opened][-1] * UNIT

    def kline(self, opened: int, *, has_ids: bool = True) -> Kline:
        """The exchange's kline of a minute."""
        told = self.candle("1m", opened)
        if told is None:
            return Kline("BTCUSDT", "1m", opened, None, int(self.close_before(opened) / UNIT), opened, has_ids)
        ids = {} if has_ids else {"first_trade_id": -1, "last_trade_id": -1}
        candle = Candle(**{name: to_integer(name, value) for name, value in told.items()} | ids)
        return Kline("BTCUSDT", "1m", opened, candle, candle.close, opened, has_ids)


def to_integer(name: str, value: Decimal | int) -> int:
    scale = {"trades": 0, "first_trade_id": 0, "last_trade_id": 0, "quote_volume": 16, "taker_buy_quote_volume": 16}
    return int(value * 10 ** scale.get(name, 8))


def numbers(candle: Candle) -> dict[str, int]:
    return {name: getattr(candle, name) for name in COLUMNS}


class Listener:
    """A ledger as the engine uses one, with a lake of everything written, watched at every step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = Ledger("BTCUSDT")
        self.klines: dict[int, Kline] = {}
        self.written: dict[tuple[str, int], list[CandleRow]] = defaultdict(list)
        self.now = MIDNIGHT

    def take(self, trades: list[Trade], klines: list[Kline]) -> None:
        for trade in trades:
            if self.ledger.coverage.accept(trade.first_trade_id, trade.last_trade_id):
                opened = opened_at(trade.traded_at, "1m")
                self._recall(opened)
                self.ledger.add(opened, trade.as_candle())
        for kline in klines:
            self._recall(kline.opened_at)
            if self.ledger.tell(kline):
                self.klines[kline.opened_at] = kline

    def settle(self) -> list[CandleRow]:
        self.now += 1
        rows = self.ledger.settle(self.now)
        for row in rows:
            self._is_true(row)
            self.written[row.interval, row.opened_at].append(row)
        return rows

    def latest(self, interval: str, opened: int) -> CandleRow | None:
        return rows[-1] if (rows := self.written.get((interval, opened))) else None

    def says_all_that_is_proved(self) -> None:
        held = self.ledger.coverage.held
        for interval in INTERVALS:
            first = opened_at(self.world.minutes[0], interval)
            for opened in range(first, self.world.end, INTERVALS[interval]):
                proved = all(number in held for number in self.world.needed(interval, opened))
                if is_over(opened, interval, self.ledger.horizon) and proved:
                    row = self.latest(interval, opened)
                    assert row is not None, (interval, opened)
                    assert row.state in {"closed", "quiet"}, row

    def _recall(self, opened: int) -> None:
        """What the engine brings back from the lake before an old window changes."""
        if not self.ledger.lacks(opened):
            return
        held = [at for (name, at), rows in self.written.items() if name == "1m" and rows[-1].candle is not None]
        before = max((at for at in held if at < opened), default=opened)
        after = min((at for at in held if at > opened), default=opened)
        days = range(opened_at(before, "1d"), opened_at(after, "1d") + DAY, DAY)
        rows = [rows[-1] for (_, at), rows in self.written.items() if opened_at(at, "1d") in days]
        klines = [kline for at, kline in self.klines.items() if opened_at(at, "1d") in days]
        self.ledger.recall(rows, klines, days)

    def _is_true(self, row: CandleRow) -> None:
        true = self.world.of(row.interval, row.opened_at)
        held = self.ledger.coverage.held
        earlier = self.written.get((row.interval, row.opened_at), [])
        assert row.revision == len(earlier) + 1
        assert all(row.known_at > before.known_at for before in earlier)
        assert is_over(row.opened_at, row.interval, self.ledger.horizon)
        match row.state:
            case "closed":
                assert all(trade.first_trade_id in held for trade in true)
                self._has_the_right_numbers(row)
            case "quiet":
                assert not true
                assert row.candle is None
                assert row.flat * UNIT == self.world.close_before(row.opened_at)
            case "gap":
                needed = self.world.needed(row.interval, row.opened_at)
                assert any(number not in held for number in needed), "a gap is said of what is proved"
            case other:
                pytest.fail(f"a state nobody promised: {other}")

    def _has_the_right_numbers(self, row: CandleRow) -> None:
        expected = self.world.candle(row.interval, row.opened_at)
        assert numbers(row.candle) == {name: to_integer(name, value) for name, value in expected.items()}


@st.composite
def worlds(draw, most_minutes=24):
    """Minutes with none, one or several trades, several a millisecond, beginning shortly before midnight."""
    start = MIDNIGHT - draw(st.integers(1, 18)) * MINUTE
    counts = [
        1,
        *draw(st.lists(st.sampled_from([0, 0, 1, 2, 4]), min_size=1, max_size=most_minutes)),
        draw(st.integers(1, 4)),
    ]
    trades, number = [], draw(st.sampled_from([0, 1, 77]))
    for minute, count in enumerate(counts):
        for offset in sorted(draw(st.lists(st.integers(0, 59_999), min_size=count, max_size=count))):
            at = start + minute * MINUTE + draw(st.sampled_from([offset, offset // 30_000 * 30_000])) * 1000
            at = max(at, trades[-1].traded_at if trades else 0)
            price, quantity = draw(st.integers(1, 9)), draw(st.integers(1, 9))
            trades.append(make_trade(number, at, price, quantity, draw(st.sampled_from(["buy", "sell"]))))
            number += 1
    return World(trades, start + len(counts) * MINUTE)


@settings(max_examples=150)
@given(worlds(), st.data())
def test_in_any_world_only_the_truth_is_said_and_in_the_end_all_of_it(world, data):
    draw = data.draw
    arrivals = []
    for trade in world.trades:
        delay = draw(st.sampled_from([0, 0, 0, 0, 100_000, 10 * MINUTE, DAY]))
        arrivals.append((trade.traded_at + delay, trade))
        if draw(st.booleans()):
            arrivals.append((trade.traded_at + delay + 50_000, trade))
    for opened in world.minutes[:-1] if draw(st.booleans()) else []:
        fate = draw(st.sampled_from(["told", "told", "told", "lost", "late", "twice", "without ids"]))
        delays = {"told": [0], "lost": [], "late": [7 * MINUTE], "twice": [0, MINUTE], "without ids": [0]}
        kline = world.kline(opened, has_ids=fate != "without ids")
        arrivals += [(closes_at(opened, "1m") + delay, kline) for delay in delays[fate]]
    arrivals.sort(key=lambda arrival: arrival[0])
    listener = Listener(world)
    play(listener, [event for _, event in arrivals], draw)
    assert listener.ledger.coverage.missing() == []
    ends_right(listener)


def test_the_first_trade_of_an_open_minute_proves_empty_ones_before_it_whose_klines_were_lost():
    world = World([make_trade(1, MIDNIGHT, 5), make_trade(2, MIDNIGHT + 3 * MINUTE, 6)], MIDNIGHT + 4 * MINUTE)
    listener = Listener(world)
    listener.take(world.trades[:1], [world.kline(MIDNIGHT), world.kline(MIDNIGHT + 2 * MINUTE)])
    listener.settle()
    assert listener.latest("1m", MIDNIGHT + MINUTE) is None
    listener.take(world.trades[1:], [])
    listener.settle()
    assert listener.latest("1m", MIDNIGHT + MINUTE).state == "quiet"
    listener.says_all_that_is_proved()


def play(listener: Listener, events: list[Trade | Kline], draw) -> None:
    while events:
        size = draw(st.sampled_from([1, 1, 2, 5, 20]))
        batch, events = events[:size], events[size:]
        listener.take(
            [event for event in batch if isinstance(event, Trade)],
            [event for event in batch if isinstance(event, Kline)],
        )
        if draw(st.integers(0, 3)) or not events:
            listener.settle()
            listener.says_all_that_is_proved()
            listener.ledger.checks()
            if draw(st.booleans()):
                listener.ledger.trim()


def ends_right(listener: Listener) -> None:
    """Every window that is over has its last revision right; only the first may lack a proved start."""
    world = listener.world
    assert listener.settle() == [], "nothing new came, so nothing new is said"
    for interval in INTERVALS:
        first = opened_at(world.minutes[0], interval)
        for opened in range(first, opened_at(world.trades[-1].traded_at, interval), INTERVALS[interval]):
            row = listener.latest(interval, opened)
            assert row is not None, (interval, opened)
            if opened > first:
                assert row.state == ("closed" if world.of(interval, opened) else "quiet")


@pytest.mark.parametrize("seed", range(3))
def test_days_with_hours_of_silence_and_holes_repaired_a_day_later_come_out_right(seed):
    random = Random(seed)
    trades, at, number = [], MIDNIGHT - 90 * MINUTE, 500
    while at < MIDNIGHT + 2 * DAY:
        trades.append(make_trade(number, at, random.randint(1, 9), random.randint(1, 9)))
        number += 1
        at += random.choice([0, 1_000_000, 50_000_000, 12 * MINUTE, random.randint(1, 200) * MINUTE])
    trades.append(make_trade(number, MIDNIGHT + 2 * DAY + 5 * MINUTE, 1))
    world = World(trades, MIDNIGHT + 2 * DAY + 6 * MINUTE)
    repaired_later = set(random.sample(range(5, len(trades) - 5), 6))
    listener = Listener(world)
    for place, trade in enumerate(trades):
        if place not in repaired_later:
            listener.take([trade], [])
            listener.settle()
            listener.ledger.trim()
    listener.says_all_that_is_proved()
    for place in sorted(repaired_later, reverse=True):
        listener.take([trades[place]], [])
        listener.settle()
        listener.ledger.trim()
    ends_right(listener)
    assert listener.latest("1d", MIDNIGHT).state == "closed"
    assert listener.latest("1d", MIDNIGHT + DAY).state == "closed"


def test_a_repair_that_proves_windows_already_forgotten_recalls_them_first():
    minutes = [0, 1, 6, *range(7, 18)]
    trades = [make_trade(number, MIDNIGHT + minute * MINUTE, number + 1) for number, minute in enumerate(minutes)]
    listener = Listener(World(trades, MIDNIGHT + 18 * MINUTE))
    for trade in [*trades[:2], *trades[3:]]:
        listener.take([trade], [])
        listener.settle()
        listener.ledger.trim()
    assert [listener.latest("1m", MIDNIGHT + minute * MINUTE).state for minute in (1, 2, 5)] == ["gap"] * 3
    listener.take([trades[2]], [])
    listener.settle()
    ends_right(listener)


def test_the_exchanges_kline_is_held_against_the_candle_once_and_again_when_either_changes():
    trades = [make_trade(number, MIDNIGHT + number * MINUTE, 3) for number in range(4)]
    world = World(trades, MIDNIGHT + 4 * MINUTE)
    listener = Listener(world)
    listener.take(trades, [world.kline(MIDNIGHT + MINUTE)])
    listener.settle()
    assert listener.ledger.checks() == [Check("BTCUSDT", MIDNIGHT + MINUTE, [], 1, None)]
    assert listener.ledger.checks() == []
    told = world.kline(MIDNIGHT + MINUTE)
    other = msgspec.structs.replace(told, candle=msgspec.structs.replace(told.candle, volume=7))
    assert listener.ledger.tell(other)
    assert listener.ledger.checks() == [Check("BTCUSDT", MIDNIGHT + MINUTE, [("volume", 1, 7)], 1, agreed_before=True)]


def test_an_exchange_that_tells_fewer_trades_than_it_did_is_a_difference_and_not_the_truth():
    trades = [make_trade(number, MIDNIGHT + number * MINUTE, 3) for number in range(4)]
    ledger = Ledger("BTCUSDT")
    for trade in trades:
        ledger.coverage.accept(trade.first_trade_id, trade.last_trade_id)
        ledger.add(opened_at(trade.traded_at, "1m"), trade.as_candle())
    ledger.tell(Kline("BTCUSDT", "1m", MIDNIGHT + MINUTE, None, 3, MIDNIGHT))
    assert [row.state for row in ledger.settle(1) if row.interval == "1m"] == ["closed"] * 3
    assert ledger.checks() == [Check("BTCUSDT", MIDNIGHT + MINUTE, [("trades", 1, 0)], 1)]


def test_a_silence_longer_than_a_week_is_not_written_minute_by_minute():
    ledger = Ledger("BTCUSDT")
    for number, at in enumerate((MIDNIGHT, MIDNIGHT + (LONGEST_EMPTY_RUN + 3000) * MINUTE)):
        ledger.coverage.accept(number, number)
        ledger.add(at, make_trade(number, at, 3).as_candle())
    rows = ledger.settle(1)
    assert sum(row.interval == "1m" for row in rows) <= 2 * LONGEST_EMPTY_RUN + 1


def test_windows_that_no_kline_was_told_of_are_named_a_minute_after_their_end_until_one_is():
    trades = [make_trade(number, MIDNIGHT + minute * MINUTE, 3) for number, minute in enumerate([0, 1, 2, 4, 5])]
    world = World(trades, MIDNIGHT + 6 * MINUTE)
    listener = Listener(world)
    listener.take(trades[:4], [world.kline(MIDNIGHT + 2 * MINUTE)])
    listener.settle()
    assert listener.ledger.unheard() == [MIDNIGHT, MIDNIGHT + MINUTE]
    listener.take(trades[4:], [])
    listener.settle()
    assert listener.ledger.unheard() == [MIDNIGHT + minute * MINUTE for minute in (0, 1, 3)]  # 4 ended just now
    assert listener.ledger.uncompared == {MIDNIGHT + minute * MINUTE for minute in (0, 1, 3, 4)}
    told = msgspec.structs.replace(world.kline(MIDNIGHT + MINUTE), has_ids=False)
    listener.take([], [world.kline(MIDNIGHT), told, world.kline(MIDNIGHT + 3 * MINUTE)])
    listener.settle()
    assert [check.differences for check in listener.ledger.checks()] == [[]] * 4
    assert (listener.ledger.unheard(), listener.ledger.uncompared) == ([], {MIDNIGHT + 4 * MINUTE})


def test_what_waits_for_proof_wants_a_kline_and_what_is_a_day_old_no_more():
    trades = [make_trade(number, MIDNIGHT + number * MINUTE, 3) for number in range(3)]
    world = World(trades, MIDNIGHT + 5 * MINUTE)
    listener = Listener(world)
    listener.take(trades, [world.kline(MIDNIGHT)])
    listener.ledger.reach(MIDNIGHT + 5 * MINUTE)
    listener.settle()
    assert listener.ledger.unproved == {MIDNIGHT + minute * MINUTE for minute in (2, 3, 4)}
    assert listener.ledger.unheard() == [MIDNIGHT + minute * MINUTE for minute in (1, 2, 3)]
    listener.ledger.reach(MIDNIGHT + 2 * DAY)
    listener.ledger.trim()
    assert MIDNIGHT + MINUTE not in listener.ledger.unheard()
