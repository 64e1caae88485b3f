"""Fetching missing trades over REST: exact rows where that is cheap or possible, else aggregates that cover them."""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import msgspec
import structlog

from tapehouse.errors import NotOfferedError, RateLimitedError, UpstreamError
from tapehouse.ports import Batch, Hole, Shape, Tape
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.endpoints import monotonic
from tapehouse.producers.binance.rest import ROWS_AT_MOST, BinanceRest

EXACT_AT_MOST = 10_000
"""Ids of a hole fetched as single trades: 10 requests, 250 weight; aggregates cost a sixth and less."""
RECENT = 60_000_000
"""Microseconds: a hole this young may lie within the last thousand trades of its symbol."""
STEP_BACK = 60_000
"""Milliseconds to look further back when the first aggregate found begins after the hole does."""
AT_ONCE = 4
"""Holes repaired at the same time."""
CROWDED = 10.0
"""Seconds: a second hole of a symbol within them tells of more, so a whole page is fetched at the same price."""
REMEMBERED = 30.0
"""Seconds a delivered range answers for the holes inside it."""
TRY_AGAIN_AFTER = 2.0
"""Seconds until an answer that lacked trades is worth asking for again: the exchange's REST lags its streams."""

log = structlog.get_logger(__name__)


class TradeRow(msgspec.Struct):
    """The id of a row of `trades` and `historicalTrades`."""

    id: int


class AggregateRow(msgspec.Struct):
    """The ids of a row of `aggTrades`: its own, and the first and last trade it covers."""

    a: int
    f: int
    l: int  # noqa: E741  # Binance's own name


_Row = TypeVar("_Row")
_TRADE = msgspec.json.Decoder(TradeRow)
_AGGREGATE = msgspec.json.Decoder(AggregateRow)


class _Reach:
    """How far into a hole the aggregates seen so far come, and whether they left something out."""

    def __init__(self, hole: Hole) -> None:
        self._hole = hole
        self._next = hole.first_trade_id
        self.unbroken = True

    def touches(self, aggregate: AggregateRow) -> bool:
        return aggregate.l >= self._hole.first_trade_id and aggregate.f <= self._hole.last_trade_id

    def extend(self, aggregates: Sequence[AggregateRow]) -> bool:
        """Return whether the end of the hole is reached."""
        for aggregate in aggregates:
            if self._next <= self._hole.last_trade_id and aggregate.f > self._next:
                self.unbroken = False
            self._next = max(self._next, aggregate.l + 1)
        return self._next > self._hole.last_trade_id


class _Delivered:
    """The ranges of ids put on the tape lately, and when a symbol last had a hole."""

    def __init__(self) -> None:
        self._ranges: deque[tuple[float, str, int, int]] = deque(maxlen=256)
        self._hole_at: dict[str, float] = {}

    def is_crowded(self, symbol: str, now: float) -> bool:
        """Return whether this symbol had another hole just now; this one counts from here on."""
        before = self._hole_at.get(symbol, -math.inf)
        self._hole_at[symbol] = now
        return now - before < CROWDED

    def add(self, symbol: str, first: int, last: int, now: float) -> None:
        self._ranges.append((now, symbol, first, last))

    def covers(self, hole: Hole, now: float) -> bool:
        return any(
            now - at < REMEMBERED
            and symbol == hole.symbol
            and first <= hole.first_trade_id
            and hole.last_trade_id <= last
            for at, symbol, first, last in self._ranges
        )


class Repairs:
    """Delivers holes to the tape, a few at a time.

    A request for one trade costs as much as for a thousand: where holes come in crowds, the page that ends with the
    newest is delivered whole and answers for the older ones.
    """

    def __init__(self, rest: BinanceRest, clock: ArrivalClock) -> None:
        self._rest = rest
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._delivered = _Delivered()
        self._retry_at = 0.0

    @property
    def wait(self) -> float:
        """Seconds until another repair makes sense; 0.0 when it does now."""
        return max(0.0, self._retry_at - monotonic())

    async def repair(self, hole: Hole, tape: Tape) -> bool:
        """Deliver what the exchange has of a hole, each answer at once; True when that was all of it.

        Never raises for trouble of the upstream: False, and `wait` says when to try again.
        """
        async with self._turns:
            try:
                whole = await self._fetch(hole, tape)
            except RateLimitedError as error:
                return self._not_now(hole, error, error.retry_after)
            except UpstreamError as error:
                return self._not_now(hole, error, TRY_AGAIN_AFTER)
        if not whole:
            log.info("hole_not_offered", **msgspec.to_builtins(hole))
            self._retry_at = monotonic() + TRY_AGAIN_AFTER
        return whole

    def _not_now(self, hole: Hole, error: UpstreamError, wait: float) -> bool:
        self._retry_at = max(self._retry_at, monotonic() + wait)
        log.warning("repair_put_off", symbol=hole.symbol, first=hole.first_trade_id, error=str(error), wait=round(wait))
        return False

    async def _fetch(self, hole: Hole, tape: Tape) -> bool:
        if self._delivered.covers(hole, monotonic()):
            return True
        if hole.last_trade_id - hole.first_trade_id < EXACT_AT_MOST:
            try:
                return await self._by_id(hole, tape)
            except NotOfferedError:
                if await self._from_the_recent(hole, tape):
                    return True
        return await self._by_aggregates(hole, tape)

    async def _by_id(self, hole: Hole, tape: Tape) -> bool:
        """Fetch single trades, the newest thousand first."""
        earliest = hole.first_trade_id
        if self._delivered.is_crowded(hole.symbol, monotonic()):
            earliest = max(0, min(earliest, hole.last_trade_id - ROWS_AT_MOST + 1))
        got = 0
        last = hole.last_trade_id
        while last >= earliest:
            first = max(earliest, last - ROWS_AT_MOST + 1)
            rows = await self._rest.historical_trades(hole.symbol, first, last - first + 1)
            got += await self._deliver_trades(rows, (first, last), hole, tape)
            last = first - 1
        return got == hole.last_trade_id - hole.first_trade_id + 1

    async def _from_the_recent(self, hole: Hole, tape: Tape) -> bool:
        """Fetch single trades from the last thousand, when the hole can be among them."""
        if hole.last_trade_id - hole.first_trade_id >= ROWS_AT_MOST or self._clock.now() - hole.before > RECENT:
            return False
        rows = await self._rest.recent_trades(hole.symbol)
        wanted = hole.last_trade_id - hole.first_trade_id + 1
        return await self._deliver_trades(rows, (hole.first_trade_id, hole.last_trade_id), hole, tape) == wanted

    async def _deliver_trades(self, rows: Sequence[bytes], wanted: tuple[int, int], hole: Hole, tape: Tape) -> int:
        """Deliver the rows whose ids are wanted and return how many of them lie in the hole."""
        first, last = wanted
        found = {ident: row for row in rows if first <= (ident := _trade_id(row)) <= last}
        await self._deliver(list(found.values()), "trades", hole.symbol, tape)
        if len(found) == last - first + 1:
            self._delivered.add(hole.symbol, first, last, monotonic())
        return sum(hole.first_trade_id <= ident <= hole.last_trade_id for ident in found)

    async def _by_aggregates(self, hole: Hole, tape: Tape) -> bool:
        """Fetch aggregates from the time of the last held trade on, until one reaches the end of the hole."""
        reach = _Reach(hole)
        rows = await self._first_aggregates(hole)
        while rows:
            aggregates = [_aggregate(row) for row in rows]
            fits = [row for row, aggregate in zip(rows, aggregates, strict=True) if reach.touches(aggregate)]
            await self._deliver(fits, "aggTrades", hole.symbol, tape)
            if reach.extend(aggregates):
                return reach.unbroken
            rows = await self._next_aggregates(hole.symbol, aggregates[-1].a + 1)
        return False

    async def _first_aggregates(self, hole: Hole) -> list[bytes]:
        if hole.after <= 0:  # nowhere to begin: aggregates are found by time
            return []
        start = hole.after // 1000
        rows = await self._rest.agg_trades_since(hole.symbol, start)
        if rows and _aggregate(rows[0]).f > hole.first_trade_id:
            rows = await self._rest.agg_trades_since(hole.symbol, max(start - STEP_BACK, 0))
        return rows

    async def _next_aggregates(self, symbol: str, from_id: int) -> list[bytes]:
        rows = await self._rest.agg_trades(symbol, from_id)
        if rows and _aggregate(rows[0]).a < from_id:
            raise UpstreamError(f"aggTrades of {symbol} from {from_id} began earlier: the answer leads nowhere")
        return rows

    async def _deliver(self, rows: list[bytes], shape: Shape, symbol: str, tape: Tape) -> None:
        if rows:
            now = self._clock.now()
            await tape.append(Batch(frames=rows, received_at=[now] * len(rows), shape=shape, symbol=symbol))


def _trade_id(row: bytes) -> int:
    return _read(row, _TRADE).id


def _aggregate(row: bytes) -> AggregateRow:
    return _read(row, _AGGREGATE)


def _read(row: bytes, decoder: msgspec.json.Decoder[_Row]) -> _Row:
    try:
        return decoder.decode(row)
    except msgspec.DecodeError as error:
        raise UpstreamError(f"a row of the exchange's answer is not what Binance documents: {error}") from error
