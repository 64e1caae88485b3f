"""The playhead: what has been told so far. It moves over the tape at the speed chosen and hands out what it passes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import polars as pl

from tapehouse.exchange.klines import CandleHistory, minute_candles
from tapehouse.exchange.tapes import TradeTape
from tapehouse.market.candles import Candle, merge, merge_all
from tapehouse.market.windows import INTERVALS, MINUTE, SECOND

_ROWS_AHEAD = 25_000
_LONGEST_SLICE = 2 * SECOND
_SHORTEST_SLICE = 50_000
KLINE_EVERY = 2 * SECOND
"""How often an open candle is told of when it changed."""


@dataclass(frozen=True)
class KlineUpdate:
    """A candle as it is now; `closed` when its window is over."""

    symbol: str
    interval: str
    opened_at: int
    candle: Candle | None
    close: int
    event_at: int
    closed: bool


@dataclass(frozen=True)
class Step:
    """What happened on the tape in [start, end): never across the end of a minute."""

    start: int
    end: int
    trades: pl.DataFrame
    klines: tuple[KlineUpdate, ...]


class OpenWindows:
    """The candles that are still filling at the playhead; kept while somebody follows any."""

    def __init__(self, tape: TradeTape, history: CandleHistory, playhead: int) -> None:
        self._tape = tape
        self._history = history
        self._minutes: dict[str, Candle] = {}
        self._rolled: dict[tuple[str, str], tuple[int, Candle | None]] = {}
        self._prices: dict[str, int | None] = {}
        self._changed: set[str] = set()
        self._unread: list[pl.DataFrame] = []
        self._read_to = playhead - playhead % MINUTE
        self._at = playhead

    def step(self, end: int, trades: pl.DataFrame, wanted: frozenset[tuple[str, str]]) -> tuple[KlineUpdate, ...]:
        """Move to `end`, take the trades in, and return what there is to tell of the windows wanted."""
        start, self._at = self._at, end
        if not wanted:
            self._forget(end)
            return ()
        self._catch_up(start)
        self._unread.append(trades)
        self._read_to = end
        if start // KLINE_EVERY == end // KLINE_EVERY and sum(map(len, self._unread)) < _ROWS_AHEAD:
            return ()
        self._fold(end)
        if end % MINUTE:
            return tuple(self._open(wanted, end)) if start // KLINE_EVERY != end // KLINE_EVERY else ()
        updates = tuple(self._closing(wanted, end))
        self._roll(end)
        return updates

    def _forget(self, end: int) -> None:
        """Keep nothing: nobody asks, and the tape can be read again."""
        self._read_to = end - end % MINUTE
        self._unread.clear()
        self._minutes.clear()
        self._prices.clear()
        self._rolled.clear()
        self._changed.clear()

    def _catch_up(self, start: int) -> None:
        """Read what of the open minute went by while nobody asked."""
        at = max(self._read_to, self._tape.starts_at)
        while at < start:
            end = min(at + piece_length(self._tape), start)
            self._unread = [self._tape.between(at, end)]
            self._fold(end)
            at = end

    def _fold(self, end: int) -> None:
        trades, self._unread = pl.concat(self._unread) if self._unread else pl.DataFrame(), []
        if not trades.height:
            return
        open_minute = (end - 1) - (end - 1) % MINUTE
        for (symbol, minute), candle in minute_candles(trades).items():
            if minute != open_minute:
                continue  # told late: its window has been closed, only the history has it
            held = self._minutes.get(symbol)
            self._minutes[symbol] = merge(held, candle) if held else candle
            self._prices[symbol] = self._minutes[symbol].close
            self._changed.add(symbol)

    def _open(self, wanted: Iterable[tuple[str, str]], event: int) -> list[KlineUpdate]:
        found = [
            self._update(symbol, interval, event, closed=False)
            for symbol, interval in wanted
            if symbol in self._changed
        ]
        self._changed.clear()
        return [update for update in found if update]

    def _closing(self, wanted: Iterable[tuple[str, str]], end: int) -> list[KlineUpdate]:
        over = [(symbol, interval) for symbol, interval in wanted if end % INTERVALS[interval] == 0]
        found = [self._update(symbol, interval, end, closed=True) for symbol, interval in over]
        return [update for update in found if update]

    def _update(self, symbol: str, interval: str, event: int, *, closed: bool) -> KlineUpdate | None:
        length = INTERVALS[interval]
        opened = (event - 1) - (event - 1) % length
        parts = [self._minutes.get(symbol), self._earlier(symbol, interval, opened, event)]
        candle = merge_all(part for part in parts if part)
        close = candle.close if candle else self._price(symbol, opened)
        return None if close is None else KlineUpdate(symbol, interval, opened, candle, close, event, closed)

    def _earlier(self, symbol: str, interval: str, opened: int, event: int) -> Candle | None:
        """Return the candle of the whole minutes of the window before the open one."""
        if interval == "1m":
            return None
        minute = (event - 1) - (event - 1) % MINUTE
        known = self._rolled.get((symbol, interval))
        if known is None or known[0] != opened:
            known = (opened, self._history.candle(symbol, opened, minute, minute))
            self._rolled[symbol, interval] = known
        return known[1]

    def _roll(self, end: int) -> None:
        """Move the minute that closed into the longer windows that are being told of."""
        for (symbol, interval), (opened, earlier) in list(self._rolled.items()):
            if end - opened >= INTERVALS[interval]:
                del self._rolled[symbol, interval]
                continue
            parts = [part for part in (earlier, self._minutes.get(symbol)) if part]
            self._rolled[symbol, interval] = (opened, merge_all(parts))
        self._minutes.clear()
        self._changed.clear()

    def _price(self, symbol: str, before: int) -> int | None:
        if symbol not in self._prices:
            self._prices[symbol] = self._history.price_before(symbol, before)
        return self._prices[symbol]


class Playback:
    """Moves the playhead from `begins_at`: `speed` times real time, or as fast as steps are taken (None)."""

    def __init__(
        self, tape: TradeTape, history: CandleHistory, *, begins_at: int, speed: float | None, tick: float
    ) -> None:
        self.playhead = begins_at
        self.trades_told = 0
        self.is_over = asyncio.Event()
        self._tape = tape
        self._windows = OpenWindows(tape, history, begins_at)
        self._speed = speed
        self._tick = tick
        self._slice = piece_length(tape)
        self._ahead = _Ahead(tape, begins_at, piece_length(tape, longest=MINUTE))

    async def run(
        self, wanted: Callable[[], Iterable[tuple[str, str]]], publish: Callable[[Step], Awaitable[None]]
    ) -> None:
        """Play until the tape ends or this is cancelled; `wanted` tells which klines somebody follows."""
        clock = asyncio.get_running_loop().time
        begun_at, began = clock(), self.playhead
        while self._tape.ends_at is None or self.playhead < self._tape.ends_at:
            due = (
                began + int((clock() - begun_at) * SECOND * self._speed) if self._speed else self.playhead + self._slice
            )
            due = min(due, self._tape.ends_at or due)
            while self.playhead < due:
                await publish(await self._advance(due, wanted()))
            await asyncio.sleep(self._tick if self._speed else 0)
        self.is_over.set()

    async def _advance(self, due: int, wanted: Iterable[tuple[str, str]]) -> Step:
        start = self.playhead
        end = min(due, start - start % MINUTE + MINUTE, self._ahead.end if self._ahead.end > start else due)
        if self._ahead.end <= start:
            await asyncio.to_thread(self._ahead.read)
            end = min(end, self._ahead.end)
        trades = self._ahead.take(end)
        klines = self._windows.step(end, trades, frozenset(wanted))
        self.playhead = end
        self.trades_told += trades.height
        return Step(start, end, trades, klines)


def piece_length(tape: TradeTape, longest: int = _LONGEST_SLICE) -> int:
    """Return how many microseconds of a tape are read at once: few calls, little memory."""
    return int(min(max(_ROWS_AHEAD / tape.rate * SECOND, _SHORTEST_SLICE), longest))


class _Ahead:
    """The stretch of tape before the playhead, read in pieces large enough to be cheap."""

    def __init__(self, tape: TradeTape, start: int, length: int) -> None:
        self.end = start
        self._tape = tape
        self._length = length
        self._rows = pl.DataFrame()
        self._told = pl.Series(dtype=pl.Int64)
        self._taken = 0

    def read(self) -> None:
        """Read the next piece."""
        start, self.end = self.end, min(self.end + self._length, self.end - self.end % MINUTE + MINUTE)
        self._rows = self._tape.between(start, self.end)
        self._told = self._rows["traded_at"].cum_max()
        self._taken = 0

    def take(self, end: int) -> pl.DataFrame:
        """Return the rows told before `end` that were not taken yet."""
        last = int(self._told.search_sorted(end, "left")) if end < self.end else self._rows.height
        rows = self._rows.slice(self._taken, last - self._taken)
        self._taken = last
        return rows
