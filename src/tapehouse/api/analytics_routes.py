"""The routes that compute: analytics of a symbol, indicators over its candles, and who moves alike."""

import time

from fastapi import APIRouter, Response

from tapehouse.api import analytics_schemas as schemas
from tapehouse.api.analytics import COMPARED, Analytics, present_of
from tapehouse.api.asked import Against, Anchor, Interval, Limit, ReturnsCompared, Symbol, SymbolsCompared, known
from tapehouse.api.correlations import MOST_CORRELATED, Correlations
from tapehouse.api.encoding import as_number, to_json
from tapehouse.api.indicator_values import IndicatorQuery, IndicatorValues, check
from tapehouse.api.indicators import Indicators, read_indicators
from tapehouse.api.largest import Largest
from tapehouse.api.periods import Period, Present
from tapehouse.api.problems import PROBLEMS, ProblemError
from tapehouse.api.queries import Queries
from tapehouse.api.reads import Reads
from tapehouse.api.recent_windows import RecentWindows
from tapehouse.streaming.view import LiveView


def build(view: LiveView, queries: Queries, reads: Reads) -> APIRouter:
    """Return the routes over this view and these queries."""
    routes = APIRouter()
    windows = RecentWindows(view, queries)
    values = IndicatorValues(windows)
    largest = Largest(view, queries)
    _add_analytics(routes, view, reads, Analytics(view, windows, largest), values)
    _add_indicators(routes, view, reads, values)
    _add_correlations(routes, view, reads, Correlations(windows), largest)
    return routes


def _add_analytics(
    routes: APIRouter, view: LiveView, reads: Reads, answers: Analytics, values: IndicatorValues
) -> None:
    @routes.get("/analytics/{symbol}", response_model=schemas.Analytics, responses=PROBLEMS)
    async def analytics(
        symbol: Symbol,
        indicators: Indicators = "",
        interval: Interval = "1h",
        anchor: Anchor = None,
        against: Against = None,
    ) -> Response:
        """Give what a symbol does: price, the last hour, day and week, who moves alike, what is said around it.

        Every figure comes with its window, how old the newest of it is, and how many windows were held and proved.
        Indicators asked for are those of the newest window of `interval`.
        """
        name = known(symbol, view.symbols())
        query = _query(view, name, interval, indicators, 1, anchor, against)

        def read() -> bytes:
            now = time.time_ns() // 1000
            newest = values.of(query, _presents(view, query, now)) if query.asked else None
            return to_json({**answers.of(name, now, as_number), "indicators": newest})

        return Response(await reads.run(read), media_type="application/json")


def _add_indicators(routes: APIRouter, view: LiveView, reads: Reads, values: IndicatorValues) -> None:
    @routes.get("/indicators/{symbol}", response_model=schemas.IndicatorWindows, responses=PROBLEMS)
    async def indicators(
        symbol: Symbol,
        indicators: Indicators = "sma,ema,rsi,macd,bollinger",
        interval: Interval = "1m",
        limit: Limit = 200,
        anchor: Anchor = None,
        against: Against = None,
    ) -> Response:
        """Give indicators over the last `limit` candles; they are computed when asked for, and stored nowhere.

        None repaints: a value uses its window and those before it, as far back as it takes to be the same whatever
        the limit. Where less is held than that, `completeness` says so. The open window's are provisional.
        """
        query = _query(view, known(symbol, view.symbols()), interval, indicators, limit, anchor, against)

        def read() -> bytes:
            return to_json(values.of(query, _presents(view, query, time.time_ns() // 1000)))

        return Response(await reads.run(read), media_type="application/json")


def _presents(view: LiveView, query: IndicatorQuery, now: int) -> dict[str, Present]:
    return {name: present_of(view, name, now) for name in (query.symbol, query.against) if name is not None}


def _query(
    view: LiveView, symbol: str, interval: str, indicators: str, limit: int, anchor: Anchor, against: Against
) -> IndicatorQuery:
    other = None if against is None else known(against, view.symbols())
    query = IndicatorQuery(symbol, interval, read_indicators(indicators), limit, anchor, other)
    check(query)
    return query


def _add_correlations(routes: APIRouter, view: LiveView, reads: Reads, answers: Correlations, largest: Largest) -> None:
    @routes.get("/correlations", response_model=schemas.CorrelationMatrix, responses=PROBLEMS)
    async def correlations(
        symbols: SymbolsCompared = None, interval: Interval = "15m", limit: ReturnsCompared = 96
    ) -> Response:
        """Give Pearson's correlation of the log returns of symbols, each with each, over the last `limit` windows.

        Only windows that are over count, and of two symbols only those in which both have a return: `returns` says
        how many. The matrix is symmetric; null stands where too few are shared or a price did not move.
        """
        named = None if symbols is None else _named(symbols, view.symbols())

        def read() -> bytes:
            now = time.time_ns() // 1000
            names = largest.first(COMPARED, now) if named is None else named
            presents = {name: present_of(view, name, now) for name in names}
            return to_json(answers.of(names, Period(interval, limit), presents))

        return Response(await reads.run(read), media_type="application/json")


def _named(symbols: str, held: list[str]) -> list[str]:
    """Read the symbols, each once; raise the 404 for one that is not held, the 422 for too many."""
    names = list(dict.fromkeys(known(name.strip(), held) for name in symbols.split(",") if name.strip()))
    if not 1 <= len(names) <= MOST_CORRELATED:
        text = f"symbols names {len(names)} different ones; 1 to {MOST_CORRELATED} can be compared."
        raise ProblemError(422, "unusable-parameter", text)
    return names
