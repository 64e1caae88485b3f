"""One question to an upstream that is not trusted: bounded in time, size and redirects, every refusal typed."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import msgspec

import tapehouse
from tapehouse.errors import RateLimitedError, UpstreamError

LARGEST_ANSWER = 8 * 1024 * 1024
"""Bytes of an answer, unpacked: CoinGecko's list of all coins is some two million, a feed seldom half of one."""
WHOLE_ANSWER_WITHIN = 30.0
"""Seconds from the question to the last byte, redirects included, however slowly it drips."""
ANSWER_WITHIN = 10.0
"""Seconds to connect, and between two pieces of an answer."""
MOST_REDIRECTS = 5
MOST_AT_ONCE = 8
"""Questions under way at the same time; the others wait."""
SLOW_AFTER = 2.0
"""Seconds after which a question hands its place to the next one, and goes on beside it."""
MOST_SLOW = 24
"""Questions that go on beside those in a place; one more keeps its place."""
LONGEST_WAIT = 24 * 3600.0
"""Seconds an upstream can ask us to wait at most; a longer time is a mistake of its."""
DEFAULT_RETRY_AFTER = 60.0
"""Seconds to wait after 429 where `Retry-After` is absent."""
USER_AGENT: Final = f"tapehouse/{tapehouse.__version__} (+https://github.com/tapehouse/tapehouse)"

_TOO_MANY, _GONE, _UNAVAILABLE, _NOT_MODIFIED = 429, 410, 503, 304
_PERMANENT = frozenset({301, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ANY_ZLIB = 47
"""What zlib calls the largest window of either wrapping, gzip or deflate."""


class GoneError(UpstreamError):
    """An upstream says that what was asked for is gone for good (410)."""


class RefusedError(UpstreamError):
    """An upstream refuses the question itself (400, 401, 403, 404 ...): asking again does not help, a person may."""


class Validators(msgspec.Struct, frozen=True):
    """By what an upstream knows the answer that is held: `ETag` and `Last-Modified`, empty when it gave none."""

    etag: str = ""
    last_modified: str = ""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer, unpacked; `not_modified` (304) has no body.

    `address` is where it came from in the end, `moved_to` where permanent redirects led, "" when there were none.
    """

    body: bytes
    content_type: str
    address: str
    validators: Validators
    not_modified: bool = False
    moved_to: str = ""


class Fetcher:
    """Asks with GET, as one polite client. `secrets` appear in no error and in no body it hands on.

    `explain` gives what the body of a refusal says, "" for nothing. `now` gives seconds since 1970.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        now: Callable[[], float],
        *,
        secrets: Sequence[str] = (),
        explain: Callable[[bytes], str] = lambda _body: "",
        largest: int = LARGEST_ANSWER,
        within: float = WHOLE_ANSWER_WITHIN,
    ) -> None:
        self._client = client
        self._now = now
        self._secrets = [secret for secret in secrets if secret]
        self._explain = explain
        self._largest = largest
        self._within = within
        self._places = asyncio.Semaphore(MOST_AT_ONCE)
        self._slow = 0

    async def get(
        self,
        address: str,
        *,
        params: Mapping[str, str] | None = None,
        secret_headers: Mapping[str, str] | None = None,
        held: Validators | None = None,
    ) -> Answer:
        """Return the answer; `secret_headers` are sent to the address's own host alone.

        Raise RateLimitedError, GoneError or RefusedError for what the status says; UpstreamError when it failed, when
        there is no good answer in time, or when it is too large.
        """
        try:
            url = httpx.URL(address, params=params) if params else httpx.URL(address)
        except httpx.InvalidURL as error:
            raise UpstreamError(f"an address that is none: {error}") from error
        try:
            async with self._place(), asyncio.timeout(self._within):
                return await self._follow(url, _conditions(held), secret_headers or {})
        except TimeoutError as error:
            raise UpstreamError(f"{shown(url)}: no whole answer within {self._within:.0f} s") from error
        except httpx.TimeoutException as error:
            raise UpstreamError(f"{shown(url)}: nothing came for {ANSWER_WITHIN:.0f} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamError(self._hidden(f"{shown(url)}: {error or type(error).__name__}")) from error

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it, but not for long: addresses that drip must not keep the others waiting."""
        await self._places.acquire()
        handed_on = False

        def hand_on() -> None:
            nonlocal handed_on
            if self._slow < MOST_SLOW:
                handed_on = True
                self._slow += 1
                self._places.release()

        slow = asyncio.get_running_loop().call_later(SLOW_AFTER, hand_on)
        try:
            yield
        finally:
            slow.cancel()
            if handed_on:
                self._slow -= 1
            else:
                self._places.release()

    async def _follow(self, url: httpx.URL, headers: Mapping[str, str], secret_headers: Mapping[str, str]) -> Answer:
        began, moved_to, permanent = url, "", True
        for _ in range(MOST_REDIRECTS + 1):
            secret = secret_headers if _same_host(url, began) else {}
            async with self._client.stream("GET", url, headers={**headers, **secret}) as response:
                if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                    return await self._answer(url, response, moved_to)
                permanent = permanent and response.status_code in _PERMANENT
                url = url.join(response.headers["Location"])
                moved_to = str(url) if permanent else moved_to
        raise UpstreamError(f"{shown(began)}: redirected more than {MOST_REDIRECTS} times")

    async def _answer(self, url: httpx.URL, response: httpx.Response, moved_to: str) -> Answer:
        validators = Validators(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        if response.status_code == _NOT_MODIFIED:
            return Answer(b"", "", str(url), validators, not_modified=True, moved_to=moved_to)
        body = self._without_secrets(await _read(url, response, self._largest))
        if response.status_code != httpx.codes.OK:
            raise self._refusal(url, response, body)
        return Answer(body, response.headers.get("Content-Type", ""), str(url), validators, moved_to=moved_to)

    def _refusal(self, url: httpx.URL, response: httpx.Response, body: bytes) -> UpstreamError:
        status = response.status_code
        told = self._hidden(self._explain(body)[:300])
        text = f"{shown(url)}: refused with HTTP {status}" + (f": {told}" if told else "")
        asks_to_wait = "Retry-After" in response.headers
        if status == _TOO_MANY or (status == _UNAVAILABLE and asks_to_wait):
            wait = retry_after(response.headers.get("Retry-After", ""), self._now())
            return RateLimitedError(text, retry_after=wait)
        if status == _GONE:
            return GoneError(f"{text}: it is gone for good")
        if 400 <= status < 500 and status != httpx.codes.REQUEST_TIMEOUT:
            return RefusedError(text)
        return UpstreamError(text)

    def _without_secrets(self, body: bytes) -> bytes:
        for secret in self._secrets:
            body = body.replace(secret.encode(), b"***")
        return body

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def new_client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return a client as a Fetcher wants it: it follows no redirect by itself, and takes gzip, which can be bounded."""
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"}
    limits = httpx.Limits(max_connections=2 * (MOST_AT_ONCE + MOST_SLOW), max_keepalive_connections=MOST_AT_ONCE)
    return httpx.AsyncClient(timeout=ANSWER_WITHIN, headers=headers, limits=limits, transport=transport)


def shown(address: httpx.URL | str) -> str:
    """Return an address as it may be told: without user, query and fragment."""
    url = httpx.URL(address)
    port = f":{url.port}" if url.port else ""
    return f"{url.scheme}://{url.host}{port}{url.path}"


def retry_after(told: str, now: float) -> float:
    """Return the seconds that a `Retry-After` asks for: a number, or a date as HTTP writes it."""
    wait = DEFAULT_RETRY_AFTER
    if told.isascii() and told.isdigit():
        wait = float(told)
    elif told:
        try:
            date = parsedate_to_datetime(told)
        except ValueError:
            return wait
        wait = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return min(max(wait, 1.0), LONGEST_WAIT)


def _conditions(held: Validators | None) -> dict[str, str]:
    if held is None:
        return {}
    conditions = {"If-None-Match": held.etag, "If-Modified-Since": held.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _same_host(url: httpx.URL, other: httpx.URL) -> bool:
    return (url.scheme, url.host, url.port) == (other.scheme, other.host, other.port)


async def _read(url: httpx.URL, response: httpx.Response, largest: int) -> bytes:
    """Return the body, unpacked piece by piece so that a small answer cannot become a large one."""
    too_large = UpstreamError(f"{shown(url)}: the answer is larger than {largest} bytes")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip", "deflate"}:
        raise UpstreamError(f"{shown(url)}: the answer is packed as {encoding[:20]}, which was not asked for")
    unpacker = None if encoding == "identity" else zlib.decompressobj(_ANY_ZLIB)
    received, body = 0, bytearray()
    async for chunk in response.aiter_raw():
        received += len(chunk)
        try:
            body += chunk if unpacker is None else unpacker.decompress(chunk, largest + 1 - len(body))
        except zlib.error as error:
            raise UpstreamError(f"{shown(url)}: the answer cannot be unpacked") from error
        if max(received, len(body)) > largest:
            raise too_large
    if unpacker is not None and received and not unpacker.eof:
        raise UpstreamError(f"{shown(url)}: the answer ends in the middle")
    return bytes(body)
