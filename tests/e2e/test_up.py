"""`tapehouse up` in a folder of one's own: it serves, it stops when told to, and says in words what is in its way."""

import signal
import socket

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tapehouse.exchange.faults import Refusal

INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
ALL_OF_THE_PAST = 200.0
"""Seconds that the demo may take for the hours it begins with, on a machine that does other things."""


@pytest.fixture
def served(exchange):
    return exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=200.0)


def has_traded(health):
    return all(symbol["last_trade_id"] > 0 for symbol in health["symbols"].values()) and health["symbols"]


def test_it_serves_in_an_empty_folder_without_an_earlier_command(served, platform):
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    health = up.until_health(has_traded)
    assert health["sources"]["binance"]["connected"]
    latest = up.get("/prices/latest")["prices"]
    assert sorted(price["symbol"] for price in latest) == ["BTCUSDT", "ETHUSDT"]
    for interval in INTERVALS:
        assert up.get(f"/ohlc/BTCUSDT?interval={interval}")["candles"][-1]["state"] == "open"
    assert httpx.get(f"{up.address}/ohlc/DOGEUSDT").status_code == 404
    assert up.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_status_0_and_everything_received_committed(served, platform, audit, number):
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    up.until_health(has_traded)
    seen = {price["symbol"]: price["last_trade_id"] for price in up.get("/prices/latest")["prices"]}
    assert up.stop(number) == 0
    assert "Stopped; everything received is committed." in up.log()
    for symbol, last in seen.items():
        _, committed = audit(served).ids(symbol)
        assert last <= committed
        audit(served).coverage(symbol)


@pytest.mark.slow
def test_what_a_crash_left_out_of_the_coverage_is_in_it_after_the_next_start(served, platform, audit, tables):
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    up.until_health(lambda health: health["commit"]["committed_at"])
    up.kill()
    held = audit(served).ids("BTCUSDT")
    assert tables.rows("silver/coverage", "symbol") == []
    up.start()
    up.until_whole({"BTCUSDT": held[1]})
    assert up.stop() == 0
    audit(served).everything("BTCUSDT")


@pytest.mark.slow
def test_it_stops_as_well_as_soon_as_it_has_come_up(served, platform):
    up = platform(served, "BTCUSDT").start()
    for _ in range(3):
        assert up.address
        assert up.stop() == 0
        up.start()


def test_metrics_are_what_prometheus_reads(served, platform):
    up = platform(served, "BTCUSDT").start()
    up.until_health(has_traded)
    text = httpx.get(f"{up.address}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    accepted = {
        sample.labels["symbol"]: sample.value
        for sample in families["tapehouse_trades_accepted"].samples
        if sample.name.endswith("_total")
    }
    assert accepted["BTCUSDT"] > 0
    assert up.stop() == 0


@pytest.mark.parametrize("options", [(), ("--demo",)])
def test_a_port_in_use_is_named(served, platform, options):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = platform(served, "BTCUSDT")
        assert up.run(*options, "--port", str(port)) == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in up.log()
    assert "Traceback" not in up.log()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("TAPEHOUSE_SYMBOLS", "BTC/USDT", "BTC/USDT"),
        ("TAPEHOUSE_COMMIT_INTERVAL", "soon", "TAPEHOUSE_COMMIT_INTERVAL"),
        ("TAPEHOUSE_BINANCE_WS_URL", "stream.binance.com", "TAPEHOUSE_BINANCE_WS_URL"),
        ("TAPEHOUSE_SOURCES", "kraken", "kraken"),
        ("TAPEHOUSE_PROFILE", "spark", "TAPEHOUSE_PROFILE"),
    ],
)
def test_a_bad_setting_is_named(platform, setting, value, said):
    up = platform(None, "BTCUSDT", **{setting: value})
    assert up.run() == 2
    assert said in up.log()
    assert "Traceback" not in up.log()


def test_a_second_process_on_the_same_lake_is_turned_away_and_harms_nothing(served, platform):
    first, second = platform(served, "BTCUSDT").start(), platform(served, "BTCUSDT")
    first.until_health(has_traded)
    assert second.run() == 4
    assert str(first.process.pid) in second.log()
    assert "Traceback" not in second.log()
    assert first.stop() == 0


def test_a_lake_that_cannot_be_a_folder_is_named(served, platform, tmp_path):
    (tmp_path / "data").write_text("a file stands where the folder should be")
    up = platform(served, "BTCUSDT")
    assert up.run() == 4
    assert "data/delta" in up.log()
    assert "Traceback" not in up.log()


@pytest.mark.slow
def test_a_refusing_exchange_is_explained_and_waited_for(served, platform):
    served.do(lambda running: running.faults.refuse(Refusal(451, on="both")))
    up = platform(served, "BTCUSDT").start()
    health = up.until_health(lambda health: "451" in health["sources"]["binance"]["last_error"])
    assert "TAPEHOUSE_BINANCE_WS_URL" in health["sources"]["binance"]["last_error"]
    served.do(lambda running: running.faults.clear())
    up.until_health(has_traded, patience=60)
    assert up.stop() == 0
    assert "Traceback" not in up.log()


def test_an_absent_exchange_is_told_of_and_waited_for(platform):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    addresses = {
        "TAPEHOUSE_BINANCE_WS_URL": f"ws://127.0.0.1:{port}",
        "TAPEHOUSE_BINANCE_REST_URL": f"http://127.0.0.1:{port}",
    }
    up = platform(None, "BTCUSDT", **addresses).start()
    health = up.until_health(lambda health: health["sources"]["binance"]["last_error"])
    assert health["status"] == "degraded"
    assert up.stop() == 0
    assert "Traceback" not in up.log()


@pytest.mark.slow
def test_a_disk_that_fails_ends_it_loudly_and_the_next_start_goes_on(served, platform, audit, tables):
    up = platform(served, "BTCUSDT").start()
    up.until_health(lambda health: health["commit"]["committed_at"])
    log = up.lake / "bronze" / "trades" / "_delta_log"
    kept = log.rename(log.with_name("kept_log"))
    log.write_text("a broken disk")
    assert up.process.wait(40) == 4
    assert "bronze/trades" in up.log()
    log.unlink()
    kept.rename(log)
    held = max(last for (last,) in tables.rows("bronze/trades", "last_trade_id"))
    up.start()
    up.until_whole({"BTCUSDT": held})
    assert up.stop() == 0
    audit(served).everything("BTCUSDT")


def test_no_secret_is_in_what_it_logs(served, platform):
    secrets = {"COINGECKO_API_KEY": "CG-very-secret", "NEWSAPI_KEY": "news-very-secret"}
    address = served.running.rest_url.replace("http://", "http://somebody:very-secret@")
    up = platform(served, "BTCUSDT", TAPEHOUSE_LOG_LEVEL="debug", TAPEHOUSE_BINANCE_REST_URL=address, **secrets).start()
    up.until_health(has_traded)
    served.do(lambda running: running.cut())
    served.do(lambda running: running.faults.refuse(Refusal(503, requests=2)))
    up.until_health(lambda health: health["symbols"]["BTCUSDT"]["missing_trades"] == 0)
    assert "very-secret" not in httpx.get(f"{up.address}/health").text
    assert up.stop() == 0
    assert "very-secret" not in up.log()


def test_the_demo_needs_no_network_and_no_setting_and_soon_has_verified_candles_and_signals_to_show(platform):
    up = platform(None, "BTCUSDT").start("--demo")
    up.until_health(has_traded)
    symbol = up.until_health(lambda health: health["symbols"]["BTCUSDT"]["agreeing_candles"], ALL_OF_THE_PAST)[
        "symbols"
    ]["BTCUSDT"]
    assert symbol["agreeing_candles"] == symbol["checked_candles"]
    signals = "/signals?symbol=BTCUSDT&kind=price_outlier&state=confirmed"
    up.until_served(signals, lambda told: told["signals"], patience=ALL_OF_THE_PAST)
    assert up.stop() == 0
    assert "Traceback" not in up.log()
