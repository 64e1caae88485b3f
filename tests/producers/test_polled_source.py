"""A source as a whole: before stand-ins on real sockets that misbehave, and beside another one that polls the same."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tapehouse.exchange.context.faults import Fault
from tapehouse.exchange.main import ExchangeOptions, running_exchange
from tapehouse.market.events import Rejected
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Clock
from tapehouse.profiles.sources import polled_sources
from tapehouse.settings import Settings
from tapehouse.streaming.context import Context

NAMES = ("coingecko", "fear_greed", "newsapi")
EXPLAINED = {"coingecko": "market_data", "fear_greed": "sentiment", "newsapi": "news"}


@pytest.fixture
async def exchange():
    async with running_exchange(ExchangeOptions(rate=1.0)) as exchange:
        yield exchange


@pytest.fixture
async def make(exchange, tmp_path, monkeypatch):
    """Make a source of a name before the stand-ins; each has a memory of its own, as processes have."""
    monkeypatch.setenv("NEWSAPI_KEY", "key")
    exchange.context_faults.clear()
    made = []

    def make(name: str) -> PolledSource:
        settings = Settings(
            _env_file=None,
            state=tmp_path / str(len(made)),
            coingecko_url=exchange.coingecko_url,
            fear_greed_url=exchange.fear_greed_url,
            newsapi_url=exchange.newsapi_url,
            newsapi_query="bitcoin OR the",
            rss_feeds=tuple(exchange.feed_urls),
            coingecko_history=False,
            coingecko_per_minute=1000,
        )
        made.append(polled_sources(settings, [name], Clock(), lambda: ["BTCUSDT", "ETHUSDT"])[0])
        return made[-1]

    yield make
    exchange.context_faults.clear()


@asynccontextmanager
async def running(tape, *sources: PolledSource) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(source.run(tape)) for source in sources]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for source in sources:
            await source.close()


def asked(source: PolledSource) -> list:
    return [poll for poll in source.status().connections if poll.state != "idle"]


def taken(batches) -> tuple[list[tuple[str, str]], list[Rejected]]:
    """Return what the engine makes of it: the keys that get a row, and what is refused."""
    context = Context()
    versions, rejected = [], []
    for batch in batches:
        new, refused = context.take(batch)
        versions += [(version.observation.source, version.observation.key) for version in new]
        rejected += refused
    return versions, rejected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in NAMES for kind in ("truncated", "html")),
        ("coingecko", "wrong_charset"),
        ("fear_greed", "wrong_charset"),
    ],
)
async def test_an_answer_that_is_spoilt_is_refused_whole_and_told_as_a_failure(
    exchange, make, reading, eventually, name, kind
):
    exchange.context_faults.lay(Fault(on=name, kind=kind))
    source = make(name)
    async with running(reading.tape, source):
        await eventually(lambda: all(poll.failures for poll in asked(source)))
        assert reading.frames
        assert not source.status().connected
        assert source.status().last_error
    versions, rejected = taken(reading.batches)
    assert versions == []
    assert rejected
    assert {refused.topic.replace("-", "_") for refused in rejected} == {EXPLAINED[name]}
    assert {refused.payload for refused in rejected} == set(reading.frames)


async def test_articles_in_another_charset_than_declared_are_refused_one_by_one(exchange, make, reading):
    exchange.context_faults.lay(Fault(on="newsapi", kind="wrong_charset"))
    async with running(reading.tape, make("newsapi")):
        frames = await reading.until(lambda frames: frames)
    versions, rejected = taken(reading.batches)
    assert versions == []
    assert len(frames) > 1
    assert [refused.payload for refused in rejected] == list(dict.fromkeys(frames))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "fault", [{"kind": "slow_drip", "drip": 4096, "pause": 0.001}, {"kind": "moved"}], ids=lambda fault: fault["kind"]
)
async def test_an_answer_that_comes_in_drops_or_from_elsewhere_is_stored(
    exchange, make, reading, eventually, name, fault
):
    exchange.context_faults.lay(Fault(on=name, **fault))
    source = make(name)
    async with running(reading.tape, source):
        await eventually(lambda: all(poll.fresh for poll in asked(source)))
        assert reading.frames
    versions, rejected = taken(reading.batches)
    assert versions
    assert rejected == []


@pytest.mark.parametrize("name", [*NAMES, "rss"])
async def test_two_pollers_of_the_same_source_make_one_row_of_what_both_are_told(make, reading, eventually, name):
    both = make(name), make(name)
    async with running(reading.tape, *both):
        await eventually(lambda: all(poll.fresh for source in both for poll in asked(source)))
        assert reading.frames
    versions, rejected = taken(reading.batches)
    assert rejected == []
    assert len(versions) < len(reading.frames)
    if name != "coingecko":  # whose prices change between two questions
        assert len(versions) == len(set(versions)) == len(reading.frames) / 2
