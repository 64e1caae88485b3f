"""The exchange in the box is faithful: unmodified clients from PyPI read from it, and report what is on its tape.

Each client runs as a program of its own (in `peers/`), in which nothing but addresses and options is set. The
exchange holds until the client listens, so that not one trade of the stream may be missing.
"""

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from pathlib import Path

import pytest

from tapehouse.exchange.main import ExchangeOptions, RunningExchange, running_exchange

READERS = Path(__file__).parent / "peers"
MINUTE = 60_000_000
BEGINS_AT = int(datetime(2026, 3, 5, 9, 59, 52, tzinfo=UTC).timestamp()) * 1_000_000
LEAST_TRADES = 200
WITHIN = 120.0
NEEDS_CRYPTOFEED_2 = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="cryptofeed 3, the one for Python 3.13, is set up otherwise"
)
OPTIONS = ExchangeOptions(seed=11, symbols=2, rate=200.0, history=300.0, begins_at=BEGINS_AT, speed=4.0, holds=True)


@dataclass(frozen=True)
class Reported:
    """What a client told of one exchange."""

    exchange: RunningExchange
    lines: list[dict]

    def of(self, kind: str, symbol: str) -> list[dict]:
        return [line for line in self.lines if line["kind"] == kind and plain(line["symbol"]) == symbol]


@asynccontextmanager
async def client(name, exchange):
    """Run a reader beside the exchange; it must end well when it is told to."""
    arguments = (str(READERS / f"{name}_reader.py"), exchange.ws_url, exchange.rest_url)
    program = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        yield program
        program.send_signal(signal.SIGINT)
        await drained(program)
        assert await program.wait() == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def drained(program):
    async for _ in program.stdout:
        pass


async def listen(exchange, program):
    """Let the tape begin once both kinds of stream are followed; fail when the client ends before."""
    while not (exchange.floor.audience.klines_wanted and any(follows_trades(one) for one in exchange.floor.audience)):
        assert program.returncode is None, "the client ended before it listened"
        await asyncio.sleep(0.01)
    exchange.play()


def follows_trades(listener):
    return listener.view.trades or listener.view.aggregates


async def report(name, options=OPTIONS, candles=1):
    """Return what a client tells until it has seen enough trades and the ends of so many minutes."""
    async with asyncio.timeout(WITHIN), running_exchange(options) as exchange, client(name, exchange) as program:
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(exchange, program))
            lines = await read_enough(program, candles)
        return Reported(exchange, lines)


async def read_enough(program, candles):
    lines = []
    while not is_enough(lines, candles):
        line = await program.stdout.readline()
        assert line, "the client ended before it had told enough"
        lines.append(json.loads(line))
    return lines


def is_enough(lines, candles):
    if not lines or lines[-1]["kind"] != "candle":
        return False
    closed = [line for line in lines if line["kind"] == "candle" and plain(line["symbol"]) == "BTCUSDT"]
    trades = sum(line["kind"] in ("trade", "aggregate") for line in lines)
    return len(closed) >= candles and trades >= LEAST_TRADES


def plain(symbol):
    return symbol.replace("/", "").replace("-", "")


def units(text):
    return Decimal(str(text)).scaleb(8)


def as_numbers(trade):
    """A reported trade in the tape's terms; the side only where it is told."""
    told = {"id": int(trade["id"]), "price": units(trade["price"]), "quantity": units(trade["quantity"])}
    return told | {"time": trade["time"]} | ({"side": trade["side"]} if "side" in trade else {})


def on_tape(exchange, symbol, kind, first, last):
    """The trades or aggregates of these ids, by another way than the exchange's."""
    if kind == "trade":
        rows = exchange.tape.trades(symbol, first, last).to_dicts()
        return [described(row["first_trade_id"], row["quantity"], row) for row in rows]
    begin = exchange.tape.id_of_aggregate(symbol, first)
    rows = exchange.tape.trades(symbol, begin, exchange.tape.id_of_aggregate(symbol, last + 1) - 1).to_dicts()
    groups = [list(fills) for _, fills in groupby(rows, key=lambda row: row["aggregate_id"])]
    return [described(fills[0]["aggregate_id"], sum(fill["quantity"] for fill in fills), fills[0]) for fills in groups]


def described(number, quantity, row):
    side = "sell" if row["buyer_is_maker"] else "buy"
    return {"id": number, "price": row["price"], "quantity": quantity, "time": row["traded_at"] // 1000, "side": side}


def folded(exchange, symbol, opened, until):
    """The candle of a minute up to a time, folded from the tape trade by trade."""
    first, last = exchange.tape.id_at(symbol, opened), exchange.tape.id_at(symbol, min(opened + MINUTE, until)) - 1
    rows = exchange.tape.trades(symbol, first, last).to_dicts()
    bought = [row for row in rows if not row["buyer_is_maker"]]
    return {
        "open": rows[0]["price"],
        "high": max(row["price"] for row in rows),
        "low": min(row["price"] for row in rows),
        "close": rows[-1]["price"],
        "volume": sum(row["quantity"] for row in rows),
        "quote_volume": worth(rows),
        "taker_buy_volume": sum(row["quantity"] for row in bought),
        "taker_buy_quote_volume": worth(bought),
        "trades": len(rows),
        "first_trade_id": first,
        "last_trade_id": last,
    }


def worth(rows):
    """The sum of price times quantity with the eight decimals the exchange gives of it."""
    return sum(row["price"] * row["quantity"] for row in rows) // 10**8


COUNTS = ("trades", "first_trade_id", "last_trade_id")


def candle_as_numbers(line, expected):
    told = expected.keys() & line.keys()
    return {name: int(line[name]) if name in COUNTS else units(line[name]) for name in told}


def check_trades(reported, symbol, kind, lines):
    """Check that each trade is on the tape as it was told, and that none is missing between first and last."""
    told = [as_numbers(line) for line in lines]
    with_side = "side" in told[0]
    held = on_tape(reported.exchange, symbol, kind, told[0]["id"], told[-1]["id"])
    assert told == [row if with_side else {name: row[name] for name in row if name != "side"} for row in held]


def check_stream(reported, symbol, kind, since=BEGINS_AT):
    lines = reported.of(kind, symbol)
    assert lines
    first = reported.exchange.tape.id_at(symbol, since)
    if kind == "aggregate":
        first = reported.exchange.tape.trades(symbol, first, first)["aggregate_id"].item()
    assert int(lines[0]["id"]) == first
    check_trades(reported, symbol, kind, lines)


def check_candles(reported, symbol, kind, until=2**62, fields=5):
    lines = reported.of(kind, symbol)
    for line in lines:
        expected = folded(reported.exchange, symbol, line["opened"] * 1000, until)
        told = candle_as_numbers(line, expected)
        assert len(told) >= fields
        assert told == {name: expected[name] for name in told}
    return [line["opened"] * 1000 for line in lines]


THE_MINUTE = BEGINS_AT - BEGINS_AT % MINUTE
MINUTES = list(range(THE_MINUTE - 5 * MINUTE, THE_MINUTE + 1, MINUTE))


@pytest.mark.peers
@pytest.mark.slow
async def test_ccxt_reads_what_is_on_the_tape():
    reported = await report("ccxt")
    assert reported.lines[0]["names"] == ["BTC/USDT", "ETH/USDT"]
    check_trades(reported, "BTCUSDT", "aggregate", reported.of("rest_aggregate", "BTCUSDT"))
    assert len(reported.of("rest_aggregate", "BTCUSDT")) == 1000
    assert check_candles(reported, "BTCUSDT", "rest_candle", until=BEGINS_AT)[-6:] == MINUTES
    check_stream(reported, "BTCUSDT", "trade")
    assert check_candles(reported, "BTCUSDT", "candle") == [THE_MINUTE]


@pytest.mark.peers
@pytest.mark.slow
async def test_python_binance_reads_what_is_on_the_tape():
    reported = await report("python_binance")
    assert reported.lines[0]["names"] == ["BTCUSDT", "ETHUSDT"]
    check_trades(reported, "BTCUSDT", "trade", reported.of("rest_trade", "BTCUSDT"))
    assert len(reported.of("rest_trade", "BTCUSDT")) == 2000
    check_trades(reported, "BTCUSDT", "aggregate", reported.of("rest_aggregate", "BTCUSDT"))
    assert len(reported.of("rest_aggregate", "BTCUSDT")) == 1000
    assert check_candles(reported, "BTCUSDT", "rest_candle", until=BEGINS_AT, fields=9)[-6:] == MINUTES
    check_stream(reported, "BTCUSDT", "trade")
    assert check_candles(reported, "BTCUSDT", "candle", fields=11) == [THE_MINUTE]


@pytest.mark.peers
@pytest.mark.slow
@NEEDS_CRYPTOFEED_2
async def test_cryptofeed_reads_what_is_on_the_tape():
    reported = await report("cryptofeed")
    assert reported.lines[0]["names"] == ["BTC-USDT", "ETH-USDT"]
    check_trades(reported, "BTCUSDT", "aggregate", reported.of("rest_aggregate", "BTCUSDT"))
    assert len(reported.of("rest_aggregate", "BTCUSDT")) == 1000
    assert check_candles(reported, "BTCUSDT", "rest_candle", until=BEGINS_AT, fields=6)[-6:] == MINUTES
    check_stream(reported, "BTCUSDT", "aggregate")
    check_stream(reported, "ETHUSDT", "aggregate")
    assert check_candles(reported, "BTCUSDT", "candle", fields=6) == [THE_MINUTE]


@pytest.mark.recordings
@pytest.mark.peers
@pytest.mark.slow
async def test_ccxt_reads_the_recorded_minutes_as_they_were_recorded(recordings):
    files = [recordings / "1-binance-ws" / f"hftbacktest_spot_btcusdt_2024080{day}.gz" for day in (8, 9)]
    reported = await report("ccxt", ExchangeOptions(recordings=files, speed=20.0, holds=True), candles=2)
    check_stream(reported, "BTCUSDT", "trade", since=0)
    first = int(datetime(2024, 8, 8, 23, 54, tzinfo=UTC).timestamp()) * 1_000_000
    assert check_candles(reported, "BTCUSDT", "candle") == [first, first + MINUTE]
