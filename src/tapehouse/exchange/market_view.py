"""What REST tells of the market: the tape up to the playhead, never beyond it."""

from collections.abc import Callable

import polars as pl

from tapehouse.exchange.klines import CandleHistory, Window
from tapehouse.exchange.messages import aggregated
from tapehouse.exchange.tapes import Pair, TradeTape
from tapehouse.market.candles import Candle
from tapehouse.market.windows import DAY, INTERVALS, MINUTE


class MarketView:
    """The market as it is at `now()`, a function that gives the time of the playhead in microseconds."""

    def __init__(self, tape: TradeTape, history: CandleHistory, now: Callable[[], int]) -> None:
        self.tape = tape
        self.now = now
        self._history = history

    def recent_trades(self, symbol: str, limit: int) -> pl.DataFrame:
        """Return the last trades told."""
        last = self._last_id(symbol)
        return self.tape.trades(symbol, last - limit + 1, last)

    def trades_from(self, symbol: str, first: int, limit: int) -> pl.DataFrame:
        """Return the trades from an id on."""
        first = max(first, self.tape.id_at(symbol, 0))
        return self.tape.trades(symbol, first, min(first + limit - 1, self._last_id(symbol)))

    def aggregates(
        self, symbol: str, limit: int, *, from_id: int | None = None, start: int | None = None, end: int | None = None
    ) -> pl.DataFrame:
        """Return aggregates from an aggregate's id on, from a time on, or the last ones (up to `end`)."""
        last = self._last_id(symbol)
        if end is not None:
            last = min(last, self.tape.id_at(symbol, end + 1) - 1)
        if from_id is not None:
            first = self.tape.id_of_aggregate(symbol, from_id)
        elif start is not None:
            first = self.tape.id_at(symbol, start)
        else:
            return self._last_aggregates(symbol, last, limit)
        return self._next_aggregates(symbol, first, last, limit)

    def klines(self, symbol: str, interval: str, limit: int, start: int | None, end: int | None) -> list[Window]:
        """Return candles: the first `limit` from `start`, or the last `limit` (that opened up to `end`)."""
        length, now = INTERVALS[interval], self.now()
        last = min(now - 1 if end is None else end, now - 1)
        last -= last % length
        if start is None:
            first = last - (limit - 1) * length
        else:
            first = max(start + -start % length, self.tape.starts_at - self.tape.starts_at % length)
            last = min(last, first + (limit - 1) * length)
        return self._history.windows(symbol, interval, max(first, 0), last, now)

    def windows(self, symbol: str, interval: str, first: int, last: int) -> list[Window]:
        """Return the windows that opened in first..last."""
        return self._history.windows(symbol, interval, first, last, self.now())

    def price(self, symbol: str) -> int | None:
        """Return the price of the last trade told."""
        return self._history.price_before(symbol, self.now())

    def day(self, symbol: str) -> tuple[Candle | None, int]:
        """Return the candle of the last 24 hours, by whole minutes, and when it begins."""
        now = self.now()
        start = now - DAY - (now - DAY) % MINUTE
        return self._history.candle(symbol, max(start, self.tape.starts_at // MINUTE * MINUTE), now, now), start

    def pair(self, symbol: str) -> Pair:
        """Return what is known of a symbol."""
        return self.tape.pairs[symbol]

    def _last_id(self, symbol: str) -> int:
        return self.tape.id_at(symbol, self.now()) - 1

    def _next_aggregates(self, symbol: str, first: int, last: int, limit: int) -> pl.DataFrame:
        """Read on until there are so many; an aggregate mostly has few fills."""
        found, reach = pl.DataFrame(), limit * 2
        while True:
            until = min(first + reach, last)
            found = aggregated(self.tape.trades(symbol, first, until))
            if found.height > limit or until >= last:
                return found.head(limit)
            reach *= 2

    def _last_aggregates(self, symbol: str, last: int, limit: int) -> pl.DataFrame:
        reach, begin = limit * 2, self.tape.id_at(symbol, 0)
        while True:
            first = max(last - reach, begin)
            found = aggregated(self.tape.trades(symbol, first, last))
            # The first of them may have begun before what was read.
            if found.height > limit or first <= begin:
                return found.tail(limit)
            reach *= 2
