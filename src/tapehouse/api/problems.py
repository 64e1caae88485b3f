"""Errors as RFC 9457 problem details: what happened and what to do, in one shape for every route."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tapehouse.api import schemas
from tapehouse.api.encoding import to_json
from tapehouse.errors import TapehouseError

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger()

_ADVICE = {
    404: "There is nothing at this path; /docs lists what there is.",
    405: "This path does not take that method; /docs lists what it takes.",
}

PROBLEMS: dict[int | str, dict[str, object]] = {
    status: {"model": schemas.Problem, "description": text, "content": {"application/problem+json": {}}}
    for status, text in {
        404: "The symbol is not held here.",
        422: "A parameter cannot be used; `detail` says which.",
        503: "Too many reads at once, or the lake cannot be read; `Retry-After` says when to ask again.",
    }.items()
}
"""What every route that reads may answer instead, for the documentation."""


class ProblemError(Exception):
    """A request that is answered with a problem; `detail` tells the person what to do."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers


def problem(status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Build the answer; `kind` names the problem and leads to its place in the documentation."""
    body = {
        "type": f"/docs#{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
    }
    return Response(to_json(body), status, dict(headers or {}), MEDIA_TYPE)


def unknown_symbol(symbol: str, known: list[str]) -> ProblemError:
    """Make the 404 of a symbol that is not held."""
    some = ", ".join(known[:10]) + (", ..." if len(known) > 10 else "")
    return ProblemError(
        404,
        "unknown-symbol",
        f"{symbol[:40]!r} is not held here. Held are: {some or 'none yet'}. See TAPEHOUSE_SYMBOLS.",
    )


def register(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(TapehouseError, _of_world)
    app.add_exception_handler(Exception, _of_crash)


async def _of_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)  # noqa: S101  # registered for it
    return problem(error.status, error.kind, error.detail, error.headers)


async def _of_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for it
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return problem(error.status_code, kind, _ADVICE.get(error.status_code, error.detail), error.headers)


async def _of_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # registered for it
    faults = [f"{fault['loc'][-1]}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]
    return problem(422, "unusable-parameter", "; ".join(faults) + ". See /docs.")


async def _of_world(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, error=str(error))
    detail = "The lake cannot be read just now. Ask again; /health and the log say more."
    return problem(503, "data-unreadable", detail, {"Retry-After": "5"})


async def _of_crash(request: Request, error: Exception) -> Response:
    _log.error("request_crashed", path=request.url.path, error=repr(error))
    return problem(500, "internal-error", "A fault in Tapehouse; its log has the details. Please report it.")
