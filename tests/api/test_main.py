import asyncio
import signal
import socket
import threading

import httpx
import pytest

from tapehouse.api import reads
from tapehouse.api.main import create_app, serve
from tapehouse.api.problems import ProblemError
from tapehouse.api.reads import Reads
from tapehouse.errors import ConfigError
from tapehouse.settings import Settings
from tapehouse.streaming.view import LiveView

PATIENCE = 10.0


async def test_the_server_takes_a_free_port_tells_it_and_ends_when_cancelled(market):
    app = create_app(market.view, market.lake, market.status, Settings())
    ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(app, "127.0.0.1", 0, lambda *place: ready.set_result(place)))
    host, port = await asyncio.wait_for(ready, PATIENCE)
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{host}:{port}/health")).status_code == 200
    serving.cancel()
    await asyncio.wait_for(asyncio.wait({serving}), PATIENCE)
    assert serving.cancelled()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port))


async def test_signals_are_left_to_the_platform(market):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    app = create_app(market.view, market.lake, market.status, Settings())
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(app, "127.0.0.1", 0, lambda *_: ready.set()))
    await asyncio.wait_for(ready.wait(), PATIENCE)
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    serving.cancel()
    await asyncio.wait({serving})


async def test_a_port_in_use_is_told_with_what_to_do(market):
    app = create_app(market.view, market.lake, market.status, Settings())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*TAPEHOUSE_API_PORT"):
            await serve(app, "127.0.0.1", port, lambda *_: None)


async def test_only_so_many_reads_wait_and_a_place_is_free_again_afterwards(monkeypatch):
    monkeypatch.setattr(reads, "MOST_WAITING", 3)
    slow, pool = threading.Event(), Reads()
    waiting = [asyncio.create_task(pool.run(slow.wait, PATIENCE)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ProblemError) as busy:
        await pool.run(slow.wait, PATIENCE)
    assert busy.value.status == 503
    slow.set()
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await pool.run(slow.wait, PATIENCE)
    pool.close()


@pytest.mark.parametrize(
    "path", ["prices/latest", "prices/BTCUSDT", "ohlc/BTCUSDT", "analytics/BTCUSDT", "market", "news", "signals"]
)
def test_where_nothing_is_known_as_the_lake_has_not_answered_yet_that_is_said_and_not_nothing(market, serving, path):
    market.view = LiveView()
    market.view.lake_error = "Cannot read s3://bucket: gone."
    with serving(market) as address:
        refused = httpx.get(f"{address}/{path}")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert httpx.get(f"{address}/metrics").status_code == 200
        assert "all waits for it" in httpx.get(f"{address}/health").json()["reasons"][0]
        market.view.lake_error = ""
        assert httpx.get(f"{address}/prices/latest").json() == {"prices": []}


async def test_a_read_that_takes_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(reads, "LONGEST", 0.05)
    slow, pool = threading.Event(), Reads()
    with pytest.raises(ProblemError) as busy:
        await pool.run(slow.wait, PATIENCE)
    assert (busy.value.status, busy.value.kind) == (503, "too-busy")
    slow.set()
    pool.close()
