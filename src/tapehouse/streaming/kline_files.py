"""Files of klines as Binance's archives have them, made into candles: history that is in no lake."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import polars as pl
from polars.exceptions import PolarsError

from tapehouse.errors import ConfigError
from tapehouse.market.candles import Candle, merge_all
from tapehouse.market.fixed_point import sum_to_units, to_units
from tapehouse.market.ledger import CandleRow
from tapehouse.market.proof import CLOSED, GAP, QUIET
from tapehouse.market.windows import INTERVALS

COLUMNS = 12
MICROSECONDS_FROM = 10**15
"""Openings were in milliseconds until 2024 and are in microseconds since: no millisecond is that large before 33658."""
_NOTIONAL_DIGITS = 16


def read_klines(files: Iterable[Path], symbol: str, interval: str) -> list[CandleRow]:
    """Return the candles of files (CSV of twelve columns; plain, .gz, .zst or .zip) in order of time, each once.

    Raise ConfigError that names the file that is none.
    """
    found: dict[int, CandleRow] = {}
    for file in files:
        try:
            for told in _rows(file):
                row = _candle(told, symbol, interval)
                found[row.opened_at] = row
        except (PolarsError, OSError, ValueError, zipfile.BadZipFile) as error:
            raise ConfigError(f"{file} is no file of klines as Binance's archives have them: {error}") from None
    return [found[opened] for opened in sorted(found)]


def rolled_up(rows: Iterable[CandleRow], interval: str) -> Iterator[CandleRow]:
    """Give the longer candles of candles of one interval, which divides the longer one; `gap` where one is missing."""
    step, windows = INTERVALS[interval], dict[int, list[CandleRow]]()
    for row in rows:
        windows.setdefault(row.opened_at // step * step, []).append(row)
    for opened, parts in sorted(windows.items()):
        traded = [part.candle for part in parts if part.candle is not None]
        candle = merge_all(traded)
        if candle is not None:  # files tell no ids: the last is the last one in time
            candle = msgspec.structs.replace(candle, open=traded[0].open, close=traded[-1].close)
        whole = len(parts) * INTERVALS[parts[0].interval] == step
        flat = parts[-1].flat if candle is None else None
        state = GAP if not whole else CLOSED if candle is not None else QUIET
        yield CandleRow(parts[0].symbol, interval, opened, candle, flat, state, 1, 0)


def _rows(file: Path) -> Iterator[tuple[str, ...]]:
    source: Path | io.BytesIO = file
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            source = io.BytesIO(packed.read(packed.namelist()[0]))
    frame = pl.read_csv(source, has_header=False, infer_schema=False)
    if frame.width != COLUMNS:
        raise ValueError(f"it has {frame.width} columns and not {COLUMNS}")
    rows = frame.iter_rows()
    return (row for row in rows if row[0].isdigit())  # some begin with the names of the columns


def _candle(told: tuple[str, ...], symbol: str, interval: str) -> CandleRow:
    opened = int(told[0]) * (1 if int(told[0]) >= MICROSECONDS_FROM else 1000)
    if opened % INTERVALS[interval]:
        raise ValueError(f"{told[0]} is not the beginning of a window of {interval}")
    first, high, low, close = (to_units(text) for text in told[1:5])
    trades = int(told[8])
    if not trades:
        return CandleRow(symbol, interval, opened, None, close, QUIET, 1, 0)
    volume, bought = sum_to_units(told[5]), sum_to_units(told[9])
    sums = (volume, _notional(told[7]), trades, bought, _notional(told[10]))
    return CandleRow(symbol, interval, opened, Candle(first, high, low, close, *sums, -1, -1), None, CLOSED, 1, 0)


def _notional(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(_NOTIONAL_DIGITS, "0"))
