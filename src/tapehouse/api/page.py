"""The page, its files and the documentation page, served as they lie in tapehouse/web; the warehouse's beside them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

import tapehouse
from tapehouse.api.problems import ProblemError

FOLDER = Path(tapehouse.__file__).parent / "web"
_REVALIDATE = {"Cache-Control": "no-cache"}


class _Files(StaticFiles):
    """Files a browser asks about again each time, so that an upgrade is seen at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers.update(_REVALIDATE)
        return answer


_OF_DBT = {
    **_REVALIDATE,
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
    ),
}
"""dbt's page runs scripts of its own, all within it: it gets them, and no way to this server or any other."""


def register(app: FastAPI, warehouse_docs: Path) -> None:
    """Serve the live page at `/`, the documentation at `/docs`, their files below `/web`, `warehouse_docs` as well."""
    app.add_route("/", _file("index.html"), include_in_schema=False)
    app.add_route("/docs", _file("docs.html"), include_in_schema=False)
    app.add_route("/favicon.ico", _file("icon.svg"), include_in_schema=False)  # asked for where a page names none
    app.add_route("/warehouse/docs", _written(warehouse_docs), include_in_schema=False)
    app.mount("/web", _Files(directory=FOLDER))


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def show(_request: Request) -> Response:
        return FileResponse(FOLDER / name, headers=_REVALIDATE)

    return show


def _written(page: Path) -> Callable[[Request], Awaitable[Response]]:
    async def show(_request: Request) -> Response:
        if not page.is_file():  # noqa: ASYNC240  # one look at the disk, for a page that is rarely asked for
            raise ProblemError(
                404,
                "not-written-yet",
                "The documentation of the warehouse has not been written: `tapehouse warehouse docs` writes it.",
            )
        return FileResponse(page, headers=_OF_DBT)

    return show
