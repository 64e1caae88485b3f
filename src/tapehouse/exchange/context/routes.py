"""Where the stand-ins lie beside the exchange, on its port."""

from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapehouse.exchange.context.answers import StandIn, respond
from tapehouse.exchange.context.coingecko import CoinGecko
from tapehouse.exchange.context.faults import ContextFaults, spoiled
from tapehouse.exchange.context.fear_greed import FearGreed
from tapehouse.exchange.context.feeds import Feeds
from tapehouse.exchange.context.newsapi import NewsApi
from tapehouse.exchange.context.stories import Stories
from tapehouse.exchange.market_view import MarketView

COINGECKO = "/coingecko/api/v3"
FEAR_GREED = "/fng/"
NEWSAPI = "/newsapi/v2"
FEEDS = "/feeds"


def context_routes(market: MarketView, faults: ContextFaults, seed: int) -> list[Route]:
    """Return the routes of every stand-in: prices from the market, other texts from the seed."""
    stories = Stories(market, seed)
    return [
        Route(COINGECKO + "/{path:path}", _endpoint(CoinGecko(market), faults)),
        Route(FEAR_GREED, _endpoint(FearGreed(market, seed), faults)),
        Route(NEWSAPI + "/{path:path}", _endpoint(NewsApi(stories), faults)),
        Route(FEEDS + "/{path:path}", _endpoint(Feeds(stories), faults)),
    ]


def _endpoint(stand_in: StandIn, faults: ContextFaults) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        path = request.path_params.get("path", "")
        fault = faults.met(f"{stand_in.name}/{path}", stand_in.name)
        if fault is not None and fault.kind == "moved" and "moved" in request.query_params:
            fault = None  # this is where the fault sends them
        if fault is not None and fault.kind == "status":
            answer = stand_in.refusal(fault.status)
        else:
            answer = await run_in_threadpool(stand_in.answer, path, request.query_params, request.headers)
        response = respond(answer, request.headers) if fault is None else spoiled(fault, answer, request)
        told = response.status_code if fault is None or fault.kind == "status" else fault.kind
        faults.counts.update([stand_in.name, f"{stand_in.name} {told}"])
        return response

    return endpoint
