"""Killed with -9 again and again before an exchange that misbehaves: nothing lost, nothing twice, no digit wrong.

Event time runs 1000 times as fast as ours, so that two minutes of test hold a whole UTC day of candles.
"""

import asyncio
import random
import subprocess
import time

import pytest

from tapehouse.exchange.faults import Refusal
from tapehouse.market.windows import DAY, MINUTE, SECOND

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
    exchange, platform, audit, ids_told
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
    up = platform(served, ",".join(symbols))
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
    assert "drop" in served.running.faults.counts
