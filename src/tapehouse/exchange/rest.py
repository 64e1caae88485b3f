"""The REST API as Binance documents it: paths, weights, limits and errors."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapehouse.exchange.faults import Faults
from tapehouse.exchange.limits import Weights
from tapehouse.exchange.market_view import MarketView
from tapehouse.exchange.questions import ExchangeError, Question
from tapehouse.exchange.rows import aggregate_rows, kline_row, trade_rows
from tapehouse.exchange.tickers import book_ticker, day_ticker, last_price, symbol_description

_UNBOUNDED_WEIGHTS = {"/ticker/24hr": 80, "/ticker/price": 4, "/ticker/bookTicker": 4}
"""What these weigh when no symbol is named."""


class Call(NamedTuple):
    """A question and the unit its times are answered in."""

    question: Question
    divisor: int


Answer = Callable[[Call], Any]


class RestApi:
    """Answers of `/api/v3`; `has_historical_trades` is False on data-api.binance.vision."""

    def __init__(
        self, market: MarketView, faults: Faults, weights: Weights, *, has_historical_trades: bool = True
    ) -> None:
        self._market = market
        self._faults = faults
        self._weights = weights
        self._answers: dict[str, tuple[int, Answer]] = {
            "/ping": (1, lambda _: {}),
            "/time": (1, self._time),
            "/exchangeInfo": (20, self._exchange_info),
            "/trades": (25, self._trades),
            "/historicalTrades": (25, self._historical_trades),
            "/aggTrades": (4, self._aggregates),
            "/klines": (2, self._klines),
            "/uiKlines": (2, self._klines),
            "/ticker/price": (2, self._ticker_price),
            "/ticker/24hr": (2, self._ticker_day),
            "/ticker/bookTicker": (2, self._ticker_book),
        }
        if not has_historical_trades:
            del self._answers["/historicalTrades"]

    def routes(self) -> list[Route]:
        """Return a route for each path."""
        return [
            Route(f"/api/v3{path}", self._endpoint(path, weight, answer), methods=["GET"])
            for path, (weight, answer) in self._answers.items()
        ]

    def _endpoint(self, path: str, weight: int, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            if refusal := self._faults.refused("rest"):
                return _refused(refusal.status, refusal.retry_after)
            is_all = "symbol" not in request.query_params and "symbols" not in request.query_params
            charged = _UNBOUNDED_WEIGHTS.get(path, weight) if is_all else weight
            verdict = self._weights.charge(request.client.host if request.client else "", charged)
            used = {"X-MBX-USED-WEIGHT": str(verdict.used), "X-MBX-USED-WEIGHT-1M": str(verdict.used)}
            if verdict.status != 200:
                return _refused(verdict.status, verdict.retry_after, used)
            return await run_in_threadpool(self._answered, request, answer, used)

        return endpoint

    def _answered(self, request: Request, answer: Answer, headers: dict[str, str]) -> Response:
        divisor = 1 if request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND" else 1000
        call = Call(Question(request.query_params, self._market.tape.pairs), divisor)
        try:
            return _json(answer(call), headers=headers)
        except ExchangeError as error:
            return _json({"code": error.code, "msg": error.text}, status=error.status, headers=headers)

    def _time(self, call: Call) -> object:
        return {"serverTime": (self._market.now() + self._faults.settings.skew_ms * 1000) // call.divisor}

    def _exchange_info(self, call: Call) -> object:
        names = call.question.symbols
        pairs = [self._market.pair(name) for name in (names if names is not None else self._market.tape.pairs)]
        limit = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": self._weights.limit,
        }
        return {
            "timezone": "UTC",
            "serverTime": self._market.now() // call.divisor,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [symbol_description(pair) for pair in pairs],
        }

    def _trades(self, call: Call) -> object:
        symbol, limit = call.question.symbol, call.question.limit
        return trade_rows(self._market.recent_trades(symbol, limit), call.divisor)

    def _historical_trades(self, call: Call) -> object:
        symbol, limit, first = call.question.symbol, call.question.limit, call.question.number("fromId")
        if first is None:
            return self._trades(call)
        return trade_rows(self._market.trades_from(symbol, first, limit), call.divisor)

    def _aggregates(self, call: Call) -> object:
        asked = call.question
        symbol, from_id = asked.symbol, asked.number("fromId")
        start, end = asked.time("startTime"), asked.time("endTime")
        if from_id is not None and (start is not None or end is not None):
            raise ExchangeError(-1128, "Combination of optional parameters invalid.")
        if end is not None and len(str(asked.number("endTime"))) < 16:
            end += 999  # the whole millisecond
        found = self._market.aggregates(symbol, asked.limit, from_id=from_id, start=start, end=end)
        return aggregate_rows(found, call.divisor)

    def _klines(self, call: Call) -> object:
        asked = call.question
        interval = asked.interval
        windows = self._market.klines(
            asked.symbol, interval, asked.limit, asked.time("startTime"), asked.time("endTime")
        )
        return [kline_row(window, interval, call.divisor) for window in windows]

    def _ticker_price(self, call: Call) -> object:
        return self._each(call, lambda symbol: {"symbol": symbol, "price": last_price(self._market, symbol)})

    def _ticker_day(self, call: Call) -> object:
        return self._each(call, lambda symbol: day_ticker(self._market, symbol, call.divisor))

    def _ticker_book(self, call: Call) -> object:
        return self._each(call, lambda symbol: book_ticker(self._market, symbol))

    def _each(self, call: Call, describe: Callable[[str], object]) -> object:
        names = call.question.symbols
        if names is not None and call.question.is_of_one_symbol:
            return describe(names[0])
        return [describe(name) for name in (names if names is not None else self._market.tape.pairs)]


def _json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _refused(status: int, retry_after: int | None, headers: dict[str, str] | None = None) -> Response:
    wait = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    texts = {
        403: (0, "Forbidden by the firewall."),
        451: (0, "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use."),
    }
    code, text = texts.get(status, (-1003, "Too many requests; please use the websocket for live updates."))
    return _json({"code": code, "msg": text}, status=status, headers=wait | (headers or {}))
