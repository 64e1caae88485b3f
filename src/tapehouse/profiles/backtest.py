"""The commands that hold signals against history: try them on it, and store anew what it gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES, SIGNALS
from tapehouse.errors import ConfigError, DiscrepancyError
from tapehouse.lake.delta import DeltaLake
from tapehouse.market import sentiments
from tapehouse.market.coins import coin_traded
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import HOUR, Seasons
from tapehouse.market.series import Series
from tapehouse.market.signals import KINDS, WHOLE_MARKET, Detection, Kind, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import DAY, INTERVALS, opened_at
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.profiles.history import REBUILD, nothing_held
from tapehouse.profiles.signals import detection
from tapehouse.profiles.storage import open_lake, open_lake_to_read, reading, writing
from tapehouse.reports import print_backtest, print_differing_signals, print_shortcomings
from tapehouse.settings import Settings
from tapehouse.streaming.backtest import (
    OF_CANDLES,
    OF_INDEX,
    Backtest,
    Outcome,
    differing,
    differing_extremes,
    run_over,
    run_over_index,
    shortcomings,
)
from tapehouse.streaming.kline_files import read_klines, rolled_up
from tapehouse.streaming.rebuild import newest_known
from tapehouse.streaming.rows import gold_signals, to_microseconds
from tapehouse.streaming.signal_reads import SignalReads, Span
from tapehouse.streaming.told_files import ToldByFiles, read_told


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
        raise ConfigError(f"No signals of kind {', '.join(sorted(unknown))}; there is {', '.join(KINDS)}.")
    if start is not None and end is not None and start >= end:
        raise ConfigError(f"--to {end:%Y-%m-%dT%H:%MZ} is not after --from {start:%Y-%m-%dT%H:%MZ}.")
    names = tuple(symbol.upper() for symbol in symbols)
    return Question(names, interval, chosen, Outcome(horizon, times), start, end)


def run_backtest(
    settings: Settings, asked: Question, recordings: Sequence[Path], context: Sequence[Path], *, check: bool
) -> None:
    """Try the detectors on the lake's history, or on recorded files, and print what came of it.

    `context` are files of what others told beside recorded candles. With `check`, hold the stored signals against the
    history: raise DiscrepancyError where they differ. Raise ConfigError where there are no candles to try them on.
    """
    if recordings and check:
        raise ConfigError("--check holds the lake's signals against its candles; it goes without --recording.")
    if context and not recordings:
        raise ConfigError("--context goes with --recording; a lake holds its own.")
    if recordings:
        _try_files(detection(settings), asked, recordings, read_told(context))
        return
    with reading(settings):
        differ = _try_lake(settings, open_lake_to_read(settings), asked, check=check)
    if differ:
        raise DiscrepancyError(f"{differ} stored signals are not what the candles give under these settings.")


def _try_lake(settings: Settings, lake: DeltaLake, asked: Question, *, check: bool) -> int:
    """Try the detectors on a lake and print the outcome; return how many stored signals differ where `check` asks."""
    told, differ = detection(settings), 0
    reads, index = SignalReads(lake, told), OF_INDEX in asked.kinds
    for span in _spans(asked, lake.dates(CANDLES)):
        coins = {span.symbol: coin_traded(span.symbol, settings.coingecko_pins()) or ""}
        counted = Backtest(span.interval, told, asked.outcome)
        run_over(reads, span, coins, counted, asked.outcome.horizon)
        if not counted.windows:
            raise ConfigError(f"The lake holds no {span.interval} candles of {span.symbol} in this range.")
        _print(span.symbol, span.interval, counted, OF_CANDLES, asked, told)
        if index:
            counted, days = Backtest(sentiments.INTERVAL, told, asked.outcome), _days(asked, reads.index())
            of_days = Span(span.symbol, sentiments.INTERVAL, days.start, days.stop)
            run_over_index(reads, of_days, counted, asked.outcome.horizon)
            _print(span.symbol, sentiments.INTERVAL, counted, (OF_INDEX,), asked, told)
        differ += _differing(span.symbol, differing(reads, span, coins)) if check else 0
    if check and index:
        differ += _differing(WHOLE_MARKET, differing_extremes(reads, told))
    return differ


def run_rebuild_signals(
    settings: Settings, symbols: Sequence[str], start: datetime | None, end: datetime | None
) -> None:
    """Find anew, under the settings, the signals of every watched interval and of the index; store what differs.

    Raise ConfigError where nothing is watched or there are no candles.
    """
    told = detection(settings)
    if not told.intervals:
        raise ConfigError("TAPEHOUSE_SIGNAL_INTERVALS is off: there is nothing to find.")
    with writing(settings):
        lake = open_lake(settings)
        reads, days = SignalReads(lake, told), lake.dates(CANDLES)
        known_at = ArrivalClock(newest_known(lake, SIGNALS)).now()
        held = set(lake.scan(CANDLES, dates=days).select(pl.col("symbol").unique()).collect()["symbol"])
        for symbol in symbols:
            if symbol.upper() not in held:
                raise nothing_held(symbol.upper())
        for interval in told.intervals:
            asked = read_question(symbols, interval, (), Outcome.horizon, Outcome.times, start, end)
            for span in _spans(asked, days):
                coins = {span.symbol: coin_traded(span.symbol, settings.coingecko_pins()) or ""}
                _store(lake, f"{span.symbol} {interval}", differing(reads, span, coins, known_at))
        _store(lake, WHOLE_MARKET, differing_extremes(reads, told, known_at))


def _store(lake: DeltaLake, of: str, found: Iterable[Signal]) -> None:
    signals = list(found)
    if signals:
        lake.append(SIGNALS, gold_signals(signals), writer=REBUILD, batch=lake.last_batch(SIGNALS, REBUILD) + 1)
    print_differing_signals(of, signals, stored=True)


def _differing(symbol: str, found: Iterable[Signal]) -> int:
    differ = list(found)
    print_differing_signals(symbol, differ)
    return len(differ)


def _try_files(told: Detection, asked: Question, recordings: Sequence[Path], others: ToldByFiles) -> None:
    if others.prices and len(asked.symbols) > 1:
        raise ConfigError("A file of prices does not say of which coin they are: ask for one symbol.")
    for symbol in asked.symbols:
        rows = read_klines(recordings, symbol, asked.interval)
        _print(symbol, asked.interval, _over_files(rows, asked, told, others), OF_CANDLES, asked, told)
        if OF_INDEX in asked.kinds:
            counted, days = Backtest(sentiments.INTERVAL, told, asked.outcome), _days(asked, others.index)
            series = Series(sentiments.INTERVAL, opened_at(rows[0].opened_at, sentiments.INTERVAL))
            series.put_all(rolled_up(rows, sentiments.INTERVAL))
            counted.add_index(others.index, series, days.start, days.stop)
            _print(symbol, sentiments.INTERVAL, counted, (OF_INDEX,), asked, told)


def _over_files(rows: Sequence[CandleRow], asked: Question, told: Detection, others: ToldByFiles) -> Backtest:
    step = INTERVALS[asked.interval]
    start, end = _bounds(asked, rows[0].opened_at, rows[-1].opened_at + step) if rows else (0, 0)
    if not any(start <= row.opened_at < end for row in rows):
        raise ConfigError("The files have no candles in this range.")
    seasons = Seasons(opened_at(rows[0].opened_at, "1h"))
    for hour in rolled_up(rows, "1h") if step <= HOUR else ():
        seasons.put(hour)
    watch = Watch(rows[0].symbol, asked.interval, rows[0].opened_at - reach(told) * step, told, seasons)
    watch.recall(rows, told=others.prices)
    counted = Backtest(asked.interval, told, asked.outcome)
    counted.add(watch, start, end)
    return counted


def _print(
    symbol: str, interval: str, counted: Backtest, kinds: Sequence[Kind], asked: Question, told: Detection
) -> None:
    """Print what was counted of those kinds that were asked for; of one with nothing to count, why."""
    tallies = counted.tallies(kind for kind in kinds if kind in asked.kinds)
    if any(tally.judged for tally in tallies):
        print_backtest(symbol, interval, counted.windows, tallies, asked.outcome)
    print_shortcomings(shortcomings(tallies, told, asked.outcome))


def _spans(asked: Question, days: Sequence[str]) -> Iterator[Span]:
    if not days:
        raise ConfigError("The lake holds no candles.")
    first, last = (to_microseconds(datetime.fromisoformat(day).date()) for day in (days[0], days[-1]))
    start, end = _bounds(asked, first, last + DAY)
    for symbol in asked.symbols:
        yield Span(symbol, asked.interval, opened_at(start, asked.interval), end)


def _days(asked: Question, index: Mapping[int, int]) -> range:
    """Return from when to when the index is judged: where it has values, as far as was asked."""
    return range(*_bounds(asked, min(index), max(index) + DAY)) if index else range(0)


def _bounds(asked: Question, first: int, last: int) -> tuple[int, int]:
    start = first if asked.start is None else max(to_microseconds(asked.start), first)
    return start, last if asked.end is None else min(to_microseconds(asked.end), last)
