"""An engine over a real lake in a folder, and a small market for it."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from random import Random

import pytest

from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.lost_klines import KlineDesk
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.repairs import RepairDesk
from tapehouse.streaming.view import LiveView

START = 1_723_161_000_000  # milliseconds, 2024-08-08 23:50

Frames = list[tuple[int, bytes]]
"""When each was received (microseconds), and its bytes."""


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.create()
    return lake


@pytest.fixture
def start_engine() -> Callable[[DeltaLake], EmbeddedEngine]:
    """The normal start, on a clock that steps a third of a second a look, from the end of the last one on."""
    ticks = itertools.count((START + 3_600_000) * 1000, 333_333)

    def start(lake: DeltaLake) -> EmbeddedEngine:
        return EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT", "ETHUSDT"]), now=lambda: next(ticks))

    return start


@pytest.fixture
def market() -> Frames:
    """Twenty minutes over midnight of two symbols, some of them quiet, each trade of which was sent at once."""
    return sorted([*_tape("BTCUSDT", 1000, Random(1)), *_tape("ETHUSDT", 7, Random(2))])


def _tape(symbol: str, number: int, random: Random) -> Iterator[tuple[int, bytes]]:
    at = START
    while at < START + 20 * 60_000:
        amounts = {"p": f"{random.randint(1, 9)}.5", "q": f"0.{random.randint(1, 9)}"}
        fields = {"e": "trade", "E": at, "s": symbol, "t": number, **amounts, "T": at, "m": random.random() < 0.5}
        yield at * 1000, json.dumps({"stream": f"{symbol.lower()}@trade", "data": fields}).encode()
        number += 1
        at += random.choice([0, 0, 900, 4_000, 8_000, 9_000, 9_500, 130_000])


@pytest.fixture
def as_batch() -> Callable[..., Batch]:
    def make(frames: Frames, **about) -> Batch:
        return Batch(frames=[frame for _, frame in frames], received_at=[at for at, _ in frames], **about)

    return make


@pytest.fixture
def exchanges_klines() -> Callable[[Frames, str], dict[int, dict]]:
    """The exchange's own 1m klines of a symbol in a market, by opening (milliseconds), computed in plain Decimal."""

    def make(frames: Frames, symbol: str) -> dict[int, dict]:
        minutes: dict[int, list[dict]] = {}
        for trade in (json.loads(frame)["data"] for _, frame in frames):
            if trade["s"] == symbol:
                minutes.setdefault(trade["T"] // 60_000 * 60_000, []).append(trade)
        klines, close = {}, "0"
        for opened in range(min(minutes), max(minutes) + 1, 60_000):
            klines[opened] = _kline(symbol, opened, minutes.get(opened, []), close)
            close = klines[opened]["c"]
        return klines

    return make


def _kline(symbol: str, opened: int, trades: list[dict], close: str) -> dict:
    prices = [Decimal(trade["p"]) for trade in trades] or [Decimal(close)]
    told = [(Decimal(trade["p"]), Decimal(trade["q"]), not trade["m"]) for trade in trades]
    amounts = {"o": prices[0], "c": prices[-1], "h": max(prices), "l": min(prices)} | {
        "v": sum((quantity for _, quantity, _ in told), Decimal(0)),
        "q": sum((price * quantity for price, quantity, _ in told), Decimal(0)),
        "V": sum((quantity for _, quantity, bought in told if bought), Decimal(0)),
        "Q": sum((price * quantity for price, quantity, bought in told if bought), Decimal(0)),
    }
    ids = {"f": trades[0]["t"], "L": trades[-1]["t"]} if trades else {"f": -1, "L": -1}
    fields = {"t": opened, "T": opened + 59_999, "s": symbol, "i": "1m", "n": len(trades), "x": True, "B": "0"}
    return fields | ids | {name: f"{amount:f}" for name, amount in amounts.items()}


@pytest.fixture
def as_message() -> Callable[[dict], tuple[int, bytes]]:
    """A kline as the stream tells it, received when its window is over."""

    def make(kline: dict) -> tuple[int, bytes]:
        told = {"e": "kline", "E": kline["T"] + 1, "s": kline["s"], "k": kline}
        frame = {"stream": f"{kline['s'].lower()}@kline_1m", "data": told}
        return (kline["T"] + 1) * 1000, json.dumps(frame).encode()

    return make


@pytest.fixture
def as_row() -> Callable[[dict], bytes]:
    """A kline as REST tells it."""
    return lambda kline: json.dumps([kline[name] for name in "tohlcvTqnVQB"]).encode()


@asynccontextmanager
async def at_work(desk: KlineDesk | RepairDesk) -> AsyncIterator[None]:
    working = asyncio.create_task(desk.run())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert working.cancelled()


@pytest.fixture
def working() -> Callable[[KlineDesk | RepairDesk], AbstractAsyncContextManager[None]]:
    """Let a desk work, which has to go on until it is told to stop."""
    return at_work


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until something is seen, with a deadline."""

    async def wait(seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110  # the desk is looked at, it tells nobody
                await asyncio.sleep(0.002)

    return wait
