"""Analytics and indicators over a little market: exact where it counts, honest about what was held."""

import json
import math
import statistics
import time
from collections import deque
from datetime import datetime
from decimal import Decimal
from random import Random

import httpx
import msgspec
import pytest

from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.api.recent_windows import MOST_KEPT, RecentWindows
from tapehouse.catalog import CANDLES
from tapehouse.market.candles import Candle
from tapehouse.market.context import Observation, Version
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.market.windows import DAY, INTERVALS, MINUTE, opened_at
from tapehouse.streaming.rows import silver_candles

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
def test_indicators_are_told_for_each_window_the_open_one_last(api):
    answer = api.get("/indicators/BTCUSDT?indicators=sma:5,ema,drawdown:10&limit=4").json()
    closes = [100.3 + (minute * 7) % 11 for minute in range(MINUTES)]
    last = answer["windows"][-1]
    assert answer["count"] == len(answer["windows"]) == 4
    assert last["state"] == "open"
    assert last["sma_5"] == pytest.approx(sum(closes[-5:]) / 5)
    assert "ema" in last
    assert last["drawdown_10"] == pytest.approx(closes[-1] / max(closes[-10:]) - 1)


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


def test_every_figure_comes_with_its_window_its_age_and_how_complete_it_is(told, api, start):
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


def restless(interval: str, count: int, symbol: str = "BTCUSDT") -> list[CandleRow]:
    """Candles up to now of a market whose moves are ten times as large at one time as at another."""
    random, close, rows, step = Random(symbol), 6_500_000_000_000, [], INTERVALS[interval]
    last = opened_at(time.time_ns() // 1000, interval)
    for place in range(count):
        before, size = close, 10 ** random.uniform(-4, -2.5) if place % 40 else 0.05
        close = round(close * math.exp(random.gauss(0, size)))
        edges = round(max(before, close) * 1.001), round(min(before, close) * 0.999)
        volume = random.randrange(1, 10**10)
        made = Candle(before, *edges, close, volume, volume * close, 1, 0, 0, place, place)
        opened = last - (count - place) * step
        rows.append(CandleRow(symbol, interval, opened, made, None, "closed", 1, 0))
    return rows


def test_an_indicator_does_not_depend_on_how_many_windows_are_asked_for(market, api):
    names = "rsi,atr,ema,macd,bollinger,vwap,volatility,parkinson,garman_klass,drawdown,correlation,beta"
    for interval in INTERVALS:
        market.view.publish([], [*restless(interval, 1_300), *restless(interval, 1_300, "ETHUSDT")])
        path = f"/indicators/BTCUSDT?indicators={names}&against=ETHUSDT&interval={interval}&limit="
        [[one], many] = (api.get(f"{path}{limit}").json()["windows"] for limit in (1, 500))
        assert len(many) == 500
        assert [one.pop(name) for name in ("opened_at", "state")] == [many[-1].pop(n) for n in ("opened_at", "state")]
        assert one == pytest.approx(many[-1], rel=1e-9, abs=0), interval


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


@pytest.fixture
def forgotten(told):
    """The same, all of it stored, and forgotten by the ledgers as far as they forget."""
    told.tell(told.trade("105", at=told.view.last_trade("BTCUSDT").traded_at + 4 * DAY // 24))
    told.commit()
    for ledger in told.ledgers.values():
        ledger.trim()
    return told


def revise(market, start: int, minute: int) -> None:
    """Settle another revision of a minute that the ledger has forgotten, as a repair does, and store it."""
    [stored] = [
        row
        for row in Queries(market.view, market.lake).candles(CandleQuery("BTCUSDT", "1m", 700))
        if row.opened_at == start + minute * MINUTE
    ]
    row = msgspec.structs.replace(
        stored, revision=stored.revision + 1, candle=msgspec.structs.replace(stored.candle, low=1)
    )
    market.view.publish([], [row])
    market._candles.append(row)
    market.commit()


def test_windows_kept_in_memory_are_those_the_lake_and_the_view_give(forgotten, start):
    queries = Queries(forgotten.view, forgotten.lake)
    windows = RecentWindows(forgotten.view, queries)

    def check() -> None:
        for interval in INTERVALS:
            for count in (5, 300, MOST_KEPT + 1):
                expected = queries.candles(CandleQuery("BTCUSDT", interval, count))
                assert windows.last("BTCUSDT", interval, count) == expected

    check()
    revise(forgotten, start, 3)
    assert any(row.candle and row.candle.low == 1 for row in windows.last("BTCUSDT", "1m", 300))
    check()
    forgotten.tell(forgotten.trade("106"))
    check()


def test_a_reader_that_fell_behind_reads_the_lake_again(forgotten, start):
    forgotten.view._settled = deque(maxlen=1)
    queries = Queries(forgotten.view, forgotten.lake)
    windows = RecentWindows(forgotten.view, queries)
    windows.last("BTCUSDT", "1m", 300)
    revise(forgotten, start, 3)
    revise(forgotten, start, 5)
    assert windows.last("BTCUSDT", "1m", 300) == queries.candles(CandleQuery("BTCUSDT", "1m", 300))


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


def test_the_matrix_is_symmetric_and_says_how_many_returns_are_shared(market, api):
    start = opened_at(time.time_ns() // 1000, "1m") - 40 * MINUTE
    prices = {
        "BTCUSDT": [100 + (minute * 7) % 11 for minute in range(40)],
        "ETHUSDT": [50 + (minute * minute * 3) % 13 for minute in range(40)],
    }
    for minute in range(40):
        for symbol, of in prices.items():
            if (symbol, minute) == ("ETHUSDT", 20):
                market.skip(1, symbol)
            else:
                market.tell(market.trade(str(of[minute]), symbol=symbol, at=start + minute * MINUTE))
    answer = api.get("/correlations?symbols=ethusdt,BTCUSDT&interval=1m&limit=60").json()
    assert answer["symbols"] == ["ETHUSDT", "BTCUSDT"]
    [[own, pair], [mirrored, _]] = answer["correlations"]
    assert own == pytest.approx(1.0)
    assert pair == mirrored
    assert pair == pytest.approx(correlation(prices))
    assert answer["returns"] == [[36, 36], [36, 38]]
    assert answer["spans"]["BTCUSDT"]["completeness"]["windows"] == 60


def correlation(prices) -> float:
    """Pearson's of the returns up to the last window but one, which is over; none into or out of minute 20."""
    shared = [minute for minute in range(1, 39) if minute not in {20, 21}]
    returns = [[math.log(of[minute] / of[minute - 1]) for minute in shared] for of in prices.values()]
    return statistics.correlation(*returns)


def test_the_largest_symbols_are_compared_and_volume_in_other_money_does_not_count(market, serving):
    dollars = {f"A{number:02}USDT": 10 + number for number in range(12)} | {"ZECUSDT": 500, "BTCUSDT": 1_000}
    volumes = dollars | {"ETHBTC": 10**6, "AAVETRY": 10**7}
    several = type(market)(market.lake, symbols=tuple(volumes))
    hour = restless("1h", 1)[0]
    rows = [
        msgspec.structs.replace(
            hour, symbol=symbol, candle=msgspec.structs.replace(hour.candle, quote_volume=volume * 10**16)
        )
        for symbol, volume in volumes.items()
    ]
    market.lake.append(CANDLES, silver_candles(rows), writer="test", batch=0)
    with serving(several) as address, httpx.Client(base_url=address) as api:
        told = list(api.get("/analytics/A05USDT").json()["correlations"]["with"])
        every = api.get("/correlations").json()["symbols"]
    largest = sorted(dollars, key=lambda symbol: -dollars[symbol])
    assert told == [symbol for symbol in largest if symbol != "A05USDT"][:10]
    assert every == largest[:10]


def test_all_symbols_are_compared_when_none_is_named_and_an_unknown_one_is_a_404(api):
    answer = api.get("/correlations").json()
    assert answer["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert answer["correlations"] == [[None, None], [None, None]]
    assert api.get("/correlations?symbols=DOGEUSDT").status_code == 404
    assert api.get("/correlations?symbols=,").status_code == 422
