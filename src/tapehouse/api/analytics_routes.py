"""The routes that compute: analytics of a symbol, and indicators over its candles."""

from fastapi import APIRouter, Response

from tapehouse.api import analytics_schemas as schemas
from tapehouse.api.analytics import MOST_CORRELATED, Analytics
from tapehouse.api.asked import Interval, Limit, Symbol, known
from tapehouse.api.encoding import as_number, to_json
from tapehouse.api.indicators import Indicators, read_indicators
from tapehouse.api.problems import PROBLEMS
from tapehouse.api.queries import Queries
from tapehouse.api.reads import Reads
from tapehouse.streaming.view import LiveView


def build(view: LiveView, queries: Queries, reads: Reads) -> APIRouter:
    """Return the routes over this view and these queries."""
    routes = APIRouter()
    answers = Analytics(queries)

    @routes.get("/analytics/{symbol}", response_model=schemas.Analytics, responses=PROBLEMS)
    async def analytics(symbol: Symbol, indicators: Indicators = "", interval: Interval = "1h") -> Response:
        """Give change, range, volume, VWAP and volatility of the last hour, day and week, and who moves alike.

        Indicators asked for are those of the newest window of `interval`.
        """
        name = known(symbol, view.symbols())
        others = sorted(set(view.symbols()) - {name})[:MOST_CORRELATED]
        asked = read_indicators(indicators)

        def read() -> bytes:
            newest = answers.indicators(name, interval, asked, 1) if asked else None
            return to_json({**answers.of(name, others, as_number), "indicators": newest})

        return Response(await reads.run(read), media_type="application/json")

    @routes.get("/indicators/{symbol}", response_model=schemas.IndicatorWindows, responses=PROBLEMS)
    async def indicators(
        symbol: Symbol,
        indicators: Indicators = "sma,ema,rsi,macd,bollinger",
        interval: Interval = "1m",
        limit: Limit = 200,
    ) -> Response:
        """Give indicators over the last `limit` candles; they are computed when asked for, and stored nowhere."""
        name = known(symbol, view.symbols())
        asked = read_indicators(indicators)

        def read() -> bytes:
            return to_json(answers.indicators(name, interval, asked, limit))

        return Response(await reads.run(read), media_type="application/json")

    return routes
