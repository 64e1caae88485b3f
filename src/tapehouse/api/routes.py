"""The REST routes: what is asked is checked, read from memory or on a thread, and written with every digit."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from tapehouse.api import schemas
from tapehouse.api.asked import AsOf, End, Hours, Interval, Limit, Start, Symbol, in_order, known
from tapehouse.api.broadcast import Report
from tapehouse.api.encoding import as_number, to_json
from tapehouse.api.latest import LatestPrices
from tapehouse.api.problems import PROBLEMS
from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.api.reads import Reads
from tapehouse.api.rows import candle_fields, trade_fields
from tapehouse.errors import LakeError
from tapehouse.streaming.view import LiveView


def build(view: LiveView, queries: Queries, reads: Reads) -> APIRouter:
    """Return the routes over this view and these queries."""
    routes = APIRouter()
    _add_prices(routes, view, queries, reads)
    _add_candles(routes, view, queries, reads)
    _add_coverage(routes, view, queries, reads)
    return routes


def _add_prices(routes: APIRouter, view: LiveView, queries: Queries, reads: Reads) -> None:
    latest = LatestPrices(view)

    @routes.get("/prices/latest", response_model=schemas.LatestPrices)
    async def latest_prices() -> Response:
        """Give the last trade of every symbol, from memory."""
        return Response(latest.body(), media_type="application/json")

    @routes.get("/prices/{symbol}", response_model=schemas.Trades, responses=PROBLEMS)
    async def prices(symbol: Symbol, limit: Limit = 100, hours: Hours = None) -> Response:
        """Give the last trades of a symbol, newest last; the last `limit` of those `hours` has."""
        name = known(symbol, view.symbols())
        since = datetime.now(UTC) - timedelta(hours=hours) if hours else None

        def read() -> bytes:
            trades = [trade_fields(trade, as_number) for trade in queries.trades(name, limit, since)]
            return to_json({"symbol": name, "count": len(trades), "trades": trades})

        return Response(await reads.run(read), media_type="application/json")


def _add_candles(routes: APIRouter, view: LiveView, queries: Queries, reads: Reads) -> None:
    @routes.get("/ohlc/{symbol}", response_model=schemas.Candles, responses=PROBLEMS)
    async def ohlc(
        symbol: Symbol,
        interval: Interval = "1m",
        limit: Limit = 500,
        start: Start = None,
        end: End = None,
        as_of: AsOf = None,
    ) -> Response:
        """Give candles whose opening time is in `[start, end)`, oldest first.

        Without `start` they are the last `limit` windows, the open one with them; with it they begin there.
        """
        in_order(start, end)
        query = CandleQuery(known(symbol, view.symbols()), interval, limit, start, end, as_of)

        def read() -> bytes:
            candles = [candle_fields(row, as_number, view.horizon) for row in queries.candles(query)]
            head = {"symbol": query.symbol, "interval": interval, "count": len(candles)}
            return to_json({**head, "next_start": queries.next_start(query), "candles": candles})

        return Response(await reads.run(read), media_type="application/json")


def _add_coverage(routes: APIRouter, view: LiveView, queries: Queries, reads: Reads) -> None:
    @routes.get("/coverage/{symbol}", response_model=schemas.Coverage, responses=PROBLEMS)
    async def coverage(symbol: Symbol) -> Response:
        """Give the ranges of trade ids that are held and missing, and how many candles were verified."""
        name = known(symbol, view.symbols())
        return Response(to_json(await reads.run(queries.coverage, name)), media_type="application/json")


def build_state(view: LiveView, report: Report) -> APIRouter:
    """Return the routes that answer whatever is known, and tell of it: by this report, and in numbers."""
    routes = APIRouter()

    @routes.get("/health", response_model=schemas.Health)
    async def health() -> Response:
        """Tell how fresh, complete and verified the data is; the status is 200 for as long as the platform lives."""
        return Response(to_json(report(view.symbols())), media_type="application/json")

    @routes.get("/metrics")
    async def metrics() -> Response:
        """Give every metric in Prometheus' text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return routes


def require_begun(view: LiveView) -> Callable[[], Awaitable[None]]:
    """Make the check before an answer: LakeError where nothing is known because the lake has not answered yet."""

    async def check() -> None:
        if view.lake_error and not view.symbols():
            raise LakeError(view.lake_error)

    return check
