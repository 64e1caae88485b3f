"""Indicators against an independent library on real candles; and that none of them looks ahead."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
import talib
import zstandard
from hypothesis import given, strategies as st
from polars.testing import assert_frame_equal

from tapehouse.market import indicators
from tapehouse.market.windows import DAY, INTERVALS

FIVE_MINUTES = INTERVALS["5m"]
EXACT = 1e-9
COLUMNS = ["opened_at", "open", "high", "low", "close", "volume", "closed_at", "quote_volume"]


@pytest.fixture(scope="module")
def august(recordings) -> pl.DataFrame:
    """The 5m candles of BTCUSDT in August 2024, with the crash of the 5th."""
    packed = (recordings / "2-klines" / "BTCUSDT-spot-5m-2024-08.csv.zst").read_bytes()
    text = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    rows = pl.read_csv(text, has_header=False).select(pl.nth(*range(8)))
    rows.columns = COLUMNS
    return rows.with_columns(
        pl.col("opened_at") * 1000, pl.col("open", "high", "low", "close", "volume", "quote_volume").cast(pl.Float64)
    )


def assert_equal(candles: pl.DataFrame, ours: pl.Expr, theirs: np.ndarray, *, from_row: int = 0) -> None:
    found = candles.select(ours).to_series().to_numpy()
    told = ~np.isnan(theirs)
    told[:from_row] = False
    assert told.sum() > 1000
    assert np.allclose(found[told], theirs[told], rtol=EXACT, atol=0)


@pytest.mark.recordings
@pytest.mark.parametrize("length", [2, 14, 200])
def test_averages_and_the_strength_index_equal_those_of_ta_lib(august, length):
    close = august["close"].to_numpy()
    assert_equal(august, indicators.sma(length), talib.SMA(close, length))
    assert_equal(august, indicators.ema(length), talib.EMA(close, length))
    assert_equal(august, indicators.rsi(length), talib.RSI(close, length))


@pytest.mark.recordings
def test_bands_and_the_true_range_equal_those_of_ta_lib(august):
    high, low, close = (august[name].to_numpy() for name in ("high", "low", "close"))
    bands = indicators.bollinger(20, 2)
    for name, theirs in zip(("upper", "middle", "lower"), talib.BBANDS(close, 20, 2, 2), strict=True):
        assert_equal(august, bands[f"bollinger_{name}"], theirs)
    assert_equal(august, indicators.atr(14), talib.ATR(high, low, close, 14))


@pytest.mark.recordings
def test_macd_equals_that_of_ta_lib_once_both_have_forgotten_where_they_began(august):
    theirs = talib.MACD(august["close"].to_numpy(), 12, 26, 9)
    for column, told in zip(indicators.macd(12, 26, 9).values(), theirs, strict=True):
        found = august.select(column).to_series().to_numpy()
        assert np.allclose(found[600:], told[600:], rtol=EXACT, atol=1e-9)  # the histogram passes through zero


@pytest.mark.recordings
def test_macd_equals_the_averages_of_ta_lib_at_every_candle(august):
    """TA-Lib's own MACD begins its fast average with the slow one; of its averages there is one for every candle."""
    close = august["close"].to_numpy()
    line = talib.EMA(close, 12) - talib.EMA(close, 26)
    signal = after_nothing(talib.EMA(line[25:], 9), len(line))
    found = august.select(**indicators.macd(12, 26, 9))
    for name, told in {"macd": line, "macd_signal": signal, "macd_histogram": line - signal}.items():
        ours = found[name].to_numpy()
        assert np.array_equal(np.isnan(ours), np.isnan(told)), name
        assert np.allclose(ours, told, rtol=EXACT, atol=1e-9, equal_nan=True), name


@pytest.mark.recordings
def test_correlation_and_beta_equal_those_of_numpy_at_every_candle(august):
    frame = august.with_columns(market=pl.col("open"))
    returns = np.diff(np.log(frame.select("close", "market").to_numpy()), axis=0)
    covariances = [np.cov(window) for window in windows(returns, 30)]
    correlations = [each[0, 1] / math.sqrt(each[0, 0] * each[1, 1]) for each in covariances]
    betas = [each[0, 1] / each[1, 1] for each in covariances]
    assert_equal(frame, indicators.correlation(30, "market"), after_nothing(correlations, frame.height))
    assert_equal(frame, indicators.beta(30, "market"), after_nothing(betas, frame.height))


@pytest.mark.recordings
def test_the_drawdown_equals_that_of_numpy_at_every_candle(august):
    close = august["close"].to_numpy()
    highest = np.array([close[max(place - 199, 0) : place + 1].max() for place in range(len(close))])
    assert_equal(august, indicators.drawdown(200) + 1, np.where(np.arange(len(close)) < 199, np.nan, close / highest))


@pytest.mark.recordings
@pytest.mark.parametrize("length", [30, 100])
def test_volatilities_equal_those_of_numpy_at_every_candle(august, length):
    opened, high, low, close = (august[name].to_numpy() for name in ("open", "high", "low", "close"))
    yearly = 365 * DAY / FIVE_MINUTES
    deviations = windows(np.diff(np.log(close)), length).std(axis=1, ddof=1)
    reach, moved = np.log(high / low) ** 2, np.log(close / opened) ** 2
    parkinson = windows(reach, length).mean(axis=1) / (4 * math.log(2))
    garman_klass = windows(0.5 * reach - (2 * math.log(2) - 1) * moved, length).mean(axis=1)
    expected = {
        indicators.volatility: deviations * math.sqrt(yearly),
        indicators.parkinson: np.sqrt(parkinson * yearly),
        indicators.garman_klass: np.sqrt(garman_klass * yearly),
    }
    for ours, theirs in expected.items():
        assert_equal(august, ours(length, FIVE_MINUTES), after_nothing(theirs, august.height))


@pytest.mark.recordings
def test_prices_by_volume_begin_anew_with_their_window_day_or_anchor(august):
    quote_volume, volume = (august[name].to_numpy() for name in ("quote_volume", "volume"))
    rolling = windows(quote_volume, 20).sum(axis=1) / windows(volume, 20).sum(axis=1)
    assert_equal(august, indicators.vwap(20), after_nothing(rolling, august.height))
    starts = np.flatnonzero(august["opened_at"].to_numpy() % DAY == 0)
    assert len(starts) == 31
    days = zip(np.split(quote_volume, starts[1:]), np.split(volume, starts[1:]), strict=True)
    session = np.concatenate([np.cumsum(quotes) / np.cumsum(traded) for quotes, traded in days])
    assert_equal(august, indicators.session_vwap(), session)
    anchored = indicators.anchored_vwap(august["opened_at"][500])
    since = np.cumsum(quote_volume[500:]) / np.cumsum(volume[500:])
    assert_equal(august, anchored, after_nothing(since, august.height))
    assert august.select(anchored).to_series()[:500].null_count() == 500


def windows(values: np.ndarray, length: int) -> np.ndarray:
    """Every run of so many values, or rows, that follow each other."""
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=0)


def after_nothing(values: Sequence[float], height: int) -> np.ndarray:
    """The values at the end of `height` rows, nothing before them."""
    return np.concatenate([np.full(height - len(values), np.nan), values])


def candles(closes: list[float]) -> pl.DataFrame:
    close = pl.Series(closes, dtype=pl.Float64)
    opened = range(0, len(closes) * FIVE_MINUTES, FIVE_MINUTES)
    moving = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close, "market": close[::-1]}
    return pl.DataFrame({"opened_at": opened, **moving}).with_columns(volume=pl.lit(2.0), quote_volume=close * 2)


def everything() -> dict[str, pl.Expr]:
    given = {"interval": FIVE_MINUTES, "anchor": FIVE_MINUTES, "against": "market"}
    shorter = {"length": 10}
    found = {}
    for each in indicators.INDICATORS.values():
        parameters = shorter if each.parameters.keys() == shorter.keys() else each.parameters
        found |= each.columns(**parameters, **{name: given[name] for name in each.needs})
    return found


@given(st.lists(st.floats(1, 1e6), min_size=60, max_size=90), st.integers(1, 59))
def test_no_value_changes_when_later_candles_come(closes, length):
    whole = candles(closes)
    known = whole.select(**everything())[:length]
    then = whole[:length].select(**everything())
    for name in known.columns:
        assert np.array_equal(known[name].to_numpy(), then[name].to_numpy(), equal_nan=True), name


@pytest.mark.recordings
@pytest.mark.parametrize("known", [30, 289, 1440, 8000])
def test_no_value_of_real_candles_changes_by_a_bit_when_later_ones_come(august, known):
    real = august.with_columns(market=pl.col("open"))
    assert_frame_equal(real.select(**everything())[:known], real[:known].select(**everything()), check_exact=True)


def test_a_price_that_never_moves_has_no_strength_and_no_drawdown():
    flat = candles([5.0] * 40).select(rsi=indicators.rsi(14), drawdown=indicators.drawdown(30))
    assert flat["rsi"].null_count() == 40
    assert set(flat["drawdown"]) == {None, 0.0}
