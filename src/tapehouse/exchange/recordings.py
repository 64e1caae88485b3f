"""Recordings of the exchange's own streams as a tape: the trades of files, at their recorded times or from now on.

Reads lines that hold a stream message as JSON, whatever stands before it (hftbacktest writes the nanoseconds of
receipt, cryptofeed the seconds and a colon), plain, gzipped or packed by zstd. Messages of other kinds are passed over.
"""

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import polars as pl

from tapehouse.errors import ConfigError
from tapehouse.exchange.tapes import HeldTape, Pair, number_aggregates, shifted
from tapehouse.market.fixed_point import to_units
from tapehouse.market.windows import MINUTE

_QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "BTC", "ETH", "BNB", "EUR", "USD")
_MESSAGE = re.compile(rb'\{"stream":"[^"]*@(?:trade|aggTrade)"')
_MILLISECONDS_BELOW = 10**14


class _Trade(msgspec.Struct, frozen=True):
    """A `trade` or `aggTrade` message, letter by letter; the ids are `t`, or `a`, `f` and `l`."""

    s: str
    p: str
    q: str
    T: int
    m: bool
    t: int = -1
    a: int = -1
    f: int = -1
    l: int = -1  # noqa: E741  # the exchange's letter
    X: str = "MARKET"


class _Message(msgspec.Struct, frozen=True):
    """A message of a combined stream."""

    stream: str
    data: _Trade


_decode = msgspec.json.Decoder(_Message).decode


def read_recordings(paths: Sequence[Path], *, begins_at: int | None = None) -> HeldTape:
    """Return the tape of several files together.

    `begins_at` (microseconds) moves it by whole minutes so that it begins in that minute. Where a symbol was recorded
    both as trades and as aggregates, the trades are taken. Raises ConfigError for files that cannot be read.
    """
    rows = [row for path in paths for row in _rows_of(path)]
    if not rows:
        raise ConfigError(f"no trades in {', '.join(map(str, paths))}")
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    frame = _each_once(frame)
    if begins_at is not None:
        first = int(frame.select(pl.col("traded_at").min()).item())
        frame = shifted(frame, begins_at - begins_at % MINUTE - (first - first % MINUTE))
    return HeldTape(frame, pairs_of(frame))


_SCHEMA = {
    "symbol": pl.String,
    "first_trade_id": pl.Int64,
    "last_trade_id": pl.Int64,
    "aggregate_id": pl.Int64,
    "price": pl.Int64,
    "quantity": pl.Int64,
    "buyer_is_maker": pl.Boolean,
    "traded_at": pl.Int64,
}


def _each_once(frame: pl.DataFrame) -> pl.DataFrame:
    """Give trades their aggregates, and leave out recorded aggregates of symbols that have trades."""
    by_id = frame.sort("symbol", "first_trade_id").unique(["symbol", "first_trade_id", "aggregate_id"], keep="first")
    trades = by_id.filter(pl.col("aggregate_id").is_null()).drop("aggregate_id").sort("symbol", "first_trade_id")
    aggregates = by_id.filter(pl.col("aggregate_id").is_not_null()).join(trades, on="symbol", how="anti")
    return pl.concat([number_aggregates(trades).select(frame.columns), aggregates.select(frame.columns)])


def _rows_of(path: Path) -> Iterator[tuple[object, ...]]:
    for line in _lines(path):
        found = _MESSAGE.search(line)
        if found:
            trade = _trade(line[found.start() :], path)
            if trade.X == "MARKET":  # what the insurance fund does is not in the candles
                yield _row(trade)


def _trade(message: bytes, path: Path) -> _Trade:
    try:
        return _decode(message).data
    except msgspec.DecodeError as error:
        raise ConfigError(f"cannot read the recording {path}: {error} in {message[:200]!r}") from None


def _row(trade: _Trade) -> tuple[object, ...]:
    traded_at = trade.T * 1000 if trade.T < _MILLISECONDS_BELOW else trade.T
    ids = (trade.t, trade.t, None) if trade.a < 0 else (trade.f, trade.l, trade.a)
    return (trade.s, *ids, to_units(trade.p), to_units(trade.q), trade.m, traded_at)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with _opened(path) as lines:
            yield from lines
    except _broken() as error:
        raise ConfigError(f"cannot read the recording {path}: {error}") from None


def _opened(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        return _opened_zstd(path)
    return path.open("rb")


def _opened_zstd(path: Path) -> io.BufferedIOBase:
    try:
        import zstandard  # noqa: PLC0415  # only for recordings packed by it
    except ImportError:
        raise ConfigError(f"{path.name} is packed by zstd: `pip install zstandard` to read it") from None
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb")))


def _broken() -> tuple[type[Exception], ...]:
    """Return what reading a file that is not as it should be may raise; zstandard is loaded only where needed."""
    zstandard = sys.modules.get("zstandard")
    return (OSError, EOFError, zlib.error, *((zstandard.ZstdError,) if zstandard else ()))


def pairs_of(frame: pl.DataFrame) -> dict[str, Pair]:
    """Return the symbols of a frame with the ticks and steps its rows show."""
    steps = frame.group_by("symbol").agg(pl.col("price", "quantity"))
    return {
        symbol: _pair(symbol, _step(prices), _step(quantities))
        for symbol, prices, quantities in steps.sort("symbol").iter_rows()
    }


def _pair(symbol: str, tick: int, step: int) -> Pair:
    quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "")
    return Pair(symbol, symbol.removesuffix(quote), quote, tick, step)


def _step(units: Sequence[int]) -> int:
    """Return the largest power of ten that all of them are multiples of."""
    places = min(_zeros(value) for value in units)
    return int(10**places)


def _zeros(units: int) -> int:
    return len(str(units)) - len(str(units).rstrip("0")) if units else 8
