"""An engine over a real lake in a folder, and a small market for it."""

import itertools
import json
from collections.abc import Callable, Iterator
from random import Random

import pytest

from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView

START = 1_723_161_000_000  # milliseconds, 2024-08-08 23:50

Frames = list[tuple[int, bytes]]
"""When each was received (microseconds), and its bytes."""


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    lake = DeltaLake(str(tmp_path / "lake"))
    lake.create()
    return lake


@pytest.fixture
def start_engine() -> Callable[[DeltaLake], EmbeddedEngine]:
    """The normal start, on a clock that steps a third of a second a look, from the end of the last one on."""
    ticks = itertools.count((START + 3_600_000) * 1000, 333_333)

    def start(lake: DeltaLake) -> EmbeddedEngine:
        return EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT", "ETHUSDT"]), now=lambda: next(ticks))

    return start


@pytest.fixture
def market() -> Frames:
    """Twenty minutes over midnight of two symbols, some of them quiet, each trade of which was sent at once."""
    return sorted([*_tape("BTCUSDT", 1000, Random(1)), *_tape("ETHUSDT", 7, Random(2))])


def _tape(symbol: str, number: int, random: Random) -> Iterator[tuple[int, bytes]]:
    at = START
    while at < START + 20 * 60_000:
        amounts = {"p": f"{random.randint(1, 9)}.5", "q": f"0.{random.randint(1, 9)}"}
        fields = {"e": "trade", "E": at, "s": symbol, "t": number, **amounts, "T": at, "m": random.random() < 0.5}
        yield at * 1000, json.dumps({"stream": f"{symbol.lower()}@trade", "data": fields}).encode()
        number += 1
        at += random.choice([0, 0, 900, 4_000, 8_000, 9_000, 9_500, 130_000])


@pytest.fixture
def as_batch() -> Callable[..., Batch]:
    def make(frames: Frames, **about) -> Batch:
        return Batch(frames=[frame for _, frame in frames], received_at=[at for at, _ in frames], **about)

    return make
