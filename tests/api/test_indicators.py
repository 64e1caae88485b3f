"""Indicators of each window: told as asked for, the same however many are asked for, refused with how to ask."""

import pytest

from tapehouse.market.windows import INTERVALS, MINUTE

MINUTES = 30


@pytest.mark.usefixtures("told")
def test_indicators_are_told_for_each_window_the_open_one_last(api):
    answer = api.get("/indicators/BTCUSDT?indicators=sma:5,ema,drawdown:10&limit=4").json()
    closes = [100.3 + (minute * 7) % 11 for minute in range(MINUTES)]
    last = answer["windows"][-1]
    assert answer["count"] == len(answer["windows"]) == 4
    assert last["state"] == "open"
    assert last["sma_5"] == pytest.approx(sum(closes[-5:]) / 5)
    assert "ema" in last
    assert last["drawdown_10"] == pytest.approx(closes[-1] / max(closes[-10:]) - 1)


@pytest.mark.parametrize(
    "wrong", ["wma", "sma:0", "sma:1.5", "sma:9999", "sma:5:6", "macd:26:12:9", "rsi:", ",".join(["sma"] * 13)]
)
def test_an_indicator_that_cannot_be_is_refused_with_what_there_is(api, wrong):
    answer = api.get("/indicators/BTCUSDT", params={"indicators": wrong})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert "indicators" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        ("anchored_vwap", "anchor"),
        ("beta", "against"),
        ("correlation", "against"),
        ("anchored_vwap&anchor=2020-01-01", "longer interval"),
    ],
)
def test_an_indicator_without_what_it_needs_is_refused_with_how_to_ask(api, asked, lacks):
    answer = api.get(f"/indicators/BTCUSDT?indicators={asked}")
    assert answer.status_code == 422
    assert lacks in answer.json()["detail"]


def test_an_indicator_does_not_depend_on_how_many_windows_are_asked_for(market, api, restless):
    names = "rsi,atr,ema,macd,bollinger,vwap,volatility,parkinson,garman_klass,drawdown,correlation,beta"
    for interval in INTERVALS:
        market.view.publish([], [*restless(interval, 1_300), *restless(interval, 1_300, "ETHUSDT")])
        path = f"/indicators/BTCUSDT?indicators={names}&against=ETHUSDT&interval={interval}&limit="
        [[one], many] = (api.get(f"{path}{limit}").json()["windows"] for limit in (1, 500))
        assert len(many) == 500
        assert [one.pop(name) for name in ("opened_at", "state")] == [many[-1].pop(n) for n in ("opened_at", "state")]
        assert one == pytest.approx(many[-1], rel=1e-9, abs=0), interval


@pytest.mark.usefixtures("told")
def test_a_session_s_average_price_begins_with_the_day_however_few_windows_are_asked_for(api):
    path = "/indicators/BTCUSDT?indicators=session_vwap&limit="
    [last] = api.get(path + "1").json()["windows"]
    assert last == api.get(path + "200").json()["windows"][-1]


@pytest.mark.usefixtures("told")
def test_an_anchored_average_price_begins_at_its_anchor(api, start):
    anchor = (start + 20 * MINUTE) // 1000
    windows = api.get(f"/indicators/BTCUSDT?indicators=anchored_vwap&anchor={anchor}").json()["windows"]
    assert [window["anchored_vwap"] for window in windows[:20]] == [None] * 20
    prices = [100 + (minute * 7) % 11 for minute in range(20, MINUTES)]
    expected = sum(2 * (price + 0.1) + 0.5 * (price + 0.3) for price in prices) / (2.5 * len(prices))
    assert windows[-1]["anchored_vwap"] == pytest.approx(expected)


@pytest.mark.usefixtures("told")
def test_a_symbol_is_compared_window_by_window_with_another(api):
    asked = "indicators=correlation:10,beta:10,volatility:10,parkinson:10,garman_klass:10&against=ethusdt&limit=3"
    answer = api.get(f"/indicators/BTCUSDT?{asked}").json()
    last = answer["windows"][-1]
    assert answer["against"] == "ETHUSDT"
    assert last["correlation_10"] == pytest.approx(1.0, abs=1e-4)
    assert last["beta_10"] == pytest.approx(1.0, abs=1e-2)
    assert min(last["volatility_10"], last["parkinson_10"], last["garman_klass_10"]) >= 0
