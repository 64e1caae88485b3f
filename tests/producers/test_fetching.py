"""An upstream that is not trusted, on a real socket: whatever it does costs a bounded time and size, and is named."""

import asyncio
import gzip
import zlib
from collections.abc import Callable

import httpx
import pytest

from tapehouse.errors import RateLimitedError, UpstreamError
from tapehouse.exchange.context.faults import Fault
from tapehouse.exchange.main import ExchangeOptions, running_exchange
from tapehouse.producers.fetching import Fetcher, GoneError, RefusedError, Validators, new_client, retry_after

NOW = 1_700_000_000.0


class Upstream:
    """A port that answers each request as `answers` says for its path, with the very bytes."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Callable[[], bytes]] = {}
        self.requests: list[str] = []
        self.port = 0

    def address(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(asked)
        writer.write(self.answers[asked.split(" ")[1]])
        await writer.drain()
        writer.close()


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} x\r\nConnection: close\r\n{lines}\r\n".encode() + body


@pytest.fixture
async def upstream():
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    async with server:
        yield upstream


@pytest.fixture
async def make_fetcher():
    client = new_client()
    yield lambda **options: Fetcher(client, lambda: NOW, **options)
    await client.aclose()


@pytest.fixture
def fetcher(make_fetcher) -> Fetcher:
    return make_fetcher(largest=10_000)


async def test_an_answer_comes_with_what_it_is_known_by(upstream, fetcher):
    upstream.answers["/a?b=1"] = http(200, b"[1]", ETag='W/"x"', Last_Modified="yesterday", Content_Type="text/json")
    answer = await fetcher.get(upstream.address("/a"), params={"b": "1"})
    assert (answer.body, answer.content_type, answer.moved_to) == (b"[1]", "text/json", "")
    assert answer.validators == Validators('W/"x"', "yesterday")
    assert "tapehouse/" in upstream.requests[0]


async def test_what_is_held_is_not_sent_again(upstream, fetcher):
    upstream.answers["/"] = http(304)
    answer = await fetcher.get(upstream.address("/"), held=Validators("E", "L"))
    assert answer.not_modified
    assert "If-None-Match: E" in upstream.requests[0]
    assert "If-Modified-Since: L" in upstream.requests[0]


async def test_a_packed_answer_is_unpacked(upstream, fetcher):
    for encoding, packed in (("gzip", gzip.compress(b"x" * 999)), ("deflate", zlib.compress(b"x" * 999))):
        upstream.answers["/"] = http(200, packed, Content_Encoding=encoding)
        assert (await fetcher.get(upstream.address("/"))).body == b"x" * 999


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(200, b"x" * 10_001), "larger than 10000"),
        (http(200, gzip.compress(b"x" * 50_000_000), Content_Encoding="gzip"), "larger than 10000"),
        (http(200, gzip.compress(b"x" * 999)[:-12], Content_Encoding="gzip"), "ends in the middle"),
        (http(200, b"this is not packed", Content_Encoding="gzip"), "cannot be unpacked"),
        (http(200, b"x", Content_Encoding="br"), "packed as br"),
        (http(200, b"x" * 99).replace(b"Content-Length: 99", b"Content-Length: 100"), "127.0.0.1"),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "127.0.0.1"),
        (b"<html>", "127.0.0.1"),
        (b"", "127.0.0.1"),
        (http(500, b"x"), "HTTP 500"),
        (http(302, Location="/"), "redirected more than 5 times"),
        (http(302, Location="ftp://elsewhere/"), "ftp"),
        (http(302, Location="http://[broken"), "127.0.0.1"),
    ],
    ids=[
        "too large",
        "a bomb",
        "packed and cut",
        "not packed",
        "packed otherwise",
        "cut",
        "a cut chunk",
        "no HTTP",
        "nothing",
        "failed",
        "a ring",
        "another protocol",
        "no address",
    ],
)
async def test_a_bad_answer_is_an_error_of_the_upstream(upstream, fetcher, answer, says):
    upstream.answers["/"] = answer
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1|ftp") as error:
        await fetcher.get(upstream.address("/"))
    assert says in str(error.value)


async def test_a_bomb_is_never_unpacked_further_than_is_allowed(upstream, make_fetcher):
    upstream.answers["/"] = http(200, gzip.compress(bytes(200_000_000)), Content_Encoding="gzip")
    before = peak_memory()
    with pytest.raises(UpstreamError, match="larger"):
        await make_fetcher(largest=1_000_000).get(upstream.address("/"))
    assert peak_memory() - before < 50 * 1024


def peak_memory() -> int:
    """Kilobytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (400, {}, RefusedError),
        (401, {}, RefusedError),
        (403, {}, RefusedError),
        (404, {}, RefusedError),
        (410, {}, GoneError),
        (429, {}, RateLimitedError),
        (503, {"Retry_After": "5"}, RateLimitedError),
        (503, {}, UpstreamError),
        (408, {}, UpstreamError),
        (204, {}, UpstreamError),
    ],
)
async def test_a_refusal_is_of_a_kind_that_says_what_to_do(upstream, fetcher, status, headers, kind):
    upstream.answers["/"] = http(status, **headers)
    with pytest.raises(UpstreamError) as refusal:
        await fetcher.get(upstream.address("/"))
    assert type(refusal.value) is kind


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("", 60.0),
        ("30", 30.0),
        ("0", 1.0),
        ("99999999999", 86_400.0),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
        ("Tue, 14 Nov 2022 22:15:20 GMT", 1.0),
        ("soon", 60.0),
        ("-5", 60.0),
        ("٣", 60.0),
    ],
)
def test_when_to_come_back_is_read_in_both_its_forms_and_bounded(told, seconds):
    assert retry_after(told, NOW) == seconds


async def test_permanent_redirects_say_where_it_moved_and_others_do_not(upstream, fetcher):
    upstream.answers |= {"/old": http(301, Location="/newer"), "/newer": http(308, Location="/new")}
    upstream.answers |= {"/today": http(302, Location="/old"), "/new": http(200, b"x")}
    assert (await fetcher.get(upstream.address("/old"))).moved_to == upstream.address("/new")
    assert (await fetcher.get(upstream.address("/today"))).moved_to == ""


async def test_a_secret_goes_to_no_other_host_and_into_no_error_and_no_body(upstream, make_fetcher):
    fetcher = make_fetcher(secrets=["marked-key"], explain=lambda body: body.decode())
    upstream.answers["/a"] = http(302, Location=upstream.address("/b", "localhost"))
    upstream.answers["/b"] = http(200, b'{"you sent": "marked-key"}')
    upstream.answers["/no"] = http(401, b"marked-key is no key")
    answer = await fetcher.get(upstream.address("/a"), secret_headers={"x-key": "marked-key"})
    assert ["x-key: marked-key" in request for request in upstream.requests] == [True, False]
    assert answer.body == b'{"you sent": "***"}'
    with pytest.raises(RefusedError, match=r"\*\*\* is no key"):
        await fetcher.get(upstream.address("/no"), secret_headers={"x-key": "marked-key"})


async def test_no_error_tells_the_query_or_the_user_of_an_address(fetcher):
    with pytest.raises(UpstreamError) as error:
        await fetcher.get("http://user:hidden@127.0.0.1:1/feed?token=hidden#hidden")
    assert "hidden" not in str(error.value)
    assert "http://127.0.0.1:1/feed" in str(error.value)


@pytest.mark.parametrize("address", ["", "feed", "http://[::1", "file:///etc/passwd", "http://\x00/", "http://a b/"])
async def test_an_address_that_is_none_is_an_error_of_the_upstream(fetcher, address):
    with pytest.raises(UpstreamError):
        await fetcher.get(address)


async def test_the_faults_of_a_stand_in_are_errors_in_time(make_fetcher):
    said = {}
    async with running_exchange(ExchangeOptions(port=0)) as exchange:
        for kind in ("slow_drip", "cut_body", "gzip_bomb", "huge", "redirect_ring"):
            exchange.context_faults.lay(Fault(on="fear_greed", kind=kind, drip=1, pause=0.05))
            with pytest.raises(UpstreamError) as error:
                await make_fetcher(within=1.0 if kind == "slow_drip" else 60.0).get(
                    exchange.rest_url + "/fng/", params={"limit": "0"}
                )
            said[kind] = str(error.value)
    assert "no whole answer within" in said["slow_drip"]
    assert "larger" in said["gzip_bomb"]
    assert "redirected" in said["redirect_ring"]


async def test_it_asks_few_questions_at_the_same_time():
    under_way = most = 0

    async def answer(_request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    async with new_client(httpx.MockTransport(answer)) as client:
        fetcher = Fetcher(client, lambda: NOW)
        await asyncio.gather(*(fetcher.get(f"http://feed{number}/") for number in range(200)))
    assert most == 8
