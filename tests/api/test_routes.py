import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest

from tapehouse.market.windows import MINUTE, opened_at

PROBLEM = "application/problem+json"


def exactly(answer: httpx.Response) -> dict:
    """The body with each decimal as it is written."""
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


def minutes_ago(market_now: int, minutes: int) -> int:
    return opened_at(market_now, "1m") - minutes * MINUTE


@pytest.fixture
def start() -> int:
    """Eight minutes ago, at a full minute."""
    return minutes_ago(int(datetime.now(UTC).timestamp()) * 1_000_000, 8)


def iso(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def test_latest_prices_have_one_entry_a_symbol_with_every_digit(market, api):
    market.tell(market.trade("65000.12345678", "0.00000001"), market.trade("3400.5", symbol="ETHUSDT"))
    first, second = exactly(api.get("/prices/latest"))["prices"]
    assert ("BTCUSDT", Decimal("65000.12345678"), Decimal("0.00000001")) == tuple(
        first[name] for name in ("symbol", "price", "quantity")
    )
    assert ("ETHUSDT", Decimal("3400.5")) == (second["symbol"], second["price"])


def test_latest_prices_move_with_the_next_trade_and_leave_out_what_never_traded(market, api):
    market.tell(market.trade("1"))
    assert [entry["price"] for entry in api.get("/prices/latest").json()["prices"]] == [1]
    market.tell(market.trade("2"))
    assert [entry["price"] for entry in api.get("/prices/latest").json()["prices"]] == [2]


def test_numbers_have_no_exponent_and_no_trailing_zeros(market, api):
    market.tell(market.trade("10.50000000", "0.00000010"))
    text = api.get("/prices/BTCUSDT").text
    assert '"price":10.5,' in text
    assert '"quantity":0.0000001,' in text


def test_trades_come_from_lake_and_memory_together_each_once_newest_last(market, api):
    market.tell(*[market.trade(str(price)) for price in range(1, 6)])
    market.commit()
    market.tell(market.trade("6"))
    answer = exactly(api.get("/prices/btcusdt"))
    assert [trade["price"] for trade in answer["trades"]] == [1, 2, 3, 4, 5, 6]
    assert (answer["symbol"], answer["count"]) == ("BTCUSDT", 6)


def test_limit_gives_the_last_trades(market, api):
    market.tell(*[market.trade(str(price)) for price in range(1, 6)])
    assert [trade["price"] for trade in api.get("/prices/BTCUSDT?limit=2").json()["trades"]] == [4, 5]


def test_hours_leave_older_trades_out(market, api, start):
    hour = 60 * MINUTE
    market.tell(market.trade("1", at=start - 2 * hour), market.trade("2", at=start))
    market.commit()
    assert [trade["price"] for trade in api.get("/prices/BTCUSDT?hours=1").json()["trades"]] == [2]
    assert [trade["price"] for trade in api.get("/prices/BTCUSDT?hours=2.5").json()["trades"]] == [1, 2]


def test_a_candle_is_exact_to_the_last_digit(market, api, start):
    market.tell(
        market.trade("0.00000003", "12345678.12345678", at=start, side="buy"),
        market.trade("98765.87654321", "0.00000007", at=start + 1, side="sell"),
    )
    (candle,) = exactly(api.get("/ohlc/BTCUSDT"))["candles"]
    bought = Decimal("0.00000003") * Decimal("12345678.12345678")
    quote = bought + Decimal("98765.87654321") * Decimal("0.00000007")
    assert (Decimal("12345678.12345685"), quote, bought) == (
        candle["volume"],
        candle["quote_volume"],
        candle["taker_buy_quote_volume"],
    )
    assert (quote / candle["volume"]).quantize(Decimal("1e-8")) == candle["vwap"]
    assert (candle["state"], candle["revision"], candle["known_at"]) == ("open", 0, None)


def test_candles_without_bounds_are_the_last_windows_with_the_open_one(market, api, start):
    for minute in range(5):
        market.tell(market.trade(str(100 + minute), at=start + minute * MINUTE))
    answer = api.get("/ohlc/BTCUSDT?limit=3").json()
    assert [candle["close"] for candle in answer["candles"]] == [102, 103, 104]
    assert answer["candles"][-1]["state"] == "open"
    assert iso(start + 4 * MINUTE) == answer["candles"][-1]["opened_at"]


def test_bounds_are_from_start_up_to_but_not_with_end(market, api, start):
    for minute in range(5):
        market.tell(market.trade(str(100 + minute), at=start + minute * MINUTE))
    market.commit()
    bounds = {"start": iso(start + MINUTE), "end": iso(start + 3 * MINUTE)}
    assert [candle["close"] for candle in api.get("/ohlc/BTCUSDT", params=bounds).json()["candles"]] == [101, 102]


def test_a_range_longer_than_the_limit_is_read_on_from_next_start(market, api, start):
    for minute in range(5):
        market.tell(market.trade(str(100 + minute), at=start + minute * MINUTE))
    market.commit()
    closes, next_start = [], iso(start)
    while next_start:
        answer = api.get("/ohlc/BTCUSDT", params={"start": next_start, "limit": 2}).json()
        closes += [candle["close"] for candle in answer["candles"]]
        next_start = answer["next_start"]
    assert closes == [100, 101, 102, 103, 104]


def test_a_window_over_a_hole_is_a_gap_and_an_empty_one_quiet(market, api, start):
    market.tell(market.trade("100", at=start))
    market.tell(market.trade("101", at=start + MINUTE))
    market.skip(1)
    market.tell(market.trade("102", at=start + MINUTE + 1), market.trade("103", at=start + 3 * MINUTE))
    market.commit()
    candles = api.get("/ohlc/BTCUSDT").json()["candles"]
    assert [candle["state"] for candle in candles] == ["gap", "gap", "quiet", "open"]
    assert tuple(candles[2][name] for name in ("close", "trades", "first_trade_id")) == (102, 0, None)


def test_as_of_gives_the_revision_known_then(market, api, start):
    market.tell(market.trade("100", at=start), market.trade("101", at=start + MINUTE))
    late = market.trade("999", at=start + MINUTE + 5)
    market.tell(market.trade("102", at=start + 2 * MINUTE))
    market.commit()
    before = datetime.now(UTC)
    market.tell(late)
    market.commit()
    then = api.get("/ohlc/BTCUSDT", params={"as_of": before.isoformat()}).json()["candles"]
    now = api.get("/ohlc/BTCUSDT").json()["candles"]
    assert (then[1]["high"], now[1]["high"]) == (101, 999)
    assert then[1]["revision"] < now[1]["revision"]
    assert "open" not in {candle["state"] for candle in then}


@pytest.mark.parametrize("interval", ["5m", "15m", "1h", "4h", "1d"])
def test_every_interval_has_its_open_window(market, api, interval, start):
    market.tell(market.trade("100", at=start))
    (candle,) = api.get(f"/ohlc/BTCUSDT?interval={interval}").json()["candles"]
    assert (interval, "open", 100) == (candle["interval"], candle["state"], candle["close"])


def test_coverage_lists_what_is_held_and_what_is_missing(market, api):
    market.tell(market.trade("1"), market.trade("2"))
    market.skip(3)
    market.tell(market.trade("3"))
    market.commit()
    answer = api.get("/coverage/BTCUSDT").json()
    assert [tuple(part.values()) for part in answer["ranges"]] == [(1, 2, "held"), (3, 5, "missing"), (6, 6, "held")]
    assert tuple(answer[name] for name in ("first_trade_id", "last_trade_id", "missing_trades")) == (1, 6, 3)


def test_coverage_counts_the_candles_verified(market, api, start):
    market.tell(market.trade("1", at=start), market.trade("2", at=start + MINUTE))
    market.tell(market.trade("3", at=start + 2 * MINUTE))
    market.tell_kline(start + MINUTE)
    answer = api.get("/coverage/BTCUSDT").json()
    assert (answer["checked_candles"], answer["agreeing_candles"]) == (1, 1)


@pytest.mark.parametrize("path", ["/prices/NOPEUSDT", "/ohlc/NOPEUSDT", "/coverage/NOPEUSDT"])
def test_an_unknown_symbol_is_a_404_that_names_the_known_ones(api, path):
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
    body = answer.json()
    assert {"type", "title", "status", "detail"} == set(body)
    assert "BTCUSDT, ETHUSDT" in body["detail"]


@pytest.mark.parametrize("path", ["/nothing", "/web/nothing.js", "/web/../settings.py", "/prices"])
def test_an_unknown_path_is_a_404_problem(api, path):
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/ohlc/BTCUSDT?interval=2m", "interval"),
        ("/ohlc/BTCUSDT?limit=0", "limit"),
        ("/ohlc/BTCUSDT?limit=5001", "limit"),
        ("/ohlc/BTCUSDT?limit=many", "limit"),
        ("/ohlc/BTCUSDT?start=yesterday", "start"),
        ("/ohlc/BTCUSDT?start=99999999999999999999", "start"),
        ("/ohlc/BTCUSDT?end=1500-01-01", "end"),
        ("/ohlc/BTCUSDT?start=2026-01-02&end=2026-01-01", "start"),
        ("/ohlc/BTCUSDT?as_of=NaN", "as_of"),
        ("/prices/BTCUSDT?limit=-1", "limit"),
        ("/prices/BTCUSDT?hours=0", "hours"),
        ("/prices/BTCUSDT?hours=745", "hours"),
        ("/prices/BTCUSDT?hours=nan", "hours"),
    ],
)
def test_an_unusable_parameter_is_a_422_that_names_it(api, path, named):
    answer = api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    detail = answer.json()["detail"]
    assert named in detail
    assert "Value error" not in detail


def test_a_time_in_seconds_is_told_that_milliseconds_are_meant(api):
    assert "milliseconds" in api.get("/ohlc/BTCUSDT?start=1796101200").json()["detail"]


@pytest.mark.parametrize("text", ["2026-01-02", "2026-01-02T00:00:00Z", "2026-01-02T01:00:00+01:00", "1767312000000"])
def test_a_time_can_be_a_day_a_time_with_its_zone_or_milliseconds(market, api, text):
    day = 1_767_312_000_000_000
    market.tell(market.trade("1", at=day - MINUTE), market.trade("2", at=day), market.trade("3", at=day + MINUTE))
    market.commit()
    (before,) = api.get(f"/ohlc/BTCUSDT?end={text}").json()["candles"]
    assert before["close"] == 1


def test_a_wrong_method_is_a_405_problem(api):
    answer = api.post("/prices/latest")
    assert (answer.status_code, answer.headers["content-type"]) == (405, PROBLEM)


def test_what_the_lake_refuses_is_a_503_problem_that_says_when_to_ask_again(market, api, tmp_path):
    market.tell(market.trade("1"))
    market.commit()
    for file in (tmp_path / "lake").rglob("*.parquet"):
        file.write_bytes(b"not parquet")
    answer = api.get("/prices/BTCUSDT")
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert answer.headers["retry-after"] == "5"


def test_metrics_are_in_prometheus_text(api):
    answer = api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "tapehouse_live_clients" in answer.text


def test_every_route_is_described_and_the_description_needs_no_network(api):
    market = {"/prices/latest", "/prices/{symbol}", "/ohlc/{symbol}", "/coverage/{symbol}"}
    context = {"/market", "/market/{symbol}", "/sentiment", "/news"}
    assert market | context | {"/health", "/metrics"} <= set(api.get("/openapi.json").json()["paths"])
    page = api.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page


def test_a_first_hour_of_candles_is_not_older_than_asked(market, api, start):
    market.tell(market.trade("1", at=start))
    future = datetime.now(UTC) + timedelta(days=1)
    assert api.get("/ohlc/BTCUSDT", params={"start": future.isoformat()}).json()["candles"] == []


def test_the_icon_that_browsers_ask_for_beside_any_answer_is_there(api):
    icon = api.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
