"""Klines that the stream lost are asked for, those that are wanted alone, and again after ever longer waits."""

import time
from itertools import pairwise

import pytest

from tapehouse.errors import RateLimitedError
from tapehouse.market.windows import MINUTE
from tapehouse.streaming import lost_klines
from tapehouse.streaming.lost_klines import KlineDesk
from tapehouse.streaming.recovery import recover
from tapehouse.tape.local import LocalTape

SYMBOL = "BTCUSDT"


class Rest:
    """The exchange's REST klines, by symbol and opening (milliseconds)."""

    def __init__(self, rows: dict[str, dict[int, bytes]]) -> None:
        self.rows = rows
        self.asked: list[tuple[str, int, int]] = []
        self.asked_at: list[float] = []
        self.refusals: list[Exception] = []

    async def klines(self, symbol: str, start: int, end: int) -> list[bytes]:
        self.asked.append((symbol, start, end))
        self.asked_at.append(time.monotonic())
        if self.refusals:
            raise self.refusals.pop()
        return [row for opened, row in sorted(self.rows.get(symbol, {}).items()) if start <= opened * 1000 < end]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(lost_klines, "LOOK_EVERY", 0.005)
    monkeypatch.setattr(lost_klines, "PACE", 0.0)
    monkeypatch.setattr(lost_klines, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(lost_klines, "LONGEST_WAIT", 0.08)


@pytest.fixture
def klines(exchanges_klines, market) -> dict[int, dict]:
    return exchanges_klines(market, SYMBOL)


async def test_every_candle_is_compared_though_the_stream_lost_klines_over_a_start_as_well(
    lake, start_engine, market, klines, as_batch, as_message, as_row, working, eventually
):
    ours = list(klines.values())
    engine = start_engine(lake)
    engine.fold([as_batch([*market, *map(as_message, ours[3::3])])])
    lost = len(ours) - len(ours[3::3])
    assert 0 < engine.books.health(SYMBOL).uncompared_candles <= lost
    engine.close()  # nobody has asked for any
    engine, tape = start_engine(lake), LocalTape()
    rest = Rest({SYMBOL: {opened: as_row(kline) for opened, kline in klines.items()}})

    def unheard():
        engine.fold(tape.read(0))
        return {symbol: windows for symbol, windows in engine.books.unheard().items() if symbol == SYMBOL}

    before = engine.books.health(SYMBOL).uncompared_candles
    async with working(KlineDesk(unheard, rest, tape, lambda: 1)):
        await eventually(lambda: engine.books.health(SYMBOL).uncompared_candles <= 1)  # the newest may wait a minute
    health = engine.books.health(SYMBOL)
    assert health.checked_candles == health.agreeing_candles == before - health.uncompared_candles
    assert len(rest.asked) == 1
    engine.close()
    left = recover(lake, [SYMBOL]).ledgers[SYMBOL]
    assert len(left.uncompared) == health.uncompared_candles


async def test_only_what_is_wanted_goes_on_the_tape_the_newest_symbol_first(klines, as_row, working, eventually):
    opened = sorted(klines)
    rest = Rest({name: {at: as_row(kline) for at, kline in klines.items()} for name in ("AUSDT", "BUSDT")})
    wanted = {"AUSDT": [opened[2] * 1000, opened[5] * 1000], "BUSDT": [opened[7] * 1000]}
    tape = LocalTape()
    async with working(KlineDesk(lambda: wanted, rest, tape, lambda: 1)):
        await eventually(lambda: len(rest.asked) >= 2)
    assert rest.asked[:2] == [
        ("BUSDT", opened[7] * 1000, opened[7] * 1000 + MINUTE),
        ("AUSDT", opened[2] * 1000, opened[5] * 1000 + MINUTE),
    ]
    first, second = tape.read(0)[:2]
    assert (first.shape, first.symbol, first.frames) == ("klines", "BUSDT", [as_row(klines[opened[7]])])
    assert second.frames == [as_row(klines[opened[2]]), as_row(klines[opened[5]])]


async def test_what_the_exchange_does_not_tell_is_asked_for_again_after_ever_longer_waits(working, eventually):
    rest = Rest({})
    async with working(KlineDesk(lambda: {SYMBOL: [MINUTE]}, rest, LocalTape(), lambda: 1)):
        await eventually(lambda: len(rest.asked) >= 5)
    assert set(rest.asked) == {(SYMBOL, MINUTE, 2 * MINUTE)}
    waits = [later - earlier for earlier, later in pairwise(rest.asked_at)]
    assert all(wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08, 0.08), strict=False))


async def test_what_is_new_does_not_wait_for_what_was_asked_for_in_vain(monkeypatch, working, eventually):
    monkeypatch.setattr(lost_klines, "FIRST_WAIT", 1000.0)
    monkeypatch.setattr(lost_klines, "LONGEST_WAIT", 1000.0)
    rest, wanted = Rest({}), {SYMBOL: [MINUTE]}
    async with working(KlineDesk(lambda: wanted, rest, LocalTape(), lambda: 1)):
        await eventually(lambda: len(rest.asked) == 1)
        wanted[SYMBOL] = [MINUTE, 3 * MINUTE]
        await eventually(lambda: len(rest.asked) == 2)
    assert rest.asked == [(SYMBOL, MINUTE, 2 * MINUTE), (SYMBOL, 3 * MINUTE, 4 * MINUTE)]


async def test_an_exchange_that_takes_no_requests_is_left_alone_until_it_does(working, eventually):
    rest = Rest({})
    rest.refusals = [RateLimitedError("the budget is spent", retry_after=0.2)]
    async with working(KlineDesk(lambda: {SYMBOL: [MINUTE], "ETHUSDT": [MINUTE]}, rest, LocalTape(), lambda: 1)):
        await eventually(lambda: len(rest.asked) >= 2)
    assert rest.asked_at[1] - rest.asked_at[0] >= 0.2
