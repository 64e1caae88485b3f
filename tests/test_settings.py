"""Settings: what may be written in the environment, and what is said when it cannot be used."""

import re

import pytest
from pydantic import SecretStr

from tapehouse.errors import ConfigError
from tapehouse.settings import Settings, describe, load_settings, variable_of


@pytest.fixture(autouse=True)
def bare_environment(tmp_path, monkeypatch):
    for field in Settings.model_fields:
        monkeypatch.delenv(variable_of(field), raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_run_without_a_key_on_this_machine_alone():
    settings = load_settings()
    assert settings.profile == "embedded"
    assert settings.symbols == ("BTCUSDT", "ETHUSDT", "BNBUSDT")
    assert settings.lake == "data/delta"
    assert settings.api_host == "127.0.0.1"
    assert settings.api_port == 8000


def test_lists_are_separated_by_commas_and_symbols_are_upper_case_and_single(monkeypatch):
    monkeypatch.setenv("TAPEHOUSE_SYMBOLS", " btcusdt, ETHUSDT,,btcusdt,*usdt ")
    assert load_settings().symbols == ("BTCUSDT", "ETHUSDT", "*USDT")


def test_what_an_asset_is_worth_is_read_with_its_name(monkeypatch):
    assert dict(load_settings().quote_worth())["BTC"] == 100_000
    monkeypatch.setenv("TAPEHOUSE_SIGNAL_QUOTE_WORTH", "eth = 2500.5, KRW=0.0007")
    assert load_settings().quote_worth() == (("ETH", 2500.5), ("KRW", 0.0007))


def test_base_addresses_lose_their_last_slash_and_may_be_plain(monkeypatch):
    monkeypatch.setenv("TAPEHOUSE_BINANCE_WS_URL", "ws://127.0.0.1:9100/,wss://stream.binance.com:9443")
    assert load_settings().binance_ws_url == ("ws://127.0.0.1:9100", "wss://stream.binance.com:9443")


def test_an_empty_variable_is_the_default(monkeypatch):
    monkeypatch.setenv("TAPEHOUSE_API_PORT", "")
    assert load_settings().api_port == 8000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TAPEHOUSE_SYMBOLS", "BTC/USDT"),
        ("TAPEHOUSE_SYMBOLS", ","),
        ("TAPEHOUSE_SOURCES", "binance,bloomberg"),
        ("TAPEHOUSE_BINANCE_REST_URL", "api.binance.com"),
        ("TAPEHOUSE_API_PORT", "65536"),
        ("TAPEHOUSE_API_PORT", "http"),
        ("TAPEHOUSE_PROFILE", "galaxy"),
        ("TAPEHOUSE_COMMIT_INTERVAL", "0"),
        ("TAPEHOUSE_SIGNAL_QUOTE_WORTH", "BTC"),
        ("TAPEHOUSE_SIGNAL_QUOTE_WORTH", "BTC=0"),
        ("TAPEHOUSE_SIGNAL_QUOTE_WORTH", "BTC=100000,ETH=much"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_variable(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=rf"(?m)^  {variable}: \S"):
        load_settings()


def test_every_wrong_value_is_named_at_once(monkeypatch):
    monkeypatch.setenv("TAPEHOUSE_API_PORT", "-1")
    monkeypatch.setenv("TAPEHOUSE_LOG_LEVEL", "shout")
    with pytest.raises(ConfigError) as refused:
        load_settings()
    assert re.findall(r"TAPEHOUSE_\w+", str(refused.value)) == ["TAPEHOUSE_API_PORT", "TAPEHOUSE_LOG_LEVEL"]


def test_settings_say_where_each_value_came_from(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("TAPEHOUSE_API_PORT=9001\nTAPEHOUSE_LAKE=from-file\n")
    monkeypatch.setenv("TAPEHOUSE_API_PORT", "9002")
    described = {variable: (value, origin) for variable, value, origin in describe(load_settings())}
    assert described["TAPEHOUSE_API_PORT"] == ("9002", "environment")
    assert described["TAPEHOUSE_LAKE"] == ("from-file", ".env")
    assert described["TAPEHOUSE_SYMBOLS"] == ("BTCUSDT,ETHUSDT,BNBUSDT", "default")


def test_no_key_is_ever_shown(monkeypatch):
    monkeypatch.setenv("COINGECKO_API_KEY", "CG-do-not-show")
    settings = load_settings()
    assert settings.coingecko_api_key == SecretStr("CG-do-not-show")
    assert "do-not-show" not in repr(settings) + str(list(describe(settings)))


def test_settings_do_not_change_once_read():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().api_port = 1
