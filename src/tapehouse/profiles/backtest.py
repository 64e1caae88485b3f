"""The command that tries on history what is a signal."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from tapehouse.catalog import CANDLES
from tapehouse.errors import ConfigError, DiscrepancyError
from tapehouse.market.coins import coin_traded
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import HOUR, Seasons
from tapehouse.market.signals import Detection, Kind, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import DAY, INTERVALS, opened_at
from tapehouse.profiles.signals import detection
from tapehouse.profiles.storage import open_lake_to_read, reading
from tapehouse.reports import print_backtest, print_differing_signals
from tapehouse.settings import Settings
from tapehouse.streaming.backtest import KINDS, Backtest, Outcome, differing, run_over
from tapehouse.streaming.kline_files import hours_of, read_klines
from tapehouse.streaming.rows import to_microseconds
from tapehouse.streaming.signal_reads import SignalReads, Span


class Question(msgspec.Struct, frozen=True):
    """What a back-test is asked: of which symbols and windows, which kinds, and what is to follow."""

    symbols: tuple[str, ...]
    interval: str
    kinds: tuple[Kind, ...]
    outcome: Outcome
    start: datetime | None = None
    end: datetime | None = None


def read_question(
    symbols: Sequence[str],
    interval: str,
    kinds: Sequence[str],
    horizon: int,
    times: float,
    start: datetime | None,
    end: datetime | None,
) -> Question:
    """Return what was asked on the command line; raise ConfigError for a kind there is not."""
    chosen = tuple(kind for kind in KINDS if not kinds or kind in kinds)
    if unknown := set(kinds) - set(KINDS):
        raise ConfigError(f"No signals of kind {', '.join(sorted(unknown))} in candles; there is {', '.join(KINDS)}.")
    if start is not None and end is not None and start >= end:
        raise ConfigError(f"--to {end:%Y-%m-%dT%H:%MZ} is not after --from {start:%Y-%m-%dT%H:%MZ}.")
    names = tuple(symbol.upper() for symbol in symbols)
    return Question(names, interval, chosen, Outcome(horizon, times), start, end)


def run_backtest(settings: Settings, asked: Question, recordings: Sequence[Path], *, check: bool) -> None:
    """Try the detectors on the lake's history, or on recorded files, and print what came of it.

    With `check`, hold the stored signals against it: raise DiscrepancyError where they differ. Raise ConfigError where
    there are no candles to try them on.
    """
    if recordings and check:
        raise ConfigError("--check holds the lake's signals against its candles; it goes without --recording.")
    told = detection(settings)
    if recordings:
        for symbol in asked.symbols:
            counted = _over_files(read_klines(recordings, symbol, asked.interval), asked, told)
            print_backtest(symbol, asked.interval, counted.windows, counted.tallies(asked.kinds), asked.outcome)
        return
    with reading(settings):
        lake = open_lake_to_read(settings)
        days = lake.dates(CANDLES)
        reads = SignalReads(lake, told)
        differ = sum(_over_lake(settings, reads, span, asked, told, check=check) for span in _spans(asked, days))
    if differ:
        raise DiscrepancyError(f"{differ} stored signals are not what the candles give under these settings.")


def _over_lake(
    settings: Settings, reads: SignalReads, span: Span, asked: Question, told: Detection, *, check: bool
) -> int:
    """Try the detectors on a span and print the outcome; return how many stored signals differ."""
    coins = {span.symbol: coin_traded(span.symbol, settings.coingecko_pins()) or ""}
    counted = Backtest(span.interval, told, asked.outcome)
    for _ in run_over(reads, span, coins, counted, asked.outcome.horizon):
        pass
    if not counted.windows:
        raise ConfigError(f"The lake holds no {span.interval} candles of {span.symbol} in this range.")
    print_backtest(span.symbol, span.interval, counted.windows, counted.tallies(asked.kinds), asked.outcome)
    found: list[Signal] = list(differing(reads, span, coins)) if check else []
    if check:
        print_differing_signals(span.symbol, found)
    return len(found)


def _over_files(rows: Sequence[CandleRow], asked: Question, told: Detection) -> Backtest:
    step = INTERVALS[asked.interval]
    start, end = _bounds(asked, rows[0].opened_at, rows[-1].opened_at + step) if rows else (0, 0)
    chosen = [row for row in rows if row.opened_at < end]
    if not any(row.opened_at >= start for row in chosen):
        raise ConfigError("The files have no candles in this range.")
    seasons = Seasons(opened_at(rows[0].opened_at, "1h"))
    for hour in hours_of(rows) if step <= HOUR else ():
        seasons.put(hour)
    watch = Watch(rows[0].symbol, asked.interval, rows[0].opened_at - reach(told) * step, told, seasons)
    watch.recall(chosen)
    counted = Backtest(asked.interval, told, asked.outcome)
    counted.add(watch, start, end)
    return counted


def _spans(asked: Question, days: Sequence[str]) -> Iterator[Span]:
    if not days:
        raise ConfigError("The lake holds no candles.")
    first, last = (to_microseconds(datetime.fromisoformat(day).date()) for day in (days[0], days[-1]))
    start, end = _bounds(asked, first, last + DAY)
    for symbol in asked.symbols:
        yield Span(symbol, asked.interval, opened_at(start, asked.interval), end)


def _bounds(asked: Question, first: int, last: int) -> tuple[int, int]:
    start = first if asked.start is None else max(to_microseconds(asked.start), first)
    return start, last if asked.end is None else min(to_microseconds(asked.end), last)
