"""What a process that serves nothing else answers over HTTP: its health and its metrics."""

from collections.abc import Callable, Mapping

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import tapehouse
from tapehouse.api import problems
from tapehouse.api.encoding import to_json
from tapehouse.api.head import AnswersHead
from tapehouse.api.security import Guard
from tapehouse.settings import Settings


def create_app(title: str, report: Callable[[], Mapping[str, object]], settings: Settings) -> FastAPI:
    """Build the app over what the process says of itself."""
    app = FastAPI(title=title, version=tapehouse.__version__, docs_url=None, redoc_url=None)

    @app.get("/health")
    async def tell_health() -> Response:
        """Tell how it fares; the status is 200 while it lives."""
        return Response(to_json(report()), media_type="application/json")

    @app.get("/metrics")
    async def tell_metrics() -> Response:
        """Give every metric in Prometheus' text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    problems.register(app)
    app.add_middleware(AnswersHead)
    app.add_middleware(Guard, allowed_hosts=(settings.api_host, *settings.api_allowed_hosts))
    return app
