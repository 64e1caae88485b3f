"""What signals cost: per closed candle while 400 symbols are followed, at the first look after a start, and in memory.

Times are processor time: one thread does all of it, and what else the machine does counts for nothing.
Beside it, the same baselines with pandas as somebody would write them who has one frame a symbol.
"""

import tempfile
import time
from array import array
from collections.abc import Iterator
from random import Random

import pandas as pd

from benchmarks.measuring import MEGABYTE, Figure, at_most, check, quantile
from tapehouse.catalog import CANDLES
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.candles import Candle, merge_all
from tapehouse.market.ledger import CandleRow, Ledger
from tapehouse.market.seasons import Seasons
from tapehouse.market.signals import Detection, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import INTERVALS, MINUTE
from tapehouse.streaming.rows import silver_candles
from tapehouse.streaming.signals import Signals

SYMBOLS = 400
HELD = 420
"""Minutes that are in the lake before the first look: more than a window rests on."""
START = 1_723_161_600_000_000
FIRST = 5
"""Minutes after which every interval was looked at once."""
BATCH = 50
COLUMNS = ("excess", "move", "variance", "odds", "distance")


def candles(symbol: int, minutes: int) -> Iterator[CandleRow]:
    """Give minutes of a market that walks; every now and then one jumps."""
    random, close = Random(symbol), 10_000_000_000
    for place in range(minutes):
        before, close = close, max(round(close * (1 + random.gauss(0, 0.0005))), 1)
        if random.random() < 0.002:
            close = round(close * 1.03)
        volume = round(random.lognormvariate(23, 0.6))
        prices = (
            before,
            max(before, close) + random.randrange(10**6),
            min(before, close) - random.randrange(10**6),
            close,
        )
        bought = round(volume * random.uniform(0.2, 0.8))
        ids = place * 100, place * 100 + 99
        candle = Candle(*prices, volume, volume * close, 100, bought, bought * close, *ids)
        yield CandleRow(f"S{symbol}USDT", "1m", START + place * MINUTE, candle, None, "closed", 1, 0)


def with_fives(rows: list[CandleRow]) -> list[CandleRow]:
    """Add the 5m candles of whole fives."""
    fives = [rows[place : place + 5] for place in range(0, len(rows) - 4, 5)]
    made = [
        CandleRow(part[0].symbol, "5m", part[0].opened_at, merge_all(row.candle for row in part), None, "closed", 1, 0)
        for part in fives
    ]
    return [*rows, *made]


def run(minutes: int) -> list[Figure]:
    """Follow 400 symbols for some minutes after a start on a lake that holds some hours of them."""
    detection = Detection()
    market = [with_fives(list(candles(symbol, HELD + minutes))) for symbol in range(SYMBOLS)]
    with tempfile.TemporaryDirectory() as folder:
        lake = DeltaLake(folder)
        lake.create()
        held = START + HELD * MINUTE
        for batch, first in enumerate(range(0, SYMBOLS, BATCH)):
            stored = [row for rows in market[first : first + BATCH] for row in rows if closes(row) <= held]
            lake.append(CANDLES, silver_candles(stored), writer="embedded", batch=batch)
        told, took, held_bytes = follow(lake, market, minutes, detection)
    check(standing(told, held) == standing(of_batch(market, detection, held), held), "signals are not those of a batch")
    check(len(told) > 0, "nothing was found")
    first, rest = sum(took[:FIRST]), took[FIRST:]
    counted = range(held + FIRST * MINUTE + 1, held + minutes * MINUTE + 1)
    each = sum(rest) / sum(closes(row) in counted for of_symbol in market for row in of_symbol) * 1e6
    pandas = pandas_microseconds(market[0], detection)
    return [
        at_most(f"signals of a closed candle, {SYMBOLS} symbols, 1m and 5m", each, "us", 1_000),
        Figure("the same five baselines with pandas, a closed candle", pandas, "us"),
        at_most(f"the close of a minute, {SYMBOLS} symbols, 95th percentile", quantile(rest, 0.95) * 1000, "ms", 500),
        Figure("a core's part that this is", 100 * sum(rest) / (60 * len(rest)), "%"),
        Figure(f"the first looks after a start, {SYMBOLS} symbols", first, "s"),
        Figure(f"memory of the watched windows, {SYMBOLS} symbols, 1m and 5m", held_bytes / MEGABYTE, "MB"),
        Figure("of which three symbols take", held_bytes / MEGABYTE * 3 / SYMBOLS, "MB"),
        Figure("signals found in that time", len(told), ""),
    ]


def closes(row: CandleRow) -> int:
    """Return when a window ended."""
    return row.opened_at + INTERVALS[row.interval]


def follow(
    lake: DeltaLake, market: list[list[CandleRow]], minutes: int, detection: Detection
) -> tuple[list[Signal], list[float], int]:
    """Derive minute after minute; return what was told, the seconds each took, and the bytes that are held."""
    signals, ledgers = Signals(detection, {}, since=START), {rows[0].symbol: Ledger(rows[0].symbol) for rows in market}
    signals.read_from(lake)
    told: list[Signal] = []
    took = []
    for minute in range(HELD, HELD + minutes):
        end = START + (minute + 1) * MINUTE
        for ledger in ledgers.values():
            ledger.settled_to = end
        rows = [row for of_symbol in market for row in of_symbol if closes(row) == end]
        began = time.process_time()
        told += signals.derive(rows, [], ledgers, end)
        took.append(time.process_time() - began)
    return told, took, bytes_held(signals)


def bytes_held(signals: Signals) -> int:
    """Return the memory that the watched windows take."""
    watches = signals._watches.values()  # noqa: SLF001  # what is held is nobody else's business
    columns = [column for watch in watches for column in vars(watch.series).values() if isinstance(column, array)]
    return sum(len(column) * column.itemsize for column in columns)


def of_batch(market: list[list[CandleRow]], detection: Detection, held: int) -> list[Signal]:
    """Return what the candles give, each taken once and in order."""
    found: list[Signal] = []
    for rows in market[:20]:
        for interval in ("1m", "5m"):
            origin = START - reach(detection) * INTERVALS[interval]
            watch = Watch(rows[0].symbol, interval, origin, detection, Seasons(START))
            watch.recall(row for row in rows if row.interval == interval)
            watch.touch(held - INTERVALS[interval], rows[-1].opened_at + MINUTE * 10**6)
            found += watch.derive(0)
    return found


def standing(signals: list[Signal], held: int) -> set[tuple[object, ...]]:
    """Return what counts of the first symbols' signals."""
    names = {f"S{symbol}USDT" for symbol in range(20)}
    return {
        (s.kind, s.symbol, s.interval, s.opened_at, s.score, s.state)
        for s in signals
        if s.symbol in names and s.state != "retracted" and s.opened_at + INTERVALS[s.interval] > held
    }


def pandas_microseconds(rows: list[CandleRow], detection: Detection) -> float:
    """Return how long medians and their deviations of five columns take, of the windows before one."""
    watch = Watch(rows[0].symbol, "1m", START, detection, Seasons(START))
    watch.recall(row for row in rows if row.interval == "1m")
    frame = pd.DataFrame({name: list(getattr(watch.series, name)) for name in COLUMNS})
    places = range(detection.baseline + 1, len(frame), 4)
    began = time.process_time()
    for place in places:
        for name in COLUMNS:
            before = frame[name].iloc[place - detection.baseline : place]
            median = before.median()
            _ = 1.4826 * (before - median).abs().median()
    return (time.process_time() - began) / len(places) * 1e6
