import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tapehouse import telemetry
from tapehouse.api import clients, live
from tapehouse.market.windows import MINUTE, opened_at

PATIENCE = 10.0


HANDSHAKE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until, f"not within {PATIENCE} s"
        time.sleep(0.02)


def hear(socket: ClientConnection, kind: str, holds: Callable[[dict], object] = lambda _: True) -> dict:
    """The next message of a type for which something holds, whatever else comes before."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        message = json.loads(socket.recv(timeout=PATIENCE))
        if message["type"] == kind and holds(message):
            return message
    raise AssertionError(f"no {kind} within {PATIENCE} s")


def ask(socket: ClientConnection, *symbols: str, interval: str = "1m", channels=("candles", "trades")) -> None:
    socket.send(json.dumps({"subscribe": {"symbols": symbols, "interval": interval, "channels": channels}}))


@contextmanager
def listening(address: str, **options) -> Iterator[ClientConnection]:
    with connect(address.replace("http", "ws") + "/live", **options) as client:
        hear(client, "hello")
        yield client


def test_hello_tells_the_protocol_the_symbols_and_where_things_stand(market, address):
    market.tell(market.trade("1"))
    with connect(address.replace("http", "ws") + "/live") as client:
        hello = hear(client, "hello")
    assert (hello["protocol"], hello["symbols"], hello["sequence"]) == (1, ["BTCUSDT", "ETHUSDT"], 1)
    assert hello["bases"] == {"BTCUSDT": "BTC", "ETHUSDT": "ETH"}


def test_a_snapshot_has_what_is_stored_and_what_is_in_memory(market, address):
    start = opened_at(int(time.time()) * 1_000_000, "1m") - 3 * MINUTE
    market.tell(market.trade("100", at=start), market.trade("101", at=start + MINUTE))
    market.commit()
    market.tell(market.trade("102", at=start + 2 * MINUTE))
    with listening(address) as client:
        ask(client, "BTCUSDT")
        snapshot = hear(client, "snapshot")
    assert [candle["close"] for candle in snapshot["candles"]["BTCUSDT"]] == ["100", "101", "102"]
    assert [trade["price"] for trade in snapshot["trades"]["BTCUSDT"]] == ["100", "101", "102"]


def test_a_trade_moves_the_candle_and_comes_itself_with_a_higher_sequence(market, address):
    market.tell(market.trade("100"))
    with listening(address) as client:
        ask(client, "BTCUSDT")
        before = hear(client, "snapshot")["sequence"]
        market.tell(market.trade("65000.12345678", "0.00000001"))
        trades = hear(client, "trades")
        candles = hear(client, "candles")
    assert tuple(trades["trades"][-1][name] for name in ("price", "quantity")) == ("65000.12345678", "0.00000001")
    assert tuple(candles["candles"][-1][name] for name in ("close", "state")) == ("65000.12345678", "open")
    assert before < trades["sequence"] == candles["sequence"]


def test_only_what_is_asked_for_comes(market, address):
    market.tell(market.trade("1"), market.trade("2", symbol="ETHUSDT"))
    with listening(address) as client:
        ask(client, "ETHUSDT", interval="5m", channels=["candles"])
        hear(client, "snapshot")
        market.tell(market.trade("3"))
        market.tell(market.trade("4", symbol="ETHUSDT"))
        message = json.loads(client.recv(timeout=PATIENCE))
    assert (message["type"], message["symbol"], message["interval"]) == ("candles", "ETHUSDT", "5m")


def test_a_new_subscription_replaces_the_one_before(market, address):
    market.tell(market.trade("1"), market.trade("2", symbol="ETHUSDT"))
    with listening(address) as client:
        ask(client, "BTCUSDT", channels=["trades"])
        hear(client, "snapshot")
        ask(client, "ETHUSDT", channels=["trades"])
        hear(client, "snapshot", lambda message: "ETHUSDT" in message["trades"])
        market.tell(market.trade("3"))
        market.tell(market.trade("4", symbol="ETHUSDT"))
        assert json.loads(client.recv(timeout=PATIENCE))["symbol"] == "ETHUSDT"


def test_prices_of_all_symbols_come_with_the_open_of_the_day(market, address):
    now = int(time.time()) * 1_000_000
    day = opened_at(now, "1d")
    market.tell(market.trade("100", at=day), market.trade("110", at=now), market.trade("5", symbol="ETHUSDT", at=now))
    with listening(address) as client:
        ask(client, channels=["prices"])
        prices = {entry["symbol"]: entry for entry in hear(client, "prices")["prices"]}
    assert (prices["BTCUSDT"]["price"], prices["BTCUSDT"]["day_open"]) == ("110", "100")
    assert prices["ETHUSDT"]["price"] == "5"


def test_health_comes_unasked_and_tells_of_a_cut_feed(market, address):
    market.tell(market.trade("1"))
    with listening(address) as client:
        ask(client, "BTCUSDT", channels=["health"])
        assert hear(client, "health")["sources"]["binance"]["state"] == "connected"
        market.connected = False
        health = hear(client, "health", lambda message: message["sources"]["binance"]["state"] == "cut")
    assert health["status"] == "failing"
    assert "cut" in health["reasons"][0]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "not json",
        "[]",
        "{}",
        '{"subscribe": 5}',
        '{"subscribe": {"symbols": "BTCUSDT"}}',
        '{"subscribe": {"symbols": ["NOPEUSDT"]}}',
        '{"subscribe": {"symbols": ["BTCUSDT"], "interval": "2m"}}',
        '{"subscribe": {"symbols": ["BTCUSDT"], "channels": ["orders"]}}',
        '{"subscribe": {"symbols": [], "more": 1}}',
        json.dumps({"subscribe": {"symbols": ["BTCUSDT"] * 21}}),
        b"\x00\xff",
        "[" * 10_000,
    ],
)
def test_an_unusable_message_gets_an_error_and_the_connection_goes_on(market, address, message):
    market.tell(market.trade("1"))
    with listening(address) as client:
        client.send(message)
        assert hear(client, "error")["detail"]
        ask(client, "BTCUSDT")
        assert hear(client, "snapshot")


def test_a_client_that_only_makes_mistakes_is_let_go(address):
    with listening(address) as client:
        for _ in range(live.MOST_MISTAKES):
            client.send("?")
        with pytest.raises(ConnectionClosed) as closed:
            hear(client, "nothing")
    assert (1008, f"{live.MOST_MISTAKES} unusable messages") == (closed.value.rcvd.code, closed.value.rcvd.reason)


def test_a_message_that_is_too_long_ends_the_connection(address):
    with listening(address) as client:
        client.send("x" * 20_000)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=PATIENCE)
    assert closed.value.rcvd.code == 1009


def test_no_more_clients_than_the_limit_are_let_in(monkeypatch, address):
    monkeypatch.setattr(live, "MOST_CLIENTS", 1)
    with listening(address):
        with connect(address.replace("http", "ws") + "/live") as second, pytest.raises(ConnectionClosed) as closed:
            second.recv(timeout=PATIENCE)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "1 clients are connected already")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost", "null"])
def test_a_page_of_another_origin_cannot_listen(address, origin):
    with pytest.raises(InvalidStatus) as refused, listening(address, origin=origin):
        pass
    assert refused.value.response.status_code == 403


def test_the_own_page_can_listen(market, address):
    market.tell(market.trade("100"))
    with listening(address, origin=address) as client:
        ask(client, "BTCUSDT")
        snapshot = hear(client, "snapshot")
    assert [trade["price"] for trade in snapshot["trades"]["BTCUSDT"]] == ["100"]


def test_a_slow_client_is_told_how_much_it_missed_and_where_things_stand(monkeypatch, market, address):
    monkeypatch.setattr(clients, "MOST_WAITING", 4)
    market.tell(market.trade("1"))
    with listening(address) as client:
        ask(client, "BTCUSDT")
        hear(client, "snapshot")
        skipped, close = 0, "1"
        for price in range(2, 3000):
            market.tell(market.trade(str(price)))
        while close != "2999":
            message = json.loads(client.recv(timeout=PATIENCE))
            skipped += message.get("skipped_messages", 0)
            candles = message.get("candles", close)
            if message["type"] == "catch_up":
                close = candles["BTCUSDT"][-1]["close"]
            elif message["type"] == "candles":
                close = candles[-1]["close"]
        assert skipped > 0


def test_a_client_that_reads_nothing_is_cut(monkeypatch, market, address):
    monkeypatch.setattr(clients, "LONGEST_SEND", 0.1)
    monkeypatch.setattr(clients, "LONGEST_GOODBYE", 0.1)
    start = opened_at(int(time.time()) * 1_000_000, "1m") - 500 * MINUTE
    market.tell(*[market.trade("1", at=start + minute * MINUTE) for minute in range(500)])
    market.commit()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((urlsplit(address).hostname, urlsplit(address).port))
        deaf.sendall(HANDSHAKE)
        wait_for(lambda: telemetry.live_clients._value.get() == 1)
        asking = Frame(Opcode.TEXT, b'{"subscribe": {"symbols": ["BTCUSDT"]}}').serialize(mask=True)
        wait_for(lambda: deaf.sendall(asking) or telemetry.live_clients._value.get() == 0)
        with listening(address) as attentive:
            ask(attentive, "BTCUSDT")
            assert len(hear(attentive, "snapshot")["candles"]["BTCUSDT"]) == 500


def test_sequences_never_go_back_and_no_trade_is_lost_or_told_twice(market, address):
    market.tell(market.trade("1"))
    with listening(address) as client:
        ask(client, "BTCUSDT", channels=["trades"])
        snapshot = hear(client, "snapshot")
        told = [trade["last_trade_id"] for trade in snapshot["trades"]["BTCUSDT"]]
        sequences = [snapshot["sequence"]]
        for price in range(2, 60):
            market.tell(market.trade(str(price)))
        while told[-1] < 59:
            message = hear(client, "trades")
            sequences.append(message["sequence"])
            told += [trade["last_trade_id"] for trade in message["trades"]]
    assert list(range(1, 60)) == told
    assert sorted(sequences) == sequences
