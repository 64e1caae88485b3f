"""The past over REST: the aggregates of a range of time, and the exchange's own klines, as batches for the engine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog

from tapehouse.errors import RateLimitedError, UpstreamError
from tapehouse.ports import Batch, Shape
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.rest import ROWS_AT_MOST, BinanceRest, kline_opened_at
from tapehouse.producers.binance.wire import AggregateTrade, to_microseconds

log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")
AskForKlines = Callable[[int, int], Awaitable[list[bytes]]]
"""Asks for up to a page of klines whose open time lies in first..last (milliseconds, both included)."""


async def history(
    rest: BinanceRest, clock: ArrivalClock, symbol: str, start: int, end: int
) -> AsyncIterator[tuple[Batch, int]]:
    """Yield batches of what happened in [start, end) and how far each comes (microseconds UTC), trades first.

    The budget of requests is waited for. Raise UpstreamError when the exchange does not answer.
    """
    rows = await _patiently(lambda: rest.agg_trades_since(symbol, start // 1000))
    while rows:
        last = _aggregate(rows[-1])
        reached = to_microseconds(last.T)
        yield _batch(rows, "aggTrades", symbol, clock), min(reached, end)
        if reached >= end or len(rows) < ROWS_AT_MOST:
            break
        following = last.a + 1
        rows = await _patiently(lambda: rest.agg_trades(symbol, following))  # noqa: B023  # called at once
        if rows and _aggregate(rows[0]).a < following:
            raise UpstreamError(f"aggTrades of {symbol} from {following} began earlier: the answer leads nowhere")

    def ask(first: int, last: int) -> Awaitable[list[bytes]]:
        return _patiently(lambda: rest.klines(symbol, "1m", first, last))

    async for page in kline_pages(ask, symbol, start, end):
        over = [row for row in page if kline_opened_at(row) + 60_000 <= -(-end // 1000)]
        if over:
            yield _batch(over, "klines", symbol, clock), end


async def kline_pages(ask: AskForKlines, symbol: str, start: int, end: int) -> AsyncIterator[list[bytes]]:
    """Yield the 1m klines that open in [start, end) (microseconds), a page at a time, as `ask` answers.

    Raise UpstreamError when an answer leads nowhere.
    """
    first, last = -(-start // 1000), (end - 1) // 1000
    while first <= last:
        page = await ask(first, last)
        yield page
        if len(page) < ROWS_AT_MOST:
            break
        if kline_opened_at(page[-1]) < first:
            raise UpstreamError(f"klines of {symbol} from {first} began earlier: the answer leads nowhere")
        first = kline_opened_at(page[-1]) + 1


async def _patiently(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    while True:
        try:
            return await ask()
        except RateLimitedError as error:
            log.info("history_waits", seconds=round(error.retry_after, 1), why=str(error))
            await asyncio.sleep(error.retry_after)


def _batch(rows: list[bytes], shape: Shape, symbol: str, clock: ArrivalClock) -> Batch:
    return Batch(frames=rows, received_at=[clock.now()] * len(rows), shape=shape, symbol=symbol)


def _aggregate(row: bytes) -> AggregateTrade:
    try:
        return _DECODER.decode(row)
    except msgspec.MsgspecError as error:
        raise UpstreamError(f"the exchange's aggTrades cannot be read: {error}") from error


_DECODER = msgspec.json.Decoder(AggregateTrade)
