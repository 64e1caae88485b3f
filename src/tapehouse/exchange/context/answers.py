"""What a stand-in answers before anything goes wrong with it, and the headers by which it need not be sent twice."""

import gzip
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Protocol

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response

from tapehouse.market.windows import SECOND

JSON = "application/json; charset=utf-8"
_WORTH_COMPRESSING = 1000
"""Bytes from which an answer is compressed for who takes it so."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; `changed_at` (microseconds UTC) is when it last changed, where the upstream says so."""

    body: bytes
    media_type: str = JSON
    status: int = 200
    changed_at: int | None = None

    @property
    def etag(self) -> str:
        """Its entity tag: weak, as the upstreams' are."""
        return f'W/"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class StandIn(Protocol):
    """An upstream that is played. `name` is what faults are laid on; `parts` of a path may have faults of their own."""

    name: str

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Answer a request whose path goes on with `path`."""

    def refusal(self, status: int) -> Answer:
        """Refuse in the upstream's own words."""


def json_answer(value: object, status: int = 200) -> Answer:
    """Return an answer in JSON."""
    return Answer(msgspec.json.encode(value), status=status)


def respond(answer: Answer, asked: Headers) -> Response:
    """Return the answer as HTTP: 304 for who holds it already, compressed for who takes that."""
    headers = {"ETag": answer.etag, "Cache-Control": "public, max-age=60", "Vary": "Accept-Encoding"}
    if answer.changed_at is not None:
        headers["Last-Modified"] = http_date(answer.changed_at)
    if answer.status == 200 and _is_held(answer, asked):
        return Response(status_code=304, headers=headers)
    body = answer.body
    if len(body) >= _WORTH_COMPRESSING and "gzip" in asked.get("accept-encoding", ""):
        body = gzip.compress(body, 6, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, answer.status, {**headers, "Content-Type": answer.media_type})


def _is_held(answer: Answer, asked: Headers) -> bool:
    """Tell whether the client names the answer as the one it holds; a tag goes before a time, as HTTP has it."""
    if (tags := asked.get("if-none-match")) is not None:
        return answer.etag in [tag.strip() for tag in tags.split(",")]
    since = asked.get("if-modified-since")
    if since is None or answer.changed_at is None:
        return False
    try:
        return answer.changed_at // SECOND <= parsedate_to_datetime(since).timestamp()
    except ValueError:
        return False


def http_date(microseconds: int) -> str:
    """Write a time as HTTP and RSS do."""
    return format_datetime(to_time(microseconds).replace(microsecond=0), usegmt=True)


def to_time(microseconds: int) -> datetime:
    """Return the aware UTC time."""
    return datetime.fromtimestamp(microseconds / SECOND, UTC)
