"""Candles for the detectors: made up, and those the exchange told."""

import io
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from random import Random

import pytest
import zstandard

from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import Seasons
from tapehouse.market.signals import Detection, Signal
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import INTERVALS, MINUTE, opened_at

START = 1_723_161_600_000_000
UNIT = 10**8
DEFAULT = Detection()

KEEN = Detection(
    baseline=20,
    volume_score=2.0,
    outlier_score=2.5,
    vwap_score=1.5,
    taker_score=1.5,
    volatility_ratio=1.3,
    minimum_quote_volume=0,
)

MakeRow = Callable[..., CandleRow]


def make_row(
    place: int,
    close: float = 100.0,
    volume: float = 10.0,
    *,
    before: float | None = None,
    high: float | None = None,
    low: float | None = None,
    bought: float = 0.5,
    state: str = "closed",
    revision: int = 1,
) -> CandleRow:
    """A 1m candle so many windows after START; `before` is its open, without a volume it is quiet."""
    opened, units = START + place * MINUTE, round(close * UNIT)
    if not volume:
        return CandleRow("BTCUSDT", "1m", opened, None, units, "quiet", revision, 0)
    first = round((close if before is None else before) * UNIT)
    size = round(volume * UNIT)
    highest = max(first, units) if high is None else round(high * UNIT)
    lowest = min(first, units) if low is None else round(low * UNIT)
    candle = Candle(
        open=first,
        high=highest,
        low=lowest,
        close=units,
        volume=size,
        quote_volume=size * units,
        trades=10,
        taker_buy_volume=round(size * bought),
        taker_buy_quote_volume=round(size * bought) * units,
        first_trade_id=place * 10,
        last_trade_id=place * 10 + 9,
    )
    return CandleRow("BTCUSDT", "1m", opened, candle, None, state, revision, 0)


def make_calm(length: int, seed: int = 1) -> list[CandleRow]:
    """A market that goes its way: small moves, volumes around ten, both sides."""
    random, close, rows = Random(seed), 100.0, []
    for place in range(length):
        before, close = close, round(close * (1 + random.gauss(0, 0.001)), 4)
        reach_ = abs(random.gauss(0, 0.0005))
        edges = {"high": max(before, close) * (1 + reach_), "low": min(before, close) * (1 - reach_)}
        volume, bought = random.lognormvariate(2.3, 0.4), random.uniform(0.3, 0.7)
        rows.append(make_row(place, close, volume, before=before, bought=bought, **edges))
    return rows


@pytest.fixture(scope="session")
def keen() -> Detection:
    """Sees much in little."""
    return KEEN


@pytest.fixture(scope="session")
def row() -> MakeRow:
    return make_row


@pytest.fixture(scope="session")
def calm() -> Callable[..., list[CandleRow]]:
    return make_calm


@pytest.fixture(scope="session")
def batch() -> Callable[..., list[Signal]]:
    """Every signal of candles taken once and in order, as a back-test does; `hours` are the 1h candles beside them."""

    def derive(
        rows: Sequence[CandleRow], detection: Detection = DEFAULT, hours: Sequence[CandleRow] = ()
    ) -> list[Signal]:
        first = rows[0]
        origin = first.opened_at - reach(detection) * INTERVALS[first.interval]
        seasons = Seasons(opened_at(hours[0].opened_at if hours else first.opened_at, "1h"))
        for hour in hours:
            seasons.put(hour)
        watch = Watch(first.symbol, first.interval, origin, detection, seasons)
        for each in rows:
            watch.put(each)
        return watch.derive(known_at=1)

    return derive


@pytest.fixture(scope="session")
def exchange_klines(recordings) -> Callable[[str, str, str], Iterator[CandleRow]]:
    """The candles of a recorded file of Binance's klines (CSV), as (file, symbol, interval)."""

    def read(name: str, symbol: str, interval: str) -> Iterator[CandleRow]:
        with (recordings / name).open("rb") as stored:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored), "utf-8"):
                yield kline_row(line.strip().split(","), symbol, interval)

    return read


@pytest.fixture(scope="session")
def as_row() -> Callable[[Sequence[str], str, str], CandleRow]:
    return kline_row


def kline_row(told: Sequence[str], symbol: str, interval: str) -> CandleRow:
    opened, trades = int(told[0]) * (1 if len(told[0]) > 13 else 1000), int(told[8])
    prices, (volume, bought) = [_units(text) for text in told[1:5]], (_units(told[5]), _units(told[9]))
    if not trades:
        return CandleRow(symbol, interval, opened, None, prices[3], "quiet", 1, 0)
    sums = (volume, _units(told[7], 16), trades, bought, _units(told[10], 16))
    return CandleRow(symbol, interval, opened, Candle(*prices, *sums, 0, trades - 1), None, "closed", 1, 0)


def _units(text: str, scale: int = 8) -> int:
    return int(Decimal(text).scaleb(scale))
