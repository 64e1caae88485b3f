"""The routes of the market's context: coins, Fear & Greed, news."""

from fastapi import APIRouter, Response

from tapehouse.api import context_schemas as schemas
from tapehouse.api.asked import AsOf, Days, Limit, Search, Symbol, SymbolMentioned, known
from tapehouse.api.context_queries import ContextQueries, ticker_asked
from tapehouse.api.context_rows import ATTRIBUTIONS, version_fields, whole_market
from tapehouse.api.encoding import to_json
from tapehouse.api.problems import PROBLEMS, unknown_symbol
from tapehouse.api.reads import Reads
from tapehouse.market.context import Version
from tapehouse.streaming.view import LiveView


def build(view: LiveView, queries: ContextQueries, reads: Reads) -> APIRouter:
    """Return the routes over this view and these queries."""
    routes = APIRouter()
    _add_market(routes, view, queries, reads)
    _add_sentiment(routes, queries, reads)
    _add_news(routes, view, queries, reads)
    return routes


def _add_market(routes: APIRouter, view: LiveView, queries: ContextQueries, reads: Reads) -> None:
    @routes.get("/market", response_model=schemas.Market, responses=PROBLEMS)
    async def market(as_of: AsOf = None) -> Response:
        """Give the market as a whole, and the coin of each symbol: price, market cap, volume, supply, rank."""

        def read() -> bytes:
            versions = queries.market(as_of)
            whole = whole_market(versions)
            found = queries.coins_of(view.symbols(), versions)
            rows = [{"symbol": symbol, **_coin(coin)} for symbol, coin in found]
            head = {"attribution": ATTRIBUTIONS["market_data"], "global": None if whole is None else _row(whole)}
            return to_json({**head, "count": len(rows), "market": rows})

        return Response(await reads.run(read), media_type="application/json")

    @routes.get("/market/{symbol}", response_model=schemas.CoinMarket, responses=PROBLEMS)
    async def coin_market(symbol: Symbol, limit: Limit = 100, as_of: AsOf = None) -> Response:
        """Give the coin of a symbol as it is now (`latest`), and the last `limit` versions of what was told of it."""
        name = known(symbol, view.symbols())

        def read() -> bytes:
            coin = queries.coin(name)
            versions = queries.versions_of_coin(coin.observation.key, limit, as_of) if coin is not None else []
            head = {
                "symbol": name,
                "coin": None if coin is None else coin.observation.key,
                "attribution": ATTRIBUTIONS["market_data"],
                "latest": None if coin is None else _coin(coin),
            }
            return to_json({**head, "count": len(versions), "market": [_coin(version) for version in versions]})

        return Response(await reads.run(read), media_type="application/json")


def _add_sentiment(routes: APIRouter, queries: ContextQueries, reads: Reads) -> None:
    @routes.get("/sentiment", response_model=schemas.Sentiment, responses=PROBLEMS)
    async def sentiment(days: Days = 30, as_of: AsOf = None) -> Response:
        """Give the Fear & Greed index of the last `days` days: one value a UTC day, missing days left out."""

        def read() -> bytes:
            rows = [_row(version) for version in queries.sentiment(days, as_of)]
            head = {"attribution": ATTRIBUTIONS["sentiment"], "days": days, "count": len(rows)}
            return to_json({**head, "sentiment": rows})

        return Response(await reads.run(read), media_type="application/json")


def _add_news(routes: APIRouter, view: LiveView, queries: ContextQueries, reads: Reads) -> None:
    @routes.get("/news", response_model=schemas.News, responses=PROBLEMS)
    async def news(symbol: SymbolMentioned = None, limit: Limit = 50, q: Search = "", as_of: AsOf = None) -> Response:
        """Give the last `limit` stories, newest last: those that mention a symbol, and hold every word of `q`."""
        ticker = ticker_asked(symbol, view.symbols()) if symbol is not None else None
        if symbol is not None and ticker is None:
            raise unknown_symbol(symbol, view.symbols())

        def read() -> bytes:
            rows = [_row(version) for version in queries.news(limit, ticker, q, as_of)]
            return to_json({"symbol": symbol and symbol.upper(), "q": q, "count": len(rows), "news": rows})

        return Response(await reads.run(read), media_type="application/json")


def _row(version: Version) -> dict[str, object]:
    return version_fields(version, exact_numbers=True)


def _coin(version: Version) -> dict[str, object]:
    """Return a coin's row without the symbol that CoinGecko has for it: `symbol` is ours."""
    return {name: value for name, value in _row(version).items() if name != "symbol"}
