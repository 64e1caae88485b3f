"""What the stream loses is fetched, what it spoils is kept apart, and what cannot be had is said."""

import time
from collections import Counter

import polars as pl
import pytest

from tapehouse.exchange import faults
from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
from tapehouse.exchange.tapes import HeldTape
from tapehouse.market.windows import MINUTE, SECOND

pytestmark = pytest.mark.slow

LOSSY = ("drop=0.003", "duplicate=0.02", "reorder=0.02", "delay=0.02")


def an_hour_ago() -> int:
    """Ten seconds before a minute is over, so that the first window is short."""
    now = time.time_ns() // 1000
    return now - now % MINUTE - 60 * MINUTE - 10 * SECOND


@pytest.mark.parametrize("offers_single_trades", [True, False], ids=["trade by trade", "aggregates alone"])
def test_lost_trades_are_fetched_and_every_total_is_exact(exchange, platform, audit, ids_told, offers_single_trades):
    served = exchange(
        symbols=("BTCUSDT", "ETHUSDT"),
        rate=300.0,
        speed=10.0,
        begins_at=an_hour_ago(),
        historical_trades=offers_single_trades,
        faults=LOSSY,
        weight_limit=60_000,
    )
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    served.until_told(an_hour_ago() + 2 * MINUTE)
    assert served.do(lambda running: running.cut()) == 1
    served.until_told(an_hour_ago() + 3 * MINUTE)
    served.do(lambda running: running.faults.clear())
    up.until_whole(ids_told(served))
    assert up.stop() == 0
    for symbol in served.tape.pairs:
        audit(served).everything(symbol)


def test_a_hole_the_exchange_cannot_fill_stays_recorded_and_its_windows_are_gaps(exchange, platform, tables):
    begins = an_hour_ago()
    made = GeneratedTape(GeneratorOptions(symbols=("BTCUSDT",), rate=20.0, starts_at=begins - MINUTE))
    first = made.id_at("BTCUSDT", begins + 40 * SECOND)
    lost = (first, first + 20)
    rows = made.between(begins, begins + 7 * MINUTE).filter(~pl.col("first_trade_id").is_between(*lost))
    served = exchange(tape=HeldTape(rows, made.pairs), speed=60.0)
    last = int(rows["last_trade_id"].max())

    up = platform(served, "BTCUSDT").start()
    for _ in range(2):  # a start does not forget it, and fetches nothing twice
        health = up.until_health(lambda health: health["symbols"].get("BTCUSDT", {}).get("last_trade_id") == last)
        assert health["symbols"]["BTCUSDT"]["missing_trades"] == 21
        assert up.stop() == 0
        up.start()

    ids = Counter(trade_id for (trade_id,) in tables.rows("bronze/trades", "first_trade_id"))
    assert ids == Counter(rows["first_trade_id"].to_list())
    newest = "QUALIFY known_at = max(known_at) OVER (PARTITION BY first_trade_id, last_trade_id)"
    missing = tables.rows("silver/coverage", "first_trade_id, last_trade_id", f"WHERE status = 'missing' {newest}")
    assert missing == [lost]
    highest = 'QUALIFY revision = max(revision) OVER (PARTITION BY "interval", opened_at) ORDER BY opened_at'
    states = [state for (state,) in tables.rows("silver/candles", "state", f"WHERE \"interval\" = '1m' {highest}")]
    assert states == ["closed", "gap", "closed", "closed", "closed", "closed", "closed"]


def test_without_the_streams_klines_quiet_windows_are_proved_by_the_next_id_and_every_candle_is_compared(
    exchange, platform, audit, tables, ids_told
):
    served = exchange(
        symbols=4, rate=0.5, speed=200.0, quiet=0.6, begins_at=an_hour_ago(), faults=["lost_klines=1", "drop=0.05"]
    )
    begins, up = an_hour_ago(), platform(served, ",".join(served.tape.pairs)).start()
    served.until_told(begins + 20 * MINUTE)
    up.kill()
    up.start()
    served.until_told(begins + 40 * MINUTE)
    served.do(lambda running: running.faults.set(drop=0.0))
    up.until_whole(ids_told(served))
    health = up.until_health(lambda _: uncompared(tables, before=begins + 35 * MINUTE) == set())
    for told in health["symbols"].values():
        assert told["agreeing_candles"] == told["checked_candles"] >= 30
    assert up.stop() == 0
    for symbol in served.tape.pairs:
        audit(served).everything(symbol)


def uncompared(tables, before):
    """Return the closed candles that opened before a time (microseconds) and that no kline was stored of."""
    chosen = f"WHERE \"interval\" = '1m' AND epoch_us(opened_at) < {before}"
    candles = tables.rows("silver/candles", "symbol, opened_at", f"{chosen} AND state IN ('closed', 'quiet')")
    return set(candles) - set(tables.rows("bronze/klines", "symbol, opened_at", chosen))


def test_every_spoiled_message_is_kept_with_its_bytes_and_no_good_one_is(
    exchange, platform, audit, tables, ids_told, monkeypatch
):
    sent = []
    spoiled = faults.spoiled

    def noted(message, chance):
        frame = spoiled(message, chance)
        sent.append((message, payload_of(frame)))
        return frame

    monkeypatch.setattr(faults, "spoiled", noted)
    served = exchange(
        symbols=("BTCUSDT", "ETHUSDT"),
        rate=100.0,
        faults=["malformed=0.2", "stranger=0.1", "extra_field=0.1", "reorder=0.1"],
    )
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    up.until_health(lambda _: len(sent) > 300)
    served.do(lambda running: running.faults.clear())
    up.until_whole(ids_told(served))
    assert up.stop() == 0
    refused = Counter(bytes(payload) for (payload,) in tables.rows("bronze/rejected", "payload"))
    spoiled_trades = Counter(payload for message, payload in sent if '"e":"trade"' in message)
    assert spoiled_trades - refused == Counter()
    assert refused - Counter(payload for _, payload in sent) == Counter()
    for symbol in served.tape.pairs:
        audit(served).everything(symbol)


def payload_of(frame):
    """Return what a frame of the exchange holds, whatever the length of its head."""
    return frame[4:] if frame[1] == 126 else frame[2:]
