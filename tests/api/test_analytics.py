"""Analytics over a little market: exact where it counts, honest about what was held."""

import json
import time
from datetime import datetime
from decimal import Decimal

import pytest

from tapehouse.market.context import Observation, Version
from tapehouse.market.signals import Signal
from tapehouse.market.windows import DAY, MINUTE, opened_at

MINUTES = 30


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
    assert found["with"]["ETHUSDT"]["correlation"] == pytest.approx(1.0)
    assert found["with"]["ETHUSDT"]["beta"] == pytest.approx(1.0)
    assert found["with"]["ETHUSDT"]["returns"] == 18


def test_too_little_history_has_no_correlation_and_no_volatility(market, api):
    market.tell(market.trade("1"), market.trade("1", symbol="ETHUSDT"))
    answer = api.get("/analytics/BTCUSDT").json()
    [[other, likeness]] = answer["correlations"]["with"].items()
    assert (other, likeness["correlation"], likeness["beta"], likeness["returns"]) == ("ETHUSDT", None, None, 0)
    volatility = answer["periods"]["1h"]["volatility"]
    assert {volatility.pop("windows"), *volatility.values()} == {0, None}


def test_a_symbol_that_has_not_traded_has_empty_periods(api):
    hour = api.get("/analytics/BTCUSDT").json()["periods"]["1h"]
    assert (hour["start"], hour["as_of"], hour["completeness"]["held"]) == (None, None, 0)
    assert api.get("/analytics/BTCUSDT").json()["latest"] is None


@pytest.mark.usefixtures("told")
def test_the_newest_value_comes_with_the_analytics_when_asked_for(api):
    assert api.get("/analytics/BTCUSDT").json()["indicators"] is None
    newest = api.get("/analytics/BTCUSDT?indicators=rsi,macd&interval=1m").json()["indicators"]
    [window] = newest["windows"]
    assert 0 <= window["rsi"] <= 100
    assert {"macd", "macd_signal", "macd_histogram"} <= window.keys()


@pytest.mark.parametrize("path", ["/analytics/DOGE", "/indicators/DOGE"])
def test_a_symbol_that_is_not_held_is_a_404(api, path):
    assert api.get(path).status_code == 404


def test_the_last_price_comes_with_its_age_and_what_is_missing_before_it(told, api):
    told.skip(3)
    told.tell(told.trade("123.45"))
    latest = exactly(api.get("/analytics/BTCUSDT"))["latest"]
    assert (latest["price"], latest["missing_trades"]) == (Decimal("123.45"), 3)
    assert 0 <= latest["age_seconds"] < 60


@pytest.mark.usefixtures("told")
def test_what_rests_on_trades_is_as_old_as_the_last_one(api):
    answer = api.get("/analytics/BTCUSDT?indicators=sma:5&interval=1m").json()
    blocks = [*answer["periods"].values(), *(answer[name] for name in ("hourly_volume", "correlations", "indicators"))]
    assert {block["as_of"] for block in [*blocks, answer["latest"], answer["signals"]]} == {
        answer["latest"]["traded_at"]
    }
    assert all(block["start"] < block["as_of"] <= block["end"] and block["age_seconds"] >= 0 for block in blocks)


SPAN = {"start", "end", "as_of", "age_seconds", "completeness"}
COUNTS = {"interval", "windows", "held", "proved", "gaps", "open"}


def figures(told, path="", spans=()):
    """Give every number of an answer with its path and the innermost window, age and completeness told of it."""
    if isinstance(told, dict):
        spans = (*spans, told) if told.keys() >= SPAN else spans
        for name, value in told.items():
            if name not in SPAN:
                yield from figures(value, f"{path}.{name}", spans)
    elif isinstance(told, list):
        for place, value in enumerate(told):
            yield from figures(value, f"{path}[{place}]", spans)
    elif isinstance(told, int | float):
        yield path, spans[-1] if spans else None


def test_every_figure_comes_with_its_window_its_age_and_how_complete_it_is(told, api, start, restless):
    now = time.time_ns() // 1000
    told.view.context.publish(
        [
            context("sentiment", "d1", now // DAY * DAY, value=71, value_classification="Greed"),
            context("news", "2", now - 2 * MINUTE, title="Up", tickers=["BTC"], sentiment=0.5, story="2"),
        ]
    )
    told.view.signals.publish([Signal("volume_spike", "BTCUSDT", "1m", start, 5.0, "confirmed", {}, 1, now)])
    told.view.publish([], restless("1h", 5))
    asked = "indicators=rsi,sma:5,correlation:5&against=ETHUSDT&interval=1m"
    answer = api.get(f"/analytics/BTCUSDT?{asked}").json()
    found = dict(figures(answer))
    blocks = {path.split(".")[1] for path in found}
    assert blocks == answer.keys() - {"symbol"}
    assert [path for path, span in found.items() if span is None] == []
    for path, span in found.items():
        start, as_of, end = (datetime.fromisoformat(span[name]) for name in ("start", "as_of", "end"))
        assert start <= as_of <= end, path
        assert span["age_seconds"] >= 0, path
        assert span["completeness"].keys() == COUNTS, path
        assert 0 < span["completeness"]["held"] <= span["completeness"]["windows"], path


def test_what_is_lacking_is_told_of_the_index_the_news_and_the_indicators(told, api):
    now = time.time_ns() // 1000
    told.view.context.publish(
        [
            context("sentiment", "d0", now // DAY * DAY - 2 * DAY, value=71, value_classification="Greed"),
            context("news", "1", now - 30 * MINUTE, title="Other coin", tickers=["ETH"], sentiment=0, story="1"),
            context("news", "2", now - 200 * MINUTE, title="Before", tickers=["ETH"], sentiment=0, story="2"),
        ]
    )
    answer = api.get("/analytics/BTCUSDT?indicators=sma:20&interval=1m").json()
    assert [answer["sentiment"]["completeness"][name] for name in ("windows", "held")] == [1, 0]
    assert answer["sentiment"]["age_seconds"] >= 2 * 86_400
    news = answer["news"]["completeness"]
    assert [news[name] for name in ("interval", "windows", "held", "proved", "gaps")] == ["1h", 24, 2, None, None]
    assert answer["news"]["count"] == 0
    assert 30 * 60 <= answer["news"]["age_seconds"] < 60 * 60
    assert answer["indicators"]["completeness"]["windows"] == 21
    told.skip(3)
    told.tell(told.trade("100"), told.trade("100"))
    indicators = api.get("/analytics/BTCUSDT?indicators=sma:20&interval=1m").json()["indicators"]
    assert indicators["completeness"]["gaps"] == 1


def context(kind: str, key: str, at: int, **fields) -> Version:
    return Version(Observation(kind, "a", key, at, at, fields), at, b"")


def test_the_day_s_sentiment_and_the_newest_stories_of_the_coin_stand_beside_it(told, api):
    now = time.time_ns() // 1000
    assert api.get("/analytics/BTCUSDT").json()["sentiment"] is None
    today = now // DAY * DAY
    told.view.context.publish(
        [
            context("sentiment", "d0", today - DAY, value=20, value_classification="Fear"),
            context("sentiment", "d1", today, value=71, value_classification="Greed"),
            context("news", "1", now - 2 * DAY, title="Old", tickers=["BTC"], sentiment=-1, story="1"),
            context("news", "2", now - 2 * MINUTE, title="Up", tickers=["BTC", "ETH"], sentiment=0.5, story="2"),
            context("news", "3", now - MINUTE, title="Up, others say", tickers=["BTC"], sentiment=0.1, story="2"),
            context("news", "4", now, title="Other coin", tickers=["ETH"], sentiment=-0.5, story="4"),
        ]
    )
    answer = api.get("/analytics/BTCUSDT").json()
    assert (answer["sentiment"]["value"], answer["sentiment"]["key"]) == (71, "d1")
    assert "alternative.me" in answer["sentiment"]["attribution"]["text"]
    assert 0 <= answer["sentiment"]["age_seconds"] <= 86_400
    news = answer["news"]
    assert [story["title"] for story in news["stories"]] == ["Old", "Up"]
    assert (news["ticker"], news["count"], news["mean_sentiment"]) == ("BTC", 1, 0.5)


def test_the_signals_of_the_last_day_stand_beside_it_but_those_retracted(told, api):
    now = time.time_ns() // 1000
    assert api.get("/analytics/BTCUSDT").json()["signals"]["count"] == 0

    def signal(kind, symbol, minutes_ago, state="confirmed") -> Signal:
        opened = opened_at(now - minutes_ago * MINUTE, "1m")
        return Signal(kind, symbol, "1m", opened, 5.0, state, {"times_before": 9.5}, 1, opened + MINUTE)

    told.view.signals.publish(
        [
            signal("volume_spike", "BTCUSDT", 25 * 60),
            signal("volume_spike", "BTCUSDT", 50),
            signal("sentiment_extreme", "*", 40),
            signal("volume_spike", "ETHUSDT", 30),
            signal("price_outlier", "BTCUSDT", 20, "retracted"),
            signal("volume_spike", "BTCUSDT", 10, "provisional"),
        ]
    )
    told = api.get("/analytics/BTCUSDT").json()["signals"]
    assert (told["count"], told["provisional"]) == (3, 1)
    assert told["kinds"] == {"volume_spike": 2, "sentiment_extreme": 1}
    assert [signal["state"] for signal in told["signals"]] == ["confirmed", "confirmed", "provisional"]
    assert told["signals"][0]["evidence"] == {"times_before": 9.5}
