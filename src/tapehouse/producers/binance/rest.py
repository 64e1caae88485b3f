"""Binance's public REST API: its addresses in order, within the shared budget, rows kept as the bytes they came in."""

import asyncio
import time
from collections.abc import Collection
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec
import structlog

from tapehouse import telemetry
from tapehouse.errors import NotOfferedError, RateLimitedError, UpstreamError
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.endpoints import NETWORK_PAUSE, REFUSAL_PAUSE, Endpoints, monotonic
from tapehouse.producers.binance.refusals import (
    DEFAULT_RETRY_AFTER,
    REGION_OR_FIREWALL,
    REST_SETTING,
    TOO_MANY,
    explain,
)

ROWS_AT_MOST = 1000
"""Rows of one answer; Binance gives no more."""
LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes; the whole of exchangeInfo is some 15 MB, everything else below one."""
WHOLE_ANSWER_WITHIN = 60.0
"""Seconds for one answer from the request to its last byte, however slowly it drips."""
NOT_OFFERED_FOR = 3600.0
"""Seconds an address that lacks a path is not asked for it again."""
_WEIGHTS = {"time": 1, "exchangeInfo": 20, "aggTrades": 4, "historicalTrades": 25, "trades": 25, "klines": 2}
_LACKING = frozenset({400, 401, 403, 404})

log = structlog.get_logger(__name__)
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])
_Shape = TypeVar("_Shape")


class ListedSymbol(msgspec.Struct):
    """A pair of exchangeInfo; only `TRADING` pairs have a live market."""

    symbol: str
    status: str


class RateLimit(msgspec.Struct, rename="camel"):
    """A rule of exchangeInfo."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class ExchangeInfo(msgspec.Struct, rename="camel"):
    """What we need of exchangeInfo."""

    symbols: list[ListedSymbol]
    rate_limits: list[RateLimit] = []
    body: bytes = b""

    def entries(self, chosen: Collection[str]) -> list[bytes]:
        """Return what the exchange says of these symbols, as the bytes it sent."""
        entries = msgspec.json.decode(self.body, type=_Entries).symbols
        return [bytes(entry) for listed, entry in zip(self.symbols, entries, strict=True) if listed.symbol in chosen]

    @property
    def weight_a_minute(self) -> int | None:
        """The request weight one address may use in a minute, where the exchange tells it."""
        for rule in self.rate_limits:
            if (rule.rate_limit_type, rule.interval, rule.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1):
                return rule.limit
        return None


class _Entries(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _ServerTime(msgspec.Struct, rename="camel"):
    server_time: int


class BinanceRest:
    """An asynchronous client; every method raises UpstreamError when no address gives an answer.

    RateLimitedError (with `retry_after`) when the budget or the exchange takes no request now, for all callers alike;
    NotOfferedError when no address has the path. Times of Binance's REST are milliseconds.
    """

    def __init__(self, endpoints: Endpoints, budget: Budget, *, answer_within: float = 10.0) -> None:
        self.endpoints = endpoints
        self._budget = budget
        self._client = httpx.AsyncClient(timeout=answer_within, follow_redirects=True)
        self._lacking_until: dict[tuple[str, str], float] = {}

    async def __aenter__(self) -> Self:
        """Keep connections open until the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def server_time(self) -> int:
        """Return the exchange's clock, milliseconds since 1970."""
        return _decode(await self._get("time", {}), _ServerTime).server_time

    async def exchange_info(self) -> ExchangeInfo:
        """Return the listed pairs and the limits; the budget learns its limit from it."""
        body = await self._get("exchangeInfo", {})
        rules = _decode(body, ExchangeInfo)
        if rules.weight_a_minute:
            self._budget.learn_limit(rules.weight_a_minute, time.time())
        return msgspec.structs.replace(rules, body=body)

    async def historical_trades(self, symbol: str, from_id: int, limit: int = ROWS_AT_MOST) -> list[bytes]:
        """Return up to `limit` trades from this id on, oldest first."""
        return await self._rows("historicalTrades", {"symbol": symbol, "fromId": from_id, "limit": limit})

    async def recent_trades(self, symbol: str, limit: int = ROWS_AT_MOST) -> list[bytes]:
        """Return the last trades, oldest first."""
        return await self._rows("trades", {"symbol": symbol, "limit": limit})

    async def agg_trades_since(self, symbol: str, start: int) -> list[bytes]:
        """Return the first aggregates at or after `start` (milliseconds), oldest first."""
        return await self._rows("aggTrades", {"symbol": symbol, "startTime": start, "limit": ROWS_AT_MOST})

    async def agg_trades(self, symbol: str, from_id: int) -> list[bytes]:
        """Return aggregates from this aggregate's id (not a trade's) on, oldest first."""
        return await self._rows("aggTrades", {"symbol": symbol, "fromId": from_id, "limit": ROWS_AT_MOST})

    async def klines(self, symbol: str, interval: str, start: int, end: int, *, patience: float = 0.0) -> list[bytes]:
        """Return up to 1000 klines whose open time lies in start..end (milliseconds, both included).

        `patience` is how long to wait, in seconds, for the budget to allow the request.
        """
        window: dict[str, str | int] = {"startTime": start, "endTime": end, "limit": ROWS_AT_MOST}
        query = {"symbol": symbol, "interval": interval, **window}
        return await self._rows("klines", query, patience)

    async def _rows(self, path: str, query: dict[str, str | int], patience: float = 0.0) -> list[bytes]:
        body = await self._get(path, query, patience)
        try:
            return [bytes(row) for row in _ROWS.decode(body)]
        except msgspec.DecodeError as error:
            raise _not_understood(path, error) from error

    async def _get(self, path: str, query: dict[str, str | int], patience: float = 0.0) -> bytes:
        failure: UpstreamError = NotOfferedError(f"no address of {REST_SETTING} offers {path}")
        for endpoint in self.endpoints.in_order(monotonic()):
            if self._lacking_until.get((endpoint, path), 0.0) > monotonic():
                continue
            await self._spend(path, patience)
            try:
                answer, body = await self._ask(endpoint, path, query)
            except (httpx.HTTPError, TimeoutError) as error:
                self.endpoints.failed(endpoint, monotonic(), NETWORK_PAUSE)
                failure = _unreachable(endpoint, error)
                continue
            if answer.status_code == 200:
                self.endpoints.answered(endpoint)
                return body
            failure = self._note_refusal(endpoint, path, answer, body)
        raise failure

    async def _spend(self, path: str, patience: float) -> None:
        while wait := self._budget.spend(_WEIGHTS[path], time.time()):
            if wait > patience:
                raise RateLimitedError(
                    f"the request budget of this address is spent for {wait:.0f} s", retry_after=wait
                )
            await asyncio.sleep(wait)
            patience -= wait

    async def _ask(self, endpoint: str, path: str, query: dict[str, str | int]) -> tuple[httpx.Response, bytes]:
        used: int | None = None
        try:
            async with (
                asyncio.timeout(WHOLE_ANSWER_WITHIN),
                self._client.stream("GET", f"{endpoint}/api/v3/{path}", params=query) as answer,
            ):
                told = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
                used = int(told) if told.isdigit() else None
                return answer, await _read(answer)
        finally:
            self._budget.settle(_WEIGHTS[path], used, time.time())
            self._show_usage()

    def _show_usage(self) -> None:
        usage = self._budget.usage(time.time())
        telemetry.rest_weight_used.set(usage.weight)
        telemetry.rest_weight_limit.set(usage.weight_limit)

    def _note_refusal(self, endpoint: str, path: str, answer: httpx.Response, body: bytes) -> UpstreamError:
        """Remember what the status says of the address or the path; raise what no other address can mend."""
        status = answer.status_code
        telemetry.rest_errors.labels(str(status)).inc()
        meaning = explain(status, REST_SETTING)
        text = f"{endpoint}: {path} refused with HTTP {status}: {meaning or body[:200].decode('utf-8', 'replace')}"
        if status in TOO_MANY:
            raise self._rate_limited(answer, text)
        if path == "historicalTrades" and status in _LACKING:
            self._lacking_until[endpoint, path] = monotonic() + NOT_OFFERED_FOR
            return NotOfferedError(text)
        if status in REGION_OR_FIREWALL or status >= 500:
            pause = REFUSAL_PAUSE if status in REGION_OR_FIREWALL else NETWORK_PAUSE
            self.endpoints.failed(endpoint, monotonic(), pause)
            log.warning("rest_refused", endpoint=endpoint, path=path, status=status, what_to_do=meaning)
            return UpstreamError(text)
        raise UpstreamError(text)

    def _rate_limited(self, answer: httpx.Response, text: str) -> RateLimitedError:
        told = answer.headers.get("Retry-After", "")
        wait = float(told) if told.isdigit() else DEFAULT_RETRY_AFTER
        self._budget.ban(wait, time.time())
        log.warning("rest_rate_limited", status=answer.status_code, retry_after=wait, what_to_do=text)
        return RateLimitedError(text, retry_after=wait)


def kline_opened_at(row: bytes) -> int:
    """Return the open time (milliseconds) of a row of `klines`; raise UpstreamError when it is not one."""
    opened_at = _decode(row, list[object])[:1]
    if opened_at and isinstance(opened_at[0], int):
        return opened_at[0]
    raise UpstreamError(f"a kline of the exchange has no open time: {row[:80]!r}")


async def _read(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise UpstreamError(f"{answer.url}: the answer is larger than {LARGEST_ANSWER} bytes")
    return bytes(body)


def _decode(body: bytes, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise _not_understood(shape.__name__, error) from error


def _not_understood(what: str, error: Exception) -> UpstreamError:
    telemetry.rest_errors.labels("body").inc()
    return UpstreamError(f"the answer of {what} is not what Binance documents: {error}")


def _unreachable(endpoint: str, error: httpx.HTTPError | TimeoutError) -> UpstreamError:
    kind = "timeout" if isinstance(error, httpx.TimeoutException | TimeoutError) else "network"
    telemetry.rest_errors.labels(kind).inc()
    return UpstreamError(f"{endpoint}: {kind}: {error or type(error).__name__}")
