"""A tape with signals in it, engines over one lake that find them, and what the lake has of them."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from random import Random

import pytest

from tapehouse.catalog import CANDLES, SIGNALS
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.market.seasons import Seasons
from tapehouse.market.signals import Detection, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import INTERVALS
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import candle_rows, signals_of
from tapehouse.streaming.view import LiveView

START = 1_723_161_600_000  # milliseconds, the beginning of a day
MINUTES = 130
KEEN = Detection(
    intervals=("1m", "5m"),
    baseline=20,
    volume_score=3.0,
    outlier_score=4.0,
    vwap_score=2.5,
    taker_score=2.0,
    volatility_ratio=1.5,
    minimum_quote_volume=0,
)


@pytest.fixture
def keen() -> Detection:
    """Sees much in little."""
    return KEEN


@pytest.fixture
def tape() -> list[tuple[int, bytes]]:
    """Two hours of four trades a minute; in minute 90 one of them is enormous and far off."""
    return list(make_trades(Random(4), {90: (Decimal(400), Decimal(90))}))


def make_trades(
    random: Random, special: dict[int, tuple[Decimal, Decimal]], rises_at: int = -1
) -> Iterator[tuple[int, bytes]]:
    price = Decimal(100)
    for number in range(MINUTES * 4):
        price *= Decimal("1.08") if number == rises_at else 1
        minute, part = divmod(number, 4)
        at = START + minute * 60_000 + part * 15_000 + random.randrange(10_000)
        price = round(price * (1 + Decimal(random.gauss(0, 0.0005))), 4)
        quantity = round(Decimal(random.lognormvariate(0, 0.3)), 3)
        size, told = special[minute] if part == 2 and minute in special else (quantity, price)
        fields = {"e": "trade", "E": at, "s": "BTCUSDT", "t": 1000 + number, "p": f"{told}", "q": f"{size}"}
        frame = {"stream": "btcusdt@trade", "data": {**fields, "T": at, "m": random.random() < 0.5}}
        yield at * 1000, json.dumps(frame).encode()


@pytest.fixture
def trades() -> Callable[..., Iterator[tuple[int, bytes]]]:
    """Two hours of four trades a minute; the third of a special minute has that quantity and price."""
    return make_trades


class Engines:
    """Starts engines over one lake, on a clock that goes with the tape and on from where it was."""

    def __init__(self, lake) -> None:
        self.lake = lake
        self.view = LiveView()
        self._steps = itertools.count(1)
        self._at = START * 1000

    def now(self) -> int:
        return self._at + next(self._steps)

    def advance(self, microseconds: int) -> None:
        self._at += microseconds

    def start(self) -> EmbeddedEngine:
        self.view = LiveView()
        return EmbeddedEngine(self.lake, self.view, recover(self.lake, ["BTCUSDT"], KEEN), now=self.now)

    def fold(self, engine: EmbeddedEngine, frames) -> None:
        self._at = max(self._at, frames[-1][0])
        engine.fold([Batch([frame for _, frame in frames], [at for at, _ in frames])])


@pytest.fixture
def engines(lake) -> Engines:
    return Engines(lake)


def standing_of(signals: Iterable[Signal]) -> dict:
    """Give what counts of the newest revision of each signal that is not retracted."""
    newest = {(s.kind, s.interval, s.opened_at): s for s in sorted(signals, key=lambda s: s.revision)}
    return {key: (s.score, s.state, s.evidence) for key, s in newest.items() if s.state != "retracted"}


@pytest.fixture
def standing() -> Callable[[Iterable[Signal]], dict]:
    return standing_of


class Stored:
    """The signals of a lake."""

    def __init__(self, lake: DeltaLake) -> None:
        self._lake = lake

    def signals(self) -> list[Signal]:
        return signals_of(self._lake.scan(SIGNALS).sort("known_at", "opened_at", "revision").collect())

    def standing(self) -> dict:
        return standing_of(self.signals())

    def outliers(self, *openings: int) -> list[Signal]:
        found = [s for s in self.signals() if (s.kind, s.interval) == ("price_outlier", "1m")]
        return [s for s in found if s.opened_at in openings]

    def of_batch(self) -> dict:
        """Give what follows from the newest candles of the lake, each taken once and in order."""
        candles = candle_rows(highest_revisions(self._lake.scan(CANDLES)).sort("opened_at").collect())
        found: list[Signal] = []
        for interval in KEEN.intervals:
            rows = [row for row in candles if row.interval == interval]
            origin = rows[0].opened_at - reach(KEEN) * INTERVALS[interval]
            watch = Watch("BTCUSDT", interval, origin, KEEN, Seasons(rows[0].opened_at))
            for row in rows:
                watch.put(row)
            found += watch.derive(0)
        return standing_of(found)

    def assert_unique(self) -> None:
        """Hold that the revisions of each signal are there once each, counted from 1 as time went on."""
        keys = ["kind", "symbol", "interval", "opened_at", "revision"]
        rows = self._lake.scan(SIGNALS).collect()
        assert rows.select(keys).is_unique().all()
        for _, group in rows.sort("revision").group_by(keys[:-1]):
            assert group["revision"].to_list() == list(range(1, group.height + 1))
            assert group["known_at"].is_sorted()


@pytest.fixture
def stored(lake) -> Stored:
    return Stored(lake)
