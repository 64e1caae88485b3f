"""Killed with -9 again and again before an exchange that misbehaves: nothing lost, nothing twice, no digit wrong.

Event time runs 1000 times as fast as ours, so that two minutes of test hold a whole UTC day of candles.
"""

import asyncio
import itertools
import random
import subprocess
import time
from datetime import datetime

import pytest

from tapehouse.catalog import CANDLES
from tapehouse.exchange.faults import Refusal
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.signals import Detection
from tapehouse.market.windows import DAY, MINUTE, SECOND
from tapehouse.streaming.backtest import differing
from tapehouse.streaming.rows import to_microseconds
from tapehouse.streaming.signal_reads import SignalReads, Span

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

SEED = 20240809
KILLS = 22
SPEED = 1000
PATIENCE = 120.0
HOUR = 60 * MINUTE
TRADES_A_SECOND = 0.5
"""Of event time, over all symbols."""
SPOILED = {
    "drop": 0.01, "duplicate": 0.03, "delay": 0.02, "delay_ms": 300.0, "reorder": 0.05, "malformed": 0.01,
    "stranger": 0.005, "extra_field": 0.01, "cut": 0.0005, "lost_klines": 0.1,
}  # fmt: skip
KEEN = Detection(baseline=60, outlier_score=4.0, minimum_quote_volume=0)
"""What makes some hundreds of signals in a day of few trades."""


def signal_settings(detection: Detection) -> dict[str, str]:
    fields = ("baseline", "outlier_score", "minimum_quote_volume")
    return {f"TAPEHOUSE_SIGNAL_{name.upper()}": str(getattr(detection, name)) for name in fields}


def late_in_the_evening_before_yesterday() -> int:
    midnight = time.time_ns() // 1000 // DAY * DAY
    return midnight - DAY - 45 * MINUTE + 30 * SECOND


async def misbehave(exchange):
    """Every now and then something larger than a spoiled message."""
    chance = random.Random(SEED)
    while True:
        await asyncio.sleep(chance.uniform(0.5, 2.5))
        match chance.randrange(6):
            case 0:
                exchange.cut()
            case 1:
                exchange.announce_shutdown()
            case 2:
                exchange.faults.refuse(Refusal(429, requests=3, retry_after=1))
            case 3:
                exchange.faults.refuse(Refusal(503, requests=3, on="both"))
            case 4:
                exchange.faults.set(silence=True)
                await asyncio.sleep(chance.uniform(0.1, 1.0))
                exchange.faults.set(silence=False)
            case 5:
                exchange.faults.set(skew_ms=chance.choice([-1500, 0, 1500]))


def test_whatever_is_killed_and_whenever_every_trade_is_held_once_and_every_candle_is_exact(
    exchange, platform, audit, tables, ids_told
):
    begins_at = late_in_the_evening_before_yesterday()
    served = exchange(
        symbols=4,
        rate=TRADES_A_SECOND,
        speed=SPEED,
        begins_at=begins_at,
        quiet=0.4,
        weight_limit=100_000,
        faults=[f"{name}={value}" for name, value in SPOILED.items()],
    )
    symbols = list(served.tape.pairs)
    up = platform(served, ",".join(symbols), **signal_settings(KEEN))
    behave = served.begin(misbehave)
    chance = random.Random(SEED)
    for _ in range(KILLS):
        up.start()
        with pytest.raises(subprocess.TimeoutExpired):  # it never ends by itself
            up.process.wait(chance.uniform(0.5, 9.0))
        up.kill()
    behave()
    served.do(lambda running: running.faults.clear())
    up.start()
    served.until_told(begins_at + 25 * HOUR)
    up.until_whole(ids_told(served), PATIENCE)
    assert up.stop() == 0
    audited = audit(served)
    for symbol in symbols:
        trades = audited.everything(symbol)
        assert trades[-1].traded_at.date() > trades[0].traded_at.date()
    assert_signals_are_whole(up, tables, symbols)
    assert "drop" in served.running.faults.counts


def assert_signals_are_whole(up, tables, symbols) -> None:
    """None is lost, none is there twice, and those that stand are what the stored candles give."""
    rows = tables.rows("gold/signals", "kind, symbol, interval, opened_at, revision", "order by all")
    assert len(set(rows)) == len(rows) > 100
    numbers: dict[tuple, list[int]] = {}
    for *about, revision in rows:
        numbers.setdefault(tuple(about), []).append(revision)
    assert all(revisions == list(range(1, len(revisions) + 1)) for revisions in numbers.values())
    reads = SignalReads(DeltaLake(str(up.lake), writer=None), KEEN)
    days = [to_microseconds(datetime.fromisoformat(day).date()) for day in DeltaLake(str(up.lake)).dates(CANDLES)]
    for symbol, interval in itertools.product(symbols, KEEN.intervals):
        span = Span(symbol, interval, min(days), max(days) + DAY)
        assert list(differing(reads, span, {symbol: ""})) == []
