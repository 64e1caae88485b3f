"""The guide to the exchange in the box says what is so: its programs, commands and orders are tried."""

import asyncio
import re
import sys
from decimal import Decimal
from pathlib import Path

import click
import httpx
import pytest

from tapehouse.cli import exchange as exchange_command, main
from tapehouse.exchange.faults import FaultSettings, parse_faults
from tapehouse.exchange.main import ExchangeOptions, running_exchange
from tapehouse.exchange.messages import aggregated

GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "exchange.md").read_text()
SNIPPETS = re.findall(r"## With ([\w-]+)\n.*?```python\n(.*?)```", GUIDE, flags=re.DOTALL)
SHOWN = 20
WITHIN = 120.0
NEEDS_CRYPTOFEED_2 = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="cryptofeed 3, the one for Python 3.13, is set up otherwise"
)


def in_guide(name):
    [snippet] = [code for title, code in SNIPPETS if title == name]
    return snippet


async def shown_by(snippet, exchange):
    """The first lines a program of the guide prints, once its address is the exchange's."""
    code = snippet.replace("127.0.0.1:9100", f"127.0.0.1:{exchange.port}")
    program = await asyncio.create_subprocess_exec(sys.executable, "-u", "-c", code, stdout=asyncio.subprocess.PIPE)
    try:
        return [(await program.stdout.readline()).split() for _ in range(SHOWN)]
    finally:
        program.kill()
        await program.communicate()


def test_every_program_of_the_guide_is_tried():
    assert {title for title, _ in SNIPPETS} == {"ccxt", "python-binance", "cryptofeed"}
    assert GUIDE.count("```python") == len(SNIPPETS)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "are_aggregates"),
    [
        ("ccxt", False),
        ("python-binance", False),
        pytest.param("cryptofeed", True, marks=NEEDS_CRYPTOFEED_2),
    ],
)
async def test_the_program_of_the_guide_shows_the_tape(name, are_aggregates):
    options = ExchangeOptions(symbols=2, rate=200.0, history=300.0)
    async with asyncio.timeout(WITHIN), running_exchange(options) as exchange:
        lines = await shown_by(in_guide(name), exchange)
        shown = [
            (int(number), Decimal(price.decode()), Decimal(quantity.decode())) for number, price, quantity in lines
        ]
        assert shown == on_tape(exchange.tape, shown[0][0], shown[-1][0], are_aggregates)


def on_tape(tape, first, last, are_aggregates):
    """The id, price and quantity of BTCUSDT's trades or aggregates of these ids."""
    column = "aggregate_id" if are_aggregates else "first_trade_id"
    if are_aggregates:
        first, last = (tape.id_of_aggregate("BTCUSDT", number) for number in (first, last + 1))
        last -= 1
    rows = tape.trades("BTCUSDT", first, last)
    rows = aggregated(rows) if are_aggregates else rows
    held = rows.select(column, "price", "quantity").rows()
    return [(number, Decimal(price).scaleb(-8), Decimal(quantity).scaleb(-8)) for number, price, quantity in held]


async def test_every_order_of_the_guide_is_carried_out():
    orders = re.findall(r"/_exchange/faults -d '(.*)'", GUIDE)
    assert len(orders) == GUIDE.count("/_exchange/faults -d")
    async with running_exchange() as exchange, httpx.AsyncClient(base_url=exchange.rest_url) as http:
        for order in orders:
            answer = await http.post("/_exchange/faults", content=order)
            assert answer.status_code == 200, answer.text
        assert exchange.faults.settings == FaultSettings()


def test_the_guide_names_every_fault():
    assert {name for name in FaultSettings.__struct_fields__ if f"`{name}`" not in GUIDE} == set()


def test_every_command_of_the_guide_is_one_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "btcusdt.gz").touch()
    commands = re.findall(r"^\.venv/bin/tapehouse exchange (.*)$", GUIDE, flags=re.MULTILINE)
    assert commands
    program = click.Context(main, **main.context_settings)
    for arguments in commands:
        with exchange_command.make_context("exchange", arguments.split(), parent=program) as context:
            parse_faults(context.params["faults"])
