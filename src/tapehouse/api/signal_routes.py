"""The route of signals."""

from fastapi import APIRouter, Response

from tapehouse.api import signal_schemas as schemas
from tapehouse.api.asked import IntervalWatched, KnownSince, Limit, SignalKind, SignalState, SignalSymbol, Since, known
from tapehouse.api.encoding import time_text, to_json
from tapehouse.api.problems import PROBLEMS
from tapehouse.api.reads import Reads
from tapehouse.api.signal_queries import SignalQueries, SignalQuery
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
        known_since: KnownSince = None,
        limit: Limit = 100,
    ) -> Response:
        """Give the last `limit` signals, newest last, each as it is known now.

        Those that were retracted are left out unless `state` asks for them. What open windows would say comes over the
        live socket alone.

        To follow what becomes known, late revisions and retractions among it, ask with `known_since`: then it is the
        first `limit` by when they became known, those of one time together. Go on with `next_known_since`, or where
        that is null with the `known_at` of the last one: a revision told twice has the same `revision`.
        """
        about_all = symbol is None or symbol == WHOLE_MARKET
        name = symbol if about_all or symbol is None else known(symbol, view.symbols())
        query = SignalQuery(limit, name, kind, interval, state, since, known_since)

        def read() -> bytes:
            found = queries.signals(query)
            following = found.next_known_since
            told = {
                "symbol": name,
                "kind": kind,
                "count": len(found.signals),
                "searched_from": found.searched_from,
                "next_known_since": None if following is None else time_text(following),
                "signals": [signal_fields(signal) for signal in found.signals],
            }
            return to_json(told)

        return Response(await reads.run(read), media_type="application/json")

    return routes
