"""The batch computation: silver from bronze, a UTC day at a time, by the same ledger as the live engine (law 5)."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES, KLINES, TRADES
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import Candle
from tapehouse.market.events import Trade
from tapehouse.market.ledger import CandleRow, Ledger
from tapehouse.market.windows import DAY, INTERVALS, MINUTE
from tapehouse.ports import Lake
from tapehouse.streaming.recovery import fold_bronze, ranges_of
from tapehouse.streaming.rows import candle_rows, klines_of, to_microseconds, to_time


class Rebuilt(msgspec.Struct, frozen=True):
    """A day computed anew: how many candles it has, and (stored, computed) of each that differs."""

    day: date
    candles: int
    differing: Sequence[tuple[CandleRow | None, CandleRow | None]]


def rebuild(lake: Lake, symbol: str, start: int, end: int, known_at: int) -> Iterator[Rebuilt]:
    """Compute every UTC day of [start, end) (microseconds) anew and compare it with what is stored."""
    for opened in range(start - start % DAY, end, DAY):
        day = to_time(opened).date()
        computed = {(row.interval, row.opened_at): row for row in compute_day(lake, symbol, day, known_at)}
        stored = {(row.interval, row.opened_at): row for row in _stored(lake, symbol, day)}
        differing = [
            (stored.get(key), computed.get(key))
            for key in sorted(stored.keys() | computed.keys(), key=lambda key: (INTERVALS[key[0]], key[1]))
            if not _same(stored.get(key), computed.get(key))
        ]
        yield Rebuilt(day, len(computed), differing)


def revisions(differing: Sequence[tuple[CandleRow | None, CandleRow | None]]) -> list[CandleRow]:
    """Return the computed candles that differ as the next revisions of what is stored."""
    return [
        msgspec.structs.replace(
            computed,
            revision=stored.revision + 1 if stored else 1,
            known_at=max(computed.known_at, stored.known_at if stored else 0),
        )
        for stored, computed in differing
        if computed is not None
    ]


def newest_known(lake: Lake, table: str = CANDLES) -> int:
    """Return the newest `known_at` of a table (microseconds), 0 when it has no row."""
    newest = lake.scan(table).select(pl.col("known_at").to_physical().max()).collect().item()
    return 0 if newest is None else int(newest)


def compute_day(lake: Lake, symbol: str, day: date, known_at: int) -> list[CandleRow]:
    """Return every candle of a UTC day that is over, from the stored trades and klines alone."""
    nearby = [(day + timedelta(days=shift)).isoformat() for shift in (-1, 0, 1)]
    of_symbol = pl.col("symbol") == symbol
    trades = lake.scan(TRADES, dates=nearby).filter(of_symbol).select(Trade.__struct_fields__)
    ledger = Ledger(symbol)
    for _, first, last in ranges_of(trades.select("symbol", "first_trade_id", "last_trade_id").collect()):
        ledger.coverage.held.add(first, last)
    opened = to_microseconds(day)
    candles = {minute: candle for (_, minute), candle in fold_bronze(trades).items()}
    _add_neighbours(lake, symbol, day, candles)
    ledger.recall((), klines_of(lake.scan(KLINES, dates=nearby).filter(of_symbol, _one_minute()).collect()))
    ledger.restore(sorted(candles.items()))
    ledger.reach(_told_to(lake, symbol, nearby))
    return [row for row in ledger.settle(known_at) if opened <= row.opened_at < opened + DAY]


def _add_neighbours(lake: Lake, symbol: str, day: date, candles: dict[int, Candle]) -> None:
    """Add the nearest candles on both sides where the days beside this one are empty."""
    opened = to_microseconds(day)
    sides = (
        (-1, any(minute < opened for minute in candles)),
        (1, any(minute >= opened + DAY for minute in candles)),
    )
    for direction, has_one in sides:
        found = None if has_one else _nearest(lake, symbol, day, direction)
        if found is not None:
            candles[found[0]] = found[1]


def _nearest(lake: Lake, symbol: str, day: date, direction: int) -> tuple[int, Candle] | None:
    """Return the opening and the candle of the nearest minute with trades before or after a day."""
    days, of_symbol = pl.col("date"), pl.col("symbol") == symbol
    beyond, nearest = (days < day, days.max()) if direction < 0 else (days > day, days.min())
    found = lake.scan(TRADES).filter(of_symbol, beyond).select(nearest).collect().item()
    if found is None:
        return None
    rows = lake.scan(TRADES, dates=[found.isoformat()]).filter(of_symbol).select(Trade.__struct_fields__)
    folded = {minute: candle for (_, minute), candle in fold_bronze(rows).items()}
    chosen = max(folded) if direction < 0 else min(folded)
    return chosen, folded[chosen]


def _told_to(lake: Lake, symbol: str, dates: Sequence[str]) -> int:
    """Return the end of the last window the exchange told of; 0 when it told of none."""
    rows = lake.scan(KLINES, dates=dates).filter(pl.col("symbol") == symbol, _one_minute())
    last = rows.select(pl.col("opened_at").to_physical().max()).collect().item()
    return 0 if last is None else int(last) + MINUTE


def _stored(lake: Lake, symbol: str, day: date) -> list[CandleRow]:
    rows = lake.scan(CANDLES, dates=[day.isoformat()]).filter(pl.col("symbol") == symbol)
    return candle_rows(highest_revisions(rows).collect())


def _same(stored: CandleRow | None, computed: CandleRow | None) -> bool:
    if stored is None or computed is None:
        return stored is computed
    return (stored.candle, stored.flat, stored.state) == (computed.candle, computed.flat, computed.state)


def _one_minute() -> pl.Expr:
    return pl.col("interval") == "1m"
