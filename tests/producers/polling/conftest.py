"""A source of upstreams with one address each, started as often as a test likes, on a clock of its own."""

from collections.abc import Callable
from random import Random

import pytest

from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Found
from tapehouse.tape.local import LocalTape


class Page:
    """An upstream with one address, whose whole answer is one frame."""

    source, shape = "coingecko", "market_data"

    def __init__(self, name="page", interval=60.0, fails=None, can_end=True) -> None:
        self.name, self.interval, self._fails, self.can_end = name, interval, fails, can_end

    async def fetch(self, ask) -> Found:
        answer = await ask(f"http://{self.name}/")
        if self._fails:
            raise self._fails
        return Found() if answer.not_modified else Found([answer.body])


@pytest.fixture
def upstream() -> type[Page]:
    return Page


@pytest.fixture
def start(tmp_path, time, world):
    """Make the source of some upstreams: a restart when it is called again."""

    def make(*upstreams, **options) -> PolledSource:
        return PolledSource(
            "page",
            upstreams or (Page(),),
            tmp_path,
            clock=time.clock,
            transport=world.transport(),
            random=Random(1),
            **options,
        )

    return make


@pytest.fixture
def tape() -> LocalTape:
    return LocalTape()


@pytest.fixture
def state() -> Callable[[PolledSource], str]:
    """What a source says of its first address."""
    return lambda source: source.status().connections[0].state
