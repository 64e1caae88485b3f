"""What goes wrong with a stand-in on request: a fault is laid on an upstream, or on one feed, and met by requests."""

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tapehouse.exchange.context.answers import JSON, Answer

Kind = Literal[
    "status",
    "slow_drip",
    "cut_body",
    "truncated",
    "wrong_charset",
    "gzip_bomb",
    "huge",
    "redirect_ring",
    "moved",
    "html",
    "echo",
]
UPSTREAMS = ("coingecko", "fear_greed", "newsapi", "feeds")
HUGE = 256 * 1024 * 1024
"""Bytes of an answer that is too large, and of what a bomb becomes."""
_BLOCK = b" " * (64 * 1024)
_GZIP = 31
"""What zlib calls a window of the largest size in the wrapping of gzip."""
_PAGE = "<!doctype html><html><head><title>One moment</title></head><body><h1>We are checking you</h1></body></html>"


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What requests meet: the next `requests`, or those of so many `seconds`; else all, until the faults are cleared.

    `on` is an upstream (`coingecko`, `fear_greed`, `newsapi`, `feeds`), or one of its paths (`feeds/ledger-daily`).
    `status`: refused with `status`, and `retry_after` if given. `slow_drip`: `drip` bytes every `pause` seconds.
    `cut_body`: the connection ends in mid-body. `truncated`: half the text, well delivered. `wrong_charset`: bytes that
    the declared encoding does not have. `gzip_bomb`, `huge`: more than anyone wants. `redirect_ring`: two addresses
    that name each other. `moved`: a permanent redirect to an address that works. `html`: a page with status 200.
    `echo`: an error with status 200 that repeats the question's address, and the key it came with.
    """

    on: str
    kind: Kind
    status: int = 500
    retry_after: int | None = None
    requests: int | None = None
    seconds: float | None = None
    drip: int = 16
    pause: float = 0.1

    def __post_init__(self) -> None:
        if self.on.partition("/")[0] not in UPSTREAMS:
            raise ValueError(f"{self.on}: give one of {', '.join(UPSTREAMS)}, or a path of it")
        if self.status < HTTPStatus.BAD_REQUEST or self.status not in set(HTTPStatus):
            raise ValueError(f"{self.status} is no status to refuse with: give one of HTTP's from 400 on")
        if min(self.requests or 0, self.seconds or 0, self.retry_after or 0, self.pause) < 0 or self.drip < 1:
            raise ValueError("requests, seconds, retry_after, pause: give 0 or more; drip: give 1 or more")


class ContextFaults:
    """The faults in force; `counts` says how often each upstream was asked, and what it answered."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._faults: dict[str, tuple[Fault, float]] = {}

    def lay(self, fault: Fault) -> None:
        """Let requests meet a fault, in place of the one that lay there."""
        until = time.monotonic() + fault.seconds if fault.seconds is not None else float("inf")
        self._faults[fault.on] = (msgspec.structs.replace(fault), until)

    def clear(self) -> None:
        """Let everything go well again."""
        self._faults.clear()

    def met(self, *names: str) -> Fault | None:
        """Return the fault that a request meets, if any; it is used up by being met."""
        for name in names:
            fault, until = self._faults.get(name, (None, 0.0))
            if fault is None:
                continue
            if time.monotonic() >= until or fault.requests == 0:
                del self._faults[name]
                continue
            if fault.requests is not None:
                fault.requests -= 1
            return fault
        return None


def spoiled(fault: Fault, answer: Answer, request: Request) -> Response:
    """Return what becomes of an answer; to a `status` fault belongs the upstream's refusal."""
    return _SPOILING[fault.kind](fault, answer, request)


def _refused(fault: Fault, answer: Answer, _request: Request) -> Response:
    again = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return Response(answer.body, fault.status, _typed(answer) | again)


def _redirected(fault: Fault, _answer: Answer, request: Request) -> Response:
    if fault.kind == "moved":
        return RedirectResponse(request.url.include_query_params(moved=1), 301)
    other = 1 if request.query_params.get("hop") == "0" else 0
    return RedirectResponse(request.url.include_query_params(hop=other), 302)


def _typed(answer: Answer) -> dict[str, str]:
    return {"Content-Type": answer.media_type}


def _in_another_charset(body: bytes) -> bytes:
    """Write text for Windows where UTF-8 is declared; text without a letter beyond ASCII as UTF-16."""
    written = body.decode().encode("cp1252", "replace")
    return written if written != body else body.decode().encode("utf-16")


def _echo(_fault: Fault, _answer: Answer, request: Request) -> Response:
    keys = [value for name, value in request.headers.items() if name.endswith("api-key")]
    return Response(msgspec.json.encode({"error": f"We do not like {request.url} with {keys}"}), media_type=JSON)


@lru_cache(1)
def _bomb() -> bytes:
    """Return a quarter of a megabyte that becomes HUGE when it is unpacked."""
    packing = zlib.compressobj(9, wbits=_GZIP)
    return b"".join(packing.compress(_BLOCK) for _ in range(HUGE // len(_BLOCK))) + packing.flush()


async def _endless(body: bytes) -> AsyncIterator[bytes]:
    """Send the answer, and so much space after it that it is HUGE: still well-formed, for who reads it all."""
    yield body
    for _ in range(HUGE // len(_BLOCK)):
        yield _BLOCK


async def _dripping(body: bytes, fault: Fault) -> AsyncIterator[bytes]:
    for start in range(0, len(body), fault.drip):
        yield body[start : start + fault.drip]
        await asyncio.sleep(fault.pause)


class _Cut(Response):
    """A response whose connection ends in the middle of its body."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


_SPOILING: dict[Kind, Callable[[Fault, Answer, Request], Response]] = {
    "status": _refused,
    "slow_drip": lambda fault, answer, _: StreamingResponse(_dripping(answer.body, fault), 200, _typed(answer)),
    "cut_body": lambda _, answer, __: _Cut(answer.body, 200, _typed(answer)),
    "truncated": lambda _, answer, __: Response(answer.body[: len(answer.body) // 2], 200, _typed(answer)),
    "wrong_charset": lambda _, answer, __: Response(_in_another_charset(answer.body), 200, _typed(answer)),
    "gzip_bomb": lambda _, answer, __: Response(_bomb(), 200, _typed(answer) | {"Content-Encoding": "gzip"}),
    "huge": lambda _, answer, __: StreamingResponse(_endless(answer.body), 200, _typed(answer)),
    "redirect_ring": _redirected,
    "moved": _redirected,
    "html": lambda _, __, ___: Response(_PAGE, media_type="text/html"),
    "echo": _echo,
}
