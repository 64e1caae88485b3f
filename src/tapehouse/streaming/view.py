"""What is true right now, in memory: written by the engine after each fold, read from any thread."""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import islice, product

import msgspec
import polars as pl

from tapehouse.market.events import Trade
from tapehouse.market.ledger import CandleRow, Ledger
from tapehouse.market.windows import INTERVALS, MINUTE, SECOND, opened_at
from tapehouse.streaming.context_view import ContextView
from tapehouse.streaming.signal_view import SignalView

RECENT_TRADES = 200_000
"""Trades kept in memory over all symbols, besides those not yet committed."""
GRACE = 10 * SECOND
"""How long after its end a window may take to be settled before it is called overdue."""
TAIL = 50
"""Most trades of a symbol that one update carries."""
UPDATES_KEPT = 256
"""Updates a subscriber may lag behind before the oldest are let go."""
SETTLED_KEPT = 5_000
"""Revisions of candles that a reader of `settled_since` may lag behind."""

Chunk = Sequence[Trade] | pl.DataFrame
"""Trades as a fold accepted them: one by one, or as columns (`streaming.columns.TRADE_COLUMNS`)."""


class Interest(msgspec.Struct, frozen=True):
    """What a reader wants to hear of: trades of symbols, candles of (symbol, interval), and that anything traded.

    `signals` are the symbols whose open windows are watched for it; they are told apart, in the view's `signals`.
    """

    trades: frozenset[str] = frozenset()
    candles: frozenset[tuple[str, str]] = frozenset()
    prices: bool = False
    signals: frozenset[str] = frozenset()

    def is_anything(self) -> bool:
        """Tell whether there is anything to hear."""
        return self.prices or bool(self.trades or self.candles)


class Update(msgspec.Struct, frozen=True):
    """What one fold changed, as far as the reader is interested; `traded` names every symbol that traded.

    `skipped` counts the trades of a symbol that `trades` leaves out.
    """

    sequence: int
    traded: Collection[str]
    trades: Mapping[str, Sequence[Trade]]
    skipped: Mapping[str, int]
    candles: Sequence[CandleRow]


class Subscription:
    """The updates of one reader, in order; the reader is told how many were let go when it lags."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interest: Callable[[], Interest] | None = None) -> None:
        self.interest = interest
        self._loop = loop
        self._updates: deque[Update] = deque()
        self._lost = 0
        self._ready = asyncio.Event()

    async def updates(self) -> tuple[list[Update], int]:
        """Wait for updates; return all there are and how many were lost before them."""
        await self._ready.wait()
        self._ready.clear()
        taken, lost = list(self._updates), self._lost
        self._updates.clear()
        self._lost = 0
        return taken, lost

    def offer(self, update: Update) -> None:
        """Hand over an update from any thread."""
        self._loop.call_soon_threadsafe(self._put, update)

    def _put(self, update: Update) -> None:
        if len(self._updates) == UPDATES_KEPT:
            self._updates.popleft()
            self._lost += 1
        self._updates.append(update)
        self._ready.set()


class SymbolHealth(msgspec.Struct, frozen=True):
    """How far one symbol's data can be trusted; times in microseconds UTC, counts since the platform started."""

    last_trade_id: int
    last_traded_at: int
    last_received_at: int
    missing_trades: int
    holes: int
    windows_overdue: int
    checked_candles: int
    agreeing_candles: int
    uncompared_candles: int = 0
    """Closed candles of the last day whose kline the exchange has not told."""
    trades_not_offered: int = 0
    """Of the missing trades those that the exchange was asked for and does not have."""
    trades_left_to_backfill: int = 0
    """Of the missing trades those that only a back-fill brings, from `backfill_from` to `backfill_to`."""
    backfill_from: int = 0
    backfill_to: int = 0


class LiveView:
    """The newest trades, the open candles and the health of each symbol; the market's `context`; the `signals`.

    `lake_error` is why the lake cannot be read, empty while it can. `since` is when we began to look for the commits of
    another process, 0 where we are the one who commits.
    """

    def __init__(self) -> None:
        self.context = ContextView()
        self.signals = SignalView()
        self.committed_at = 0
        self.lake_error = ""
        self.since = 0
        self.horizon = 0
        self._lock = threading.Lock()
        self._ledgers: Mapping[str, Ledger] = {}
        self._last: dict[str, Trade] = {}
        self._chunks: deque[tuple[Chunk, Collection[str]]] = deque()
        self._kept = 0
        self._sequence = 0
        self._settled: deque[CandleRow] = deque(maxlen=SETTLED_KEPT)
        self._settled_count = 0
        self._health: dict[str, SymbolHealth] = {}
        self._subscriptions: set[Subscription] = set()

    # What the engine writes

    def attach(self, ledgers: Mapping[str, Ledger], last: Mapping[str, Trade]) -> None:
        """Serve these ledgers; called once, after recovery."""
        self._ledgers = ledgers
        self._last.update(last)

    def publish(self, chunks: Sequence[Chunk], candles: Sequence[CandleRow]) -> None:
        """Show what a fold accepted (in order) and the candles it settled."""
        counts: Counter[str] = Counter()
        kept = []
        for chunk in chunks:
            late = []
            for newest, first_trade_id, count in _newest(chunk):
                counts[newest.symbol] += count
                known = self._last.get(newest.symbol)
                if known is not None and first_trade_id <= known.last_trade_id:
                    late.append(newest.symbol)
                if known is None or newest.last_trade_id > known.last_trade_id:
                    self._last[newest.symbol] = newest
                self.horizon = max(self.horizon, newest.traded_at)
            kept.append((chunk, late))
        with self._lock:
            self._keep(kept)
            self._settled += candles
            self._settled_count += len(candles)
        if counts or candles:
            self._tell(chunks, counts, candles)

    def watched(self) -> frozenset[str]:
        """Return the symbols whose open windows somebody wants signals of."""
        with self._lock:
            subscriptions = list(self._subscriptions)
        interests = (subscription.interest() for subscription in subscriptions if subscription.interest is not None)
        return frozenset[str]().union(*(interest.signals for interest in interests))

    def set_health(self, symbol: str, health: SymbolHealth) -> None:
        """Show a symbol's health."""
        self._health[symbol] = health

    # What anybody reads

    @property
    def sequence(self) -> int:
        """The number of the last update."""
        return self._sequence

    def symbols(self) -> list[str]:
        """Return the symbols that are followed."""
        return list(self._ledgers)

    def last_trade(self, symbol: str) -> Trade | None:
        """Return the trade with the highest id, None before the first."""
        return self._last.get(symbol)

    def recent_trades(self, symbol: str, limit: int) -> list[Trade]:
        """Return the newest trades the memory holds, newest last, none of them twice; at most `limit`."""
        with self._lock:
            chunks = list(self._chunks)
        found: list[Trade] = []
        in_order = 0  # of these, nothing that came before has a higher id; of late ones that cannot be said
        for chunk, late in reversed(chunks):
            if in_order >= limit:
                break
            trades = _of_symbol(chunk, symbol, limit)
            found += trades
            in_order += 0 if symbol in late else len(trades)
        return sorted(found, key=lambda trade: trade.first_trade_id)[-limit:]

    def recent_candles(self, symbol: str, interval: str) -> list[CandleRow]:
        """Return the last revisions in memory, oldest first, the open window last."""
        ledger = self._ledgers.get(symbol)
        if ledger is None:
            return []
        return [*ledger.rows(interval), *_open_rows(ledger, interval)]

    def settled_since(self, number: int) -> tuple[list[CandleRow], int, int]:
        """Return the revisions settled after a number, oldest first, the number of the last, and how many are lost.

        Lost are those that are held no longer; numbers begin at 1 with the platform.
        """
        with self._lock:
            behind = self._settled_count - number
            kept = list(islice(reversed(self._settled), behind))[::-1]
            return kept, self._settled_count, behind - len(kept)

    def health(self) -> Mapping[str, SymbolHealth]:
        """Return the health of each symbol that was heard of."""
        return dict(self._health)

    def overdue(self, exchange_time: int) -> dict[str, int]:
        """Return how many 1m windows of each symbol ended more than GRACE before that time and are not settled."""
        ended = exchange_time - GRACE
        newest = {symbol: ledger.newest() for symbol, ledger in list(self._ledgers.items())}
        return {
            symbol: (ended - max(self._ledgers[symbol].settled_to, opened)) // MINUTE
            for symbol, opened in newest.items()
            if opened >= 0 and max(self._ledgers[symbol].settled_to, opened) + MINUTE <= ended
        }

    def subscribe(
        self, loop: asyncio.AbstractEventLoop, interest: Callable[[], Interest] | None = None
    ) -> Subscription:
        """Begin to collect updates for a reader that lives in this loop.

        `interest` is asked at each fold, from the engine's thread; without it the reader is told everything.
        """
        subscription = Subscription(loop, interest)
        with self._lock:
            self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """End what `subscribe` began."""
        with self._lock:
            self._subscriptions.discard(subscription)

    def _keep(self, chunks: Iterable[tuple[Chunk, Collection[str]]]) -> None:
        """Keep chunks, each with the symbols of which it holds an id below one held before."""
        for chunk, late in chunks:
            self._chunks.append((chunk, late))
            self._kept += len(chunk)
        while self._chunks and self._kept - len(self._chunks[0][0]) >= RECENT_TRADES:
            self._kept -= len(self._chunks.popleft()[0])

    def _tell(self, chunks: Sequence[Chunk], counts: Mapping[str, int], candles: Sequence[CandleRow]) -> None:
        with self._lock:
            subscriptions = list(self._subscriptions)
            self._sequence += 1
        for subscription in subscriptions:
            interest = subscription.interest() if subscription.interest is not None else None
            if interest is None or interest.is_anything():
                subscription.offer(self._update(interest, chunks, counts, candles))

    def _update(
        self,
        interest: Interest | None,
        chunks: Sequence[Chunk],
        counts: Mapping[str, int],
        candles: Sequence[CandleRow],
    ) -> Update:
        """Put together what one reader cares for: that is all the work there is, however many symbols traded."""
        symbols = counts.keys() if interest is None else interest.trades & counts.keys()
        windows = product(counts, INTERVALS) if interest is None else interest.candles
        trades = _tails(chunks, symbols)
        moving = [row for name, interval in windows if name in counts for row in self._open_rows(name, interval)]
        settled = [row for row in candles if interest is None or (row.symbol, row.interval) in interest.candles]
        skipped = {symbol: counts[symbol] - len(tail) for symbol, tail in trades.items()}
        return Update(self._sequence, counts.keys(), trades, skipped, [*settled, *moving])

    def _open_rows(self, symbol: str, interval: str) -> list[CandleRow]:
        return _open_rows(self._ledgers[symbol], interval)


def _open_rows(ledger: Ledger, interval: str) -> list[CandleRow]:
    """Return the windows in the state `open`: the newest, and before it those that are over but not proved."""
    newest = ledger.newest()
    openings = {opened_at(newest, interval)} if newest >= 0 else set()
    if interval == "1m":
        openings |= ledger.unproved
    return [
        CandleRow(ledger.symbol, interval, opened, ledger.summary(interval, opened), None, "open", 0, 0)
        for opened in sorted(openings)
        if ledger.row(interval, opened) is None
    ]


def _newest(chunk: Chunk) -> Iterator[tuple[Trade, int, int]]:
    """Give the trade with the highest id of each symbol in a chunk, the lowest id, and how many there are."""
    if isinstance(chunk, pl.DataFrame):
        of_symbols = chunk.group_by("symbol").agg(
            pl.len().alias("count"), pl.col("first_trade_id").min().alias("lowest"), pl.all().max_by("last_trade_id")
        )
        yield from zip(to_trades(of_symbols), of_symbols["lowest"], of_symbols["count"], strict=True)
        return
    by_symbol: dict[str, list[Trade]] = {}
    for trade in chunk:
        by_symbol.setdefault(trade.symbol, []).append(trade)
    for trades in by_symbol.values():
        newest = max(trades, key=lambda trade: trade.last_trade_id)
        yield newest, min(trade.first_trade_id for trade in trades), len(trades)


def _tails(chunks: Iterable[Chunk], symbols: Collection[str]) -> dict[str, list[Trade]]:
    """Return the last trades of each of these symbols, at most TAIL of one."""
    tails: dict[str, list[Trade]] = {}
    if not symbols:
        return tails
    for chunk in chunks:
        if isinstance(chunk, pl.DataFrame):
            chosen = chunk.filter(pl.col("symbol").is_in(list(symbols)))
            trades = to_trades(chosen.group_by("symbol", maintain_order=True).tail(TAIL).select(chunk.columns))
        else:
            trades = [trade for trade in chunk if trade.symbol in symbols]
        for trade in trades:
            tails.setdefault(trade.symbol, []).append(trade)
    return {symbol: trades[-TAIL:] for symbol, trades in tails.items()}


def _of_symbol(chunk: Chunk, symbol: str, limit: int) -> list[Trade]:
    """Return the trades of a symbol with the highest ids, at most `limit`, in no order."""
    if isinstance(chunk, pl.DataFrame):
        return to_trades(chunk.filter(pl.col("symbol") == symbol).top_k(limit, by="first_trade_id"))
    matching = (trade for trade in chunk if trade.symbol == symbol)
    return nlargest(limit, matching, key=lambda trade: trade.first_trade_id)


def to_trades(columns: pl.DataFrame) -> list[Trade]:
    """Return the trades of accepted columns (`streaming.columns.TRADE_COLUMNS`) or of bronze/trades."""
    rows = columns.select([pl.col(name).to_physical() for name in Trade.__struct_fields__]).iter_rows()
    return [Trade(*row) for row in rows]
