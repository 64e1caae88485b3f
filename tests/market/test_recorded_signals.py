"""Signals on the exchange's own history: found where the record says, and no detector breaks on what is dirty."""

import io
import json
import math
from datetime import UTC, datetime

import msgspec
import pytest
import zstandard

from tapehouse.market.candles import Candle, merge_all
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import HOUR
from tapehouse.market.sentiments import sentiment_extreme
from tapehouse.market.signals import Detection
from tapehouse.market.windows import DAY

pytestmark = pytest.mark.recordings


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def roll_up(rows, interval: str, length: int):
    groups: dict[int, list] = {}
    for each in rows:
        groups.setdefault(each.opened_at // length * length, []).append(each)
    for opened, parts in sorted(groups.items()):
        whole = merge_all(part.candle for part in parts if part.candle)
        yield CandleRow(parts[0].symbol, interval, opened, whole, None, "closed", 1, 0)


@pytest.fixture(scope="module")
def summer(exchange_klines):
    """BTCUSDT in windows of five minutes, July and August 2024."""
    names = [f"2-klines/BTCUSDT-spot-5m-2024-{month}.csv.zst" for month in ("07", "08")]
    return [each for name in names for each in exchange_klines(name, "BTCUSDT", "5m")]


@pytest.fixture(scope="module")
def found(summer, batch):
    return batch(summer, Detection(), list(roll_up(summer, "1h", HOUR)))


def test_the_crash_of_august_2024_is_found_as_it_happened(found):
    low_of_the_crash = at("2024-08-05T01:10:00")
    assert {"volume_spike", "price_outlier"} <= {s.kind for s in found if s.opened_at == low_of_the_crash}
    assert "vwap_deviation" in {s.kind for s in found if 0 <= low_of_the_crash - s.opened_at <= HOUR}
    low = [s for s in found if s.kind == "price_outlier" and s.opened_at == at("2024-08-05T01:10:00")]
    assert [(s.score < -4, s.state) for s in low] == [(True, "confirmed")]
    assert low[0].evidence["jump"] == pytest.approx(math.log(52_300 / 54_845), abs=0.01)


def test_hourly_and_daily_history_goes_through_the_same_detectors(summer, batch, recordings, as_row):
    hourly = list(roll_up(summer, "1h", HOUR))
    kinds = {signal.kind for signal in batch(hourly, Detection(volume_score=3.0), hourly)}
    assert {"volume_spike", "price_outlier"} <= kinds
    packed = (recordings / "8-history" / "binance_btcusdt_1d_2019-09_2026-06.json.zst").read_bytes()
    rows = json.loads(zstandard.ZstdDecompressor().decompress(packed))
    daily = [as_row([str(part) for part in each], "BTCUSDT", "1d") for each in rows]
    outliers = [signal for signal in batch(daily) if signal.kind == "price_outlier"]
    assert at("2020-03-12") in {signal.opened_at for signal in outliers}


def coinbase(recordings):
    packed = (recordings / "8-history" / "coinbase_BTC-USD_4h_2016_2025.json.zst").read_bytes()
    for told in json.loads(zstandard.ZstdDecompressor().decompress(packed))["candles"]:
        yield without_sides("BTCUSD", "4h", int(told["start"]) * 1_000_000, told)


def without_sides(symbol: str, interval: str, opened: int, told: dict) -> CandleRow:
    """A candle of a source that does not say who was the taker, nor what was paid in all."""
    o, h, low, c, v = (round(float(told[name]) * 1e8) for name in ("open", "high", "low", "close", "volume"))
    if not v:
        return CandleRow(symbol, interval, opened, None, c, "quiet", 1, 0)
    return CandleRow(symbol, interval, opened, Candle(o, h, low, c, v, v * c, 1, -1, -1, 0, 0), None, "closed", 1, 0)


def test_the_bad_tick_of_six_cents_is_flagged_as_one_and_does_not_hide_what_follows(recordings, batch):
    rows = [each for each in coinbase(recordings) if each.opened_at < at("2017-07-01")]
    told = batch(rows)
    tick = min(rows, key=lambda each: each.candle.low)
    assert tick.candle.low == 6_000_000
    [flagged] = [s for s in told if s.kind == "price_outlier" and s.opened_at == tick.opened_at]
    assert flagged.score < -100
    assert abs(flagged.evidence["kept"]) < 0.05
    after = [s for s in told if tick.opened_at < s.opened_at <= tick.opened_at + 60 * DAY]
    assert not [s for s in after if s.kind == "price_outlier" and s.opened_at <= tick.opened_at + DAY]
    mended = msgspec.structs.replace(tick.candle, low=min(tick.candle.open, tick.candle.close))
    honest = batch([msgspec.structs.replace(tick, candle=mended) if each is tick else each for each in rows])
    assert [s for s in told if s.kind == "price_outlier" and s is not flagged] == [
        s for s in honest if s.kind == "price_outlier" and s.opened_at != tick.opened_at
    ]
    assert [s for s in told if s.kind == "volume_spike"] == [s for s in honest if s.kind == "volume_spike"]
    regimes = [sum(s.kind == "volatility_regime" for s in each) for each in (told, honest)]
    assert abs(regimes[0] - regimes[1]) <= 1
    assert not [s for s in told if s.kind == "taker_imbalance"]


def test_dirty_files_and_holes_of_days_break_nothing(recordings, batch):
    """Hours out of order and twice with other prices, a first price that is absurd, an outage of eight days."""
    rows = []
    with (recordings / "8-history" / "cdd_Binance_BTCUSDT_1h.csv.zst").open("rb") as stored:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored), "utf-8")
        next(lines)
        for line in lines:
            unix, _, _, o, h, low, c, v, *_ = line.split(",")
            stamp = int(float(unix))
            opened = stamp * (1_000_000 if stamp < 10**11 else 1000)
            told = dict(zip(("open", "high", "low", "close", "volume"), (o, h, low, c, v), strict=True))
            rows.append(without_sides("BTCUSDT", "1h", opened // HOUR * HOUR, told))
    rows.sort(key=lambda each: each.opened_at)
    assert len({each.opened_at for each in rows}) < len(rows)
    told = batch(rows)
    assert all(math.isfinite(signal.score) for signal in told)
    stood = {(s.kind, s.opened_at // DAY * DAY) for s in told}
    assert {("price_outlier", at("2020-03-12")), ("volume_spike", at("2020-03-12"))} & stood


def test_the_extremes_of_fear_and_greed_are_told_on_their_first_day(recordings):
    told = json.loads((recordings / "6-fng" / "fng_2018-02-01_2021-12-31.json").read_text())
    values = {int(day["timestamp"]) * 1_000_000 // DAY * DAY: int(day["value"]) for day in told}
    found = {day: sentiment_extreme(values, day, Detection()) for day in values}
    fires = [day for day, finding in found.items() if finding.fires]
    assert at("2020-03-09") in fires or at("2020-03-08") in fires
    for day in fires:
        assert not 25 < values[day] < 75
        assert values.get(day - DAY, 50) > 25 or values[day] >= 75 or day - DAY not in values
    assert 20 < len(fires) < 200
    assert sentiment_extreme(values, at("2018-04-14"), Detection()) is None
