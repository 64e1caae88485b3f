"""Analytics and indicators over a little market: exact where it counts, honest about what was held."""

import json
import time
from decimal import Decimal

import pytest

from tapehouse.market.windows import MINUTE, opened_at

MINUTES = 30


@pytest.fixture
def start() -> int:
    """Half an hour ago, at a full minute."""
    return opened_at(time.time_ns() // 1000, "1m") - MINUTES * MINUTE


@pytest.fixture
def told(market, start):
    """Half an hour of trades of two symbols that move alike, one price a minute, the first half stored."""
    for minute in range(MINUTES):
        at = start + minute * MINUTE
        price = 100 + (minute * 7) % 11
        market.tell(
            market.trade(f"{price}.1", "2", at=at, side="sell"),
            market.trade(f"{price}.3", "0.5", at=at + 1),
            market.trade(f"{price * 2}", "1", symbol="ETHUSDT", at=at),
        )
        if minute == MINUTES // 2:
            market.commit()
    return market


def exactly(answer):
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


@pytest.mark.usefixtures("told")
def test_the_hour_is_merged_from_its_trades_to_the_last_digit(api):
    hour = exactly(api.get("/analytics/btcusdt"))["periods"]["1h"]
    prices = [100 + (minute * 7) % 11 for minute in range(MINUTES)]
    bought = sum(Decimal(f"{price}.3") * Decimal("0.5") for price in prices)
    quote = bought + sum(Decimal(f"{price}.1") * 2 for price in prices)
    assert (hour["open"], hour["close"]) == (Decimal("100.1"), Decimal(f"{prices[-1]}.3"))
    assert (hour["high"], hour["low"]) == (Decimal("110.3"), Decimal("100.1"))
    assert hour["change"] == hour["close"] - hour["open"]
    assert (hour["volume"], hour["quote_volume"]) == (Decimal(75), quote)
    assert hour["trades"] == 2 * MINUTES
    assert hour["vwap"] == (quote / 75).quantize(Decimal("1e-8"))
    assert hour["taker_buy_ratio"] == Decimal("0.2")


@pytest.mark.usefixtures("told")
def test_each_period_says_how_many_of_its_windows_were_held_and_proved(api):
    periods = api.get("/analytics/BTCUSDT").json()["periods"]
    hour = periods["1h"]["completeness"]
    assert (hour["interval"], hour["windows"], hour["held"]) == ("1m", 60, MINUTES)
    assert 0 < hour["proved"] < MINUTES
    assert {period: told["completeness"]["windows"] for period, told in periods.items()} == {
        "1h": 60,
        "24h": 96,
        "7d": 168,
    }


def test_a_hole_is_counted_among_the_gaps(told, api):
    told.skip(3)
    told.tell(told.trade("100"), told.trade("100"))
    assert api.get("/analytics/BTCUSDT").json()["periods"]["1h"]["completeness"]["gaps"] >= 1


def test_symbols_that_move_alike_correlate_once_they_share_enough(market, api, start):
    for quarter in range(20):
        at = start - quarter * 15 * MINUTE
        price = 100 + (quarter * 7) % 11
        market.tell(market.trade(f"{price}", at=at), market.trade(f"{price * 2}", symbol="ETHUSDT", at=at))
    found = api.get("/analytics/BTCUSDT").json()["correlations"]
    assert found["with"]["ETHUSDT"] == pytest.approx(1.0)


def test_too_little_history_has_no_correlation_and_no_volatility(market, api):
    market.tell(market.trade("1"), market.trade("1", symbol="ETHUSDT"))
    answer = api.get("/analytics/BTCUSDT").json()
    assert answer["correlations"]["with"] == {"ETHUSDT": None}
    assert set(answer["periods"]["1h"]["volatility"].values()) == {None}


def test_a_symbol_that_has_not_traded_has_empty_periods(api):
    hour = api.get("/analytics/BTCUSDT").json()["periods"]["1h"]
    assert (hour["start"], hour["completeness"]["held"]) == (None, 0)


@pytest.mark.usefixtures("told")
def test_indicators_are_told_for_each_window_the_open_one_last(api):
    answer = api.get("/indicators/BTCUSDT?indicators=sma:5,ema,drawdown&limit=4").json()
    closes = [100.3 + (minute * 7) % 11 for minute in range(MINUTES)]
    last = answer["windows"][-1]
    assert answer["count"] == len(answer["windows"]) == 4
    assert last["state"] == "open"
    assert last["sma_5"] == pytest.approx(sum(closes[-5:]) / 5)
    assert {"ema", "drawdown"} <= last.keys()


@pytest.mark.usefixtures("told")
def test_the_newest_value_comes_with_the_analytics_when_asked_for(api):
    assert api.get("/analytics/BTCUSDT").json()["indicators"] is None
    newest = api.get("/analytics/BTCUSDT?indicators=rsi,macd&interval=1m").json()["indicators"]
    [window] = newest["windows"]
    assert 0 <= window["rsi"] <= 100
    assert {"macd", "macd_signal", "macd_histogram"} <= window.keys()


@pytest.mark.parametrize(
    "wrong", ["wma", "sma:0", "sma:1.5", "sma:9999", "sma:5:6", "macd:26:12:9", "rsi:", ",".join(["sma"] * 13)]
)
def test_an_indicator_that_cannot_be_is_refused_with_what_there_is(api, wrong):
    answer = api.get("/indicators/BTCUSDT", params={"indicators": wrong})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "indicators" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/analytics/DOGE", "/indicators/DOGE"])
def test_a_symbol_that_is_not_held_is_a_404(api, path):
    assert api.get(path).status_code == 404
