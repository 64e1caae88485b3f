"""The command line: what it says, what it ends with, what it keeps to itself."""

import signal
import subprocess
import sys
from datetime import UTC, datetime

import click
import httpx
import pytest
from click.testing import CliRunner

import tapehouse
from tapehouse import cli
from tapehouse.errors import ConfigError, DiscrepancyError, IncompleteError, LakeError, TapehouseError, UpstreamError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **environment: CliRunner().invoke(cli.main, arguments, env=environment)


def test_help_is_shown_for_every_command(run):
    for command in cli.main.commands:
        shown = run(command, "--help")
        assert shown.exit_code == 0
        assert f"tapehouse {command}" in shown.output.replace("main", "tapehouse")


def test_the_version_is_the_packages(run):
    assert run("--version").output == f"tapehouse {tapehouse.__version__}\n"
    assert run("version").output.startswith(f"tapehouse {tapehouse.__version__}, Python 3.")


def test_settings_are_shown_with_their_origin_and_without_secrets(run):
    shown = run(
        "settings",
        TAPEHOUSE_SYMBOLS="solusdt",
        TAPEHOUSE_BINANCE_REST_URL="http://me:hidden@proxy.example:8080,https://api.binance.com",
        NEWSAPI_KEY="hidden-too",
    )
    assert shown.exit_code == 0
    assert "TAPEHOUSE_SYMBOLS=SOLUSDT  # environment\n" in shown.output
    assert "http://***@proxy.example:8080,https://api.binance.com" in shown.output
    assert "hidden" not in shown.output


def test_a_setting_that_cannot_be_used_ends_with_2_and_its_name_on_stderr(run):
    refused = run("settings", TAPEHOUSE_API_PORT="many")
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert "TAPEHOUSE_API_PORT" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    "error", [TapehouseError, ConfigError, UpstreamError, LakeError, DiscrepancyError, IncompleteError]
)
def test_an_error_ends_with_its_own_status_and_shows_its_traceback_only_on_request(error):
    @click.group(cls=cli.Commands)
    @click.option("--debug", is_flag=True)
    def group(debug):
        pass

    @group.command()
    def fail():
        raise error("the disk is full")

    plain = CliRunner().invoke(group, ["fail"])
    assert (plain.exit_code, plain.stderr) == (error.exit_code, "tapehouse: the disk is full\n")
    assert "Traceback" in CliRunner().invoke(group, ["--debug", "fail"]).stderr


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-08-09", datetime(2024, 8, 9, tzinfo=UTC)),
        ("2024-08-09T00:05", datetime(2024, 8, 9, 0, 5, tzinfo=UTC)),
        ("2024-08-09T00:05:00.25Z", datetime(2024, 8, 9, 0, 5, 0, 250_000, tzinfo=UTC)),
        ("2024-08-09 02:05+02:00", datetime(2024, 8, 9, 0, 5, tzinfo=UTC)),
    ],
)
def test_a_moment_is_read_as_utc(written, meant):
    moment = cli.Moment().convert(written, None, None)
    assert moment == meant
    assert moment.tzinfo is UTC


def test_a_moment_that_is_none_is_explained(run):
    refused = run("verify", "BTCUSDT", "--from", "yesterday", "--to", "2024-08-09")
    assert refused.exit_code == 2
    assert "'yesterday' is not a time such as 2024-08-09" in refused.stderr


def test_a_port_outside_the_range_is_refused_before_anything_starts(run):
    assert run("up", "--port", "70000").exit_code == 2


@pytest.mark.parametrize(
    ("written", "meant"), [("3", 3), ("btcusdt", ("BTCUSDT",)), ("BTCUSDT, ethusdt", ("BTCUSDT", "ETHUSDT"))]
)
def test_the_symbols_of_the_exchange_are_a_number_or_names(written, meant):
    assert cli.Pairs().convert(written, None, None) == meant


def test_a_speed_is_above_zero_or_max(run):
    assert cli.Speed().convert("max", None, None) is None
    assert cli.Speed().convert("2.5", None, None) == 2.5
    assert run("exchange", "--speed", "0").exit_code == 2


def test_the_exchange_answers_where_it_says_and_ends_with_0_on_an_interrupt(tmp_path):
    command = [sys.executable, "-m", "tapehouse.cli", "exchange", "--port", "0", "--symbols", "BTCUSDT"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as exchange:
        shown = (line.split() for line in exchange.stdout)
        address = next(words[1] for words in shown if words[0] == "REST")
        assert httpx.get(f"{address}/api/v3/ping").json() == {}
        exchange.send_signal(signal.SIGINT)
        assert exchange.wait() == 0
