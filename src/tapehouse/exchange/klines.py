"""The exchange's candles, made from the tape's trades and from nothing else: the platform's oracle.

Closed minutes are kept (boundedly) as candles; every longer interval is a merge of them.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import RLock

import polars as pl

from tapehouse.exchange.tapes import TradeTape
from tapehouse.market.candles import Candle, as_candles, merge, merge_all, reduce_frame, to_candles
from tapehouse.market.windows import INTERVALS, MINUTE

_HOUR = 60 * MINUTE
_KEPT_HOURS = 4096
_TRADES_AT_ONCE = 200_000


@dataclass(frozen=True)
class Window:
    """A candle's window as the exchange tells of it; `candle` is None when nothing traded in it.

    `close` is the price at its end: the last one before it when it is quiet.
    """

    opened_at: int
    candle: Candle | None
    close: int


def minute_candles(trades: pl.DataFrame) -> dict[tuple[str, int], Candle]:
    """Return the candles of the trades by (symbol, opened_at of the minute)."""
    side = pl.when(pl.col("buyer_is_maker")).then(pl.lit("sell")).otherwise(pl.lit("buy"))
    opened = pl.col("traded_at") - pl.col("traded_at") % MINUTE
    each = as_candles(trades.lazy().with_columns(taker_side=side, opened_at=opened))
    reduced = reduce_frame(each, ["symbol", "opened_at"]).collect()
    return dict(zip(reduced.select("symbol", "opened_at").iter_rows(), to_candles(reduced), strict=True))


@dataclass
class _Hour:
    """The minutes of an hour that have been read: those before `read_to`."""

    read_to: int
    minutes: dict[int, Candle] = field(default_factory=dict)


class CandleHistory:
    """Candles of any past window, read from the tape when asked; safe to ask from several threads."""

    def __init__(self, tape: TradeTape) -> None:
        self._tape = tape
        self._hours: OrderedDict[tuple[str, int], _Hour] = OrderedDict()
        self._lock = RLock()

    def windows(self, symbol: str, interval: str, first: int, last: int, horizon: int) -> list[Window]:
        """Return the windows that opened in first..last, of trades before `horizon`; none before the first trade."""
        length = INTERVALS[interval]
        first = max(first, self._tape.starts_at - self._tape.starts_at % length)
        found: list[Window] = []
        close = self.price_before(symbol, first)
        for opened in range(first, min(last, horizon - 1) + 1, length):
            candle = self.candle(symbol, opened, opened + length, horizon)
            close = candle.close if candle else close
            if close is not None:
                found.append(Window(opened, candle, close))
        return found

    def candle(self, symbol: str, start: int, end: int, horizon: int) -> Candle | None:
        """Return the candle of the trades in [start, end) told before `horizon`; both bounds are whole minutes."""
        return merge_all(self._minutes(symbol, start, min(end, horizon), horizon))

    def price_before(self, symbol: str, time: int) -> int | None:
        """Return the price of the last trade before a time, None when there is none."""
        last = self._tape.id_at(symbol, time) - 1
        rows = self._tape.trades(symbol, last, last)
        return int(rows["price"].item(-1)) if rows.height else None

    def _minutes(self, symbol: str, start: int, end: int, horizon: int) -> Iterator[Candle]:
        with self._lock:
            for hour in range(start - start % _HOUR, end, _HOUR):
                if hour + _HOUR <= self._tape.starts_at:
                    continue
                minutes = self._hour(symbol, hour, horizon)
                yield from (minutes[minute] for minute in sorted(minutes) if start <= minute < end)

    def _hour(self, symbol: str, hour: int, horizon: int) -> dict[int, Candle]:
        """Return the minutes of an hour: whole minutes before the horizon are kept, the open one is read anew."""
        kept = self._hours.setdefault((symbol, hour), _Hour(hour))
        self._hours.move_to_end((symbol, hour))
        while len(self._hours) > _KEPT_HOURS:
            self._hours.popitem(last=False)
        end = min(hour + _HOUR, horizon)
        whole = end - end % MINUTE
        if kept.read_to < whole:
            kept.minutes = self._read(symbol, kept.read_to, whole, kept.minutes)
            kept.read_to = whole
        return self._read(symbol, whole, end, kept.minutes) if whole < end else kept.minutes

    def _read(self, symbol: str, start: int, end: int, known: Mapping[int, Candle]) -> dict[int, Candle]:
        first, last = self._tape.id_at(symbol, start), self._tape.id_at(symbol, end) - 1
        found = dict(known)
        for begin in range(first, last + 1, _TRADES_AT_ONCE):
            rows = self._tape.trades(symbol, begin, min(begin + _TRADES_AT_ONCE - 1, last))
            for (_, minute), candle in minute_candles(rows).items():
                found[minute] = merge(found[minute], candle) if minute in found else candle
        return found
