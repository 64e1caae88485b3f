"""The route of signals."""

from fastapi import APIRouter, Response

from tapehouse.api import signal_schemas as schemas
from tapehouse.api.asked import IntervalWatched, Limit, SignalKind, SignalState, SignalSymbol, Since, known
from tapehouse.api.encoding import to_json
from tapehouse.api.problems import PROBLEMS
from tapehouse.api.reads import Reads
from tapehouse.api.signal_queries import STANDING, SignalQueries, SignalQuery
from tapehouse.api.signal_rows import signal_fields
from tapehouse.market.signals import WHOLE_MARKET
from tapehouse.streaming.view import LiveView


def build(view: LiveView, queries: SignalQueries, reads: Reads) -> APIRouter:
    """Return the route over this view and these queries."""
    routes = APIRouter()

    @routes.get("/signals", response_model=schemas.Signals, responses=PROBLEMS)
    async def signals(
        symbol: SignalSymbol = None,
        kind: SignalKind = None,
        interval: IntervalWatched = None,
        state: SignalState = None,
        since: Since = None,
        limit: Limit = 100,
    ) -> Response:
        """Give the last `limit` signals, newest last, each as it is known now.

        Those that were retracted are left out unless `state` asks for them. What open windows would say comes over the
        live socket alone.
        """
        about_all = symbol is None or symbol == WHOLE_MARKET
        name = symbol if about_all or symbol is None else known(symbol, view.symbols())
        states = STANDING if state is None else (state,)
        query = SignalQuery(limit, name, kind, interval, states, since)

        def read() -> bytes:
            found = [signal_fields(signal) for signal in queries.signals(query)]
            return to_json({"symbol": name, "kind": kind, "count": len(found), "signals": found})

        return Response(await reads.run(read), media_type="application/json")

    return routes
