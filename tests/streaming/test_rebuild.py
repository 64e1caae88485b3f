"""Candles computed in batch, a day at a time, are those the live engine wrote: over holes, quiet days, late trades."""

import json
from datetime import UTC, date, datetime
from random import Random

import msgspec
import polars as pl
import pytest

from tapehouse.catalog import CANDLES
from tapehouse.lake.history import highest_revisions
from tapehouse.market.windows import DAY
from tapehouse.streaming.rebuild import newest_known, rebuild, revisions
from tapehouse.streaming.rows import candle_rows, silver_candles, to_microseconds

SYMBOL = "BTCUSDT"
FIRST_DAY = date(2024, 8, 5)
BEGUN = to_microseconds(FIRST_DAY)
MINUTE = 60_000_000


def frame(trade_id: int, at: int, price: str = "2.5", symbol: str = SYMBOL) -> tuple[int, bytes]:
    """A trade at a time in microseconds, received at once."""
    amounts = {"p": price, "q": "0.1"}
    fields = {"e": "trade", "E": at // 1000, "s": symbol, "t": trade_id, **amounts, "T": at // 1000, "m": True}
    return at, json.dumps({"stream": "x@trade", "data": fields}).encode()


def times(days: int, random: Random) -> list[int]:
    """Times of trades over some days: crowded minutes, empty hours, now and then days without any."""
    at, found = BEGUN + random.randrange(DAY), []
    while at < BEGUN + days * DAY:
        found.append(at)
        at += random.choice([0, 1000, 20_000_000, 50_000_000, MINUTE, 3 * MINUTE, 90 * MINUTE, 300 * MINUTE])
        if random.random() < 0.01:
            at += random.choice([DAY, 2 * DAY, 3 * DAY])
    return found


@pytest.fixture
def write(lake, start_engine, as_batch):
    """Fold frames piece by piece, as they come, and commit."""

    def writing(frames, pieces=1):
        engine = start_engine(lake)
        size = -(-len(frames) // pieces)
        for place in range(0, len(frames), size):
            engine.fold([as_batch(frames[place : place + size])])
            engine.commit()
        engine.close()

    return writing


def differing(lake, end: int, start: int = BEGUN) -> list[tuple]:
    """Return what a rebuild would change, of every day."""
    days = rebuild(lake, SYMBOL, start, end, BEGUN + 1000 * DAY)
    return [(day.day.isoformat(), *pair) for day in days for pair in day.differing]


def candles(lake, **chosen) -> pl.DataFrame:
    rows = highest_revisions(lake.scan(CANDLES).filter(symbol=SYMBOL, **chosen))
    return rows.sort("opened_at").collect()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
def test_whatever_was_lost_and_however_it_was_folded_the_batch_gives_the_same_tables(
    lake, write, exchanges_klines, as_message, seed
):
    random = Random(seed)
    trades = [frame(7 + n, at, f"{random.randint(1, 9)}.5") for n, at in enumerate(times(9, random))]
    klines = list(exchanges_klines(trades, SYMBOL).values())
    told = [as_message(kline) for kline in klines if kline["n"] and random.random() < 0.3]
    lost = set(random.sample(range(len(trades)), len(trades) // 20))
    frames = sorted([each for place, each in enumerate(trades) if place not in lost] + told)
    write(frames, pieces=random.choice([1, 3, 7]))
    assert differing(lake, BEGUN + 10 * DAY) == []
    if seed % 2:  # what was lost comes late, and backwards
        write([trades[place] for place in sorted(lost, reverse=True)], pieces=3)
        assert differing(lake, BEGUN + 10 * DAY) == []


def test_quiet_days_are_computed_from_their_neighbours_several_days_away(lake, write):
    write([frame(1, BEGUN + 5 * MINUTE), frame(2, BEGUN + 5 * DAY - MINUTE), frame(3, BEGUN + 5 * DAY)])
    [middle] = rebuild(lake, SYMBOL, BEGUN + 2 * DAY, BEGUN + 3 * DAY, BEGUN + 1000 * DAY)
    assert (middle.day, middle.candles, list(middle.differing)) == (date(2024, 8, 7), 1440 + 288 + 96 + 24 + 6 + 1, [])
    assert set(candles(lake, date=middle.day)["state"]) == {"quiet"}
    assert differing(lake, BEGUN + 6 * DAY) == []


def test_days_of_which_ids_are_missing_are_gaps_to_both(lake, write):
    write([frame(1, BEGUN + 5 * MINUTE), frame(9, BEGUN + 5 * DAY - MINUTE), frame(10, BEGUN + 5 * DAY)])
    assert set(candles(lake, date=date(2024, 8, 7))["state"]) == {"gap"}
    assert differing(lake, BEGUN + 6 * DAY) == []


def test_a_range_takes_every_day_it_touches_and_no_other(lake, write):
    write([frame(n, BEGUN + n * 300 * MINUTE) for n in range(20)])
    days = [day.day.day for day in rebuild(lake, SYMBOL, BEGUN + DAY - 1, BEGUN + 2 * DAY + 1, BEGUN)]
    assert days == [5, 6, 7]
    assert [day.candles for day in rebuild(lake, "ETHUSDT", BEGUN, BEGUN + DAY, BEGUN)] == [0]


def test_what_differs_becomes_the_next_revision_and_then_nothing_does(lake, write):
    write([frame(n, BEGUN + n * 20_000_000) for n in range(1, 30)])
    known_at = BEGUN + 1000 * DAY
    opened = datetime(2024, 8, 5, 0, 4, tzinfo=UTC)
    [true] = candle_rows(candles(lake, interval="1m", opened_at=opened))
    wrong = msgspec.structs.replace(
        true, revision=2, known_at=known_at + 5, candle=msgspec.structs.replace(true.candle, volume=1)
    )
    nowhere = msgspec.structs.replace(true, opened_at=true.opened_at + 3 * 60 * MINUTE)
    lake.append(CANDLES, silver_candles([wrong, nowhere]), writer="somebody", batch=0)
    assert newest_known(lake) == known_at + 5

    [day] = rebuild(lake, SYMBOL, BEGUN, BEGUN + DAY, known_at)
    found = {(stored, computed and computed.candle) for stored, computed in day.differing}
    assert found == {(wrong, true.candle), (nowhere, None)}
    [mended] = revisions(day.differing)
    assert mended == msgspec.structs.replace(true, revision=3, known_at=known_at + 5)
    lake.append(CANDLES, silver_candles([mended]), writer="rebuild", batch=0)
    [day] = rebuild(lake, SYMBOL, BEGUN, BEGUN + DAY, known_at)
    assert [stored for stored, _ in day.differing] == [nowhere]  # nothing is deleted: it stays to be told of


def test_silver_that_was_lost_comes_back_from_bronze(lake, write, tmp_path):
    write([frame(n, BEGUN + n * 20_000_000) for n in range(1, 30)])
    before = candles(lake).drop("known_at")
    empty = type(lake)(str(tmp_path / "other"))
    empty.create()
    for table in ("bronze/trades", "bronze/klines"):
        empty.append(table, lake.scan(table).collect(), writer="copy", batch=0)
    assert newest_known(empty) == 0
    [day] = rebuild(empty, SYMBOL, BEGUN, BEGUN + DAY, BEGUN + DAY)
    rows = revisions(day.differing)
    assert all(row.revision == 1 for row in rows)
    empty.append(CANDLES, silver_candles(rows), writer="rebuild", batch=0)
    order = ["interval", "opened_at"]
    assert candles(empty).drop("known_at").sort(order).equals(before.sort(order))
