"""The page, its files and the documentation page, served as they lie in tapehouse/web."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

import tapehouse

FOLDER = Path(tapehouse.__file__).parent / "web"
_REVALIDATE = {"Cache-Control": "no-cache"}


class _Files(StaticFiles):
    """Files a browser asks about again each time, so that an upgrade is seen at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers.update(_REVALIDATE)
        return answer


def register(app: FastAPI) -> None:
    """Serve the live page at `/`, the documentation at `/docs`, their files below `/web`."""
    app.add_route("/", _file("index.html"), include_in_schema=False)
    app.add_route("/docs", _file("docs.html"), include_in_schema=False)
    app.mount("/web", _Files(directory=FOLDER))


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def show(_request: Request) -> Response:
        return FileResponse(FOLDER / name, headers=_REVALIDATE)

    return show
