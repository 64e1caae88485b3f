"""Fetching missing trades over REST: exact rows where that is cheap or possible, else aggregates that cover them."""

import asyncio
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


class Repairs:
    """Delivers holes to the tape, a few at a time."""

    def __init__(self, rest: BinanceRest, clock: ArrivalClock) -> None:
        self._rest = rest
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._retry_at = 0.0

    @property
    def wait(self) -> float:
        """Seconds until another repair makes sense; 0.0 when it does now."""
        return max(0.0, self._retry_at - monotonic())

    async def repair(self, hole: Hole, tape: Tape) -> bool | None:
        """Deliver what the exchange has of a hole, each answer at once; True when that was all of it, False when not.

        Never raises for trouble of the upstream: None then, and `wait` says when to try again.
        """
        async with self._turns:
            try:
                whole = await self._fetch(hole, tape)
            except RateLimitedError as error:
                self._not_now(hole, error, error.retry_after)
                return None
            except UpstreamError as error:
                self._not_now(hole, error, TRY_AGAIN_AFTER)
                return None
        if not whole:
            log.info("hole_not_offered", **msgspec.to_builtins(hole))
            self._retry_at = monotonic() + TRY_AGAIN_AFTER
        return whole

    def _not_now(self, hole: Hole, error: UpstreamError, wait: float) -> None:
        self._retry_at = max(self._retry_at, monotonic() + wait)
        log.warning("repair_put_off", symbol=hole.symbol, first=hole.first_trade_id, error=str(error), wait=round(wait))

    async def _fetch(self, hole: Hole, tape: Tape) -> bool:
        if hole.last_trade_id - hole.first_trade_id < EXACT_AT_MOST:
            try:
                hole, left = await self._by_id(hole, tape)
            except NotOfferedError:
                left = not await self._from_the_recent(hole, tape)
            if not left:
                return True
        return await self._by_aggregates(hole, tape)

    async def _by_id(self, hole: Hole, tape: Tape) -> tuple[Hole, bool]:
        """Fetch single trades, the newest thousand first; return what of the hole may be left, and whether any is."""
        left = []
        last = hole.last_trade_id
        while last >= hole.first_trade_id:
            first = max(hole.first_trade_id, last - ROWS_AT_MOST + 1)
            rows = await self._rest.historical_trades(hole.symbol, first, last - first + 1)
            if not await self._deliver_trades(rows, (first, last), hole.symbol, tape):
                left.append((first, last))
            last = first - 1
        if not left:
            return hole, False
        return msgspec.structs.replace(hole, first_trade_id=left[-1][0], last_trade_id=left[0][1]), True

    async def _from_the_recent(self, hole: Hole, tape: Tape) -> bool:
        """Fetch single trades from the last thousand, when the hole can be among them."""
        if hole.last_trade_id - hole.first_trade_id >= ROWS_AT_MOST or self._clock.now() - hole.before > RECENT:
            return False
        rows = await self._rest.recent_trades(hole.symbol)
        return await self._deliver_trades(rows, (hole.first_trade_id, hole.last_trade_id), hole.symbol, tape)

    async def _deliver_trades(self, rows: Sequence[bytes], wanted: tuple[int, int], symbol: str, tape: Tape) -> bool:
        """Deliver the rows whose ids are wanted; True when these are all of them."""
        first, last = wanted
        found = {ident: row for row in rows if first <= (ident := _trade_id(row)) <= last}
        await self._deliver(list(found.values()), "trades", symbol, tape)
        return len(found) == last - first + 1

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
