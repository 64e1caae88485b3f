"""`tapehouse produce` as its users run it, before the exchange in the box: killed, doubled, without a broker."""

import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import servers
from tapehouse.catalog import TRADES, TRADES_TOPIC
from tapehouse.exchange.context.routes import COINGECKO, FEAR_GREED
from tapehouse.lake.delta import DeltaLake
from tapehouse.producers.binance.decode import decode_rest, decode_stream
from tapehouse.settings import Settings
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView
from tapehouse.tape.codec import Record, to_batches
from tapehouse.tape.reader import KafkaTapeReader

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(scope="module")
def broker(tmp_path_factory, kafka_jars) -> Iterator[servers.Broker]:
    """A broker of these tests' own; whoever kills it starts it again."""
    with servers.Broker(tmp_path_factory.mktemp("broker"), jars=kafka_jars) as running:
        yield running


@pytest.fixture
def run(run_in, tmp_path, tape_settings) -> Callable[..., Any]:
    """Start commands; none outlives the test."""
    environment = {
        "TAPEHOUSE_KAFKA_BOOTSTRAP": tape_settings.kafka_bootstrap,
        "TAPEHOUSE_SYMBOLS": ",".join(SYMBOLS),
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
    }
    return lambda *arguments, **more: run_in(environment | more, *arguments)


@pytest.fixture
def produce(run) -> Callable[..., Any]:
    """Start producers before one exchange, which goes on whatever happens to them."""
    exchange = run("exchange", "--port", "0", "--symbols", ",".join(SYMBOLS), "--rate", "400", "--bursts", "0")
    ws, rest = (exchange.until(lambda kind=kind: re.search(rf"{kind}://127\S+", exchange.said()))[0] for kind in WIRES)
    at = {"TAPEHOUSE_BINANCE_WS_URL": ws, "TAPEHOUSE_BINANCE_REST_URL": rest}
    return lambda **more: run("produce", "binance", "--port", "0", **(at | more))


WIRES = ("ws", "http")


@pytest.fixture
def check_ids(raw_records, tape_settings) -> Callable[[], dict[str, int]]:
    """Check that every id from the first to the last of each symbol is on the topic once; return how many."""

    def check() -> dict[str, int]:
        seen: dict[str, list[int]] = defaultdict(list)
        for symbol, first, last in told(raw_records(tape_settings, TRADES_TOPIC)):
            seen[symbol] += range(first, last + 1)
        for ids in seen.values():
            assert sorted(ids) == list(range(min(ids), max(ids) + 1))
        return {symbol: len(ids) for symbol, ids in seen.items()}

    return check


def told(records: list[Any]) -> Iterator[tuple[str, int, int]]:
    """Give the symbol and the ids of each record, decoded as an engine would."""
    for batch in to_batches(Record(each.value(), each.headers(), each.timestamp()[1]) for each in records):
        if batch.shape == "stream":
            yield from ((trade.s, trade.t, trade.t) for trade in decode_stream(batch).trades)
        else:
            yield from ((each.symbol, each.first_trade_id, each.last_trade_id) for each, _ in decode_rest(batch)[0])


def test_a_producer_killed_at_any_moment_leaves_every_id_on_the_topic_once(produce, check_ids):
    for _ in range(4):
        producing = produce()
        producing.until_records(100)
        moment = time.monotonic() + random.uniform(0.0, 1.0)
        producing.until(lambda moment=moment: time.monotonic() > moment)
        producing.kill()
    last = produce()
    last.until_whole()
    assert last.stop() == 0
    assert "everything received is on the tape" in last.said()
    counts = check_ids()
    assert counts.keys() == set(SYMBOLS)
    assert sum(counts.values()) > 900


def test_a_broker_killed_under_a_producer_leaves_every_id_on_the_topic_once(produce, broker, check_ids):
    producing = produce()
    for _ in range(2):
        producing.until_whole()
        broker.kill()
        failing = producing.until(lambda: (told := producing.health())["status"] == "failing" and told)
        assert "No broker has answered for" in failing["reasons"][0]
        broker.start()
        records = producing.health()["tape"]["records"]
        producing.until_records(records + 200)
    producing.until_whole()
    assert producing.stop() == 0
    check_ids()


def test_a_second_producer_of_the_same_symbols_takes_over_and_nothing_is_there_twice(produce, check_ids):
    first = produce()
    first.until_records(100)
    second = produce()
    assert first.ends() == 6
    assert "Another producer tapehouse-binance-" in first.said()
    second.until_whole()
    assert second.stop() == 0
    check_ids()


def test_producers_whose_symbols_overlap_say_things_twice_and_bronze_has_them_once(
    produce, raw_records, tape_settings, tmp_path
):
    both, one = produce(), produce(TAPEHOUSE_SYMBOLS="BTCUSDT")
    both.until_whole()
    one.until_whole()
    both.kill()  # what the other writes meanwhile is the position it begins with
    both = produce()
    both.until_whole()
    one.kill()
    one = produce(TAPEHOUSE_SYMBOLS="BTCUSDT")
    for each in (both, one):
        each.until_whole()
        assert each.stop() == 0
    on_the_topic = [row for row in told(raw_records(tape_settings, TRADES_TOPIC)) if row[0] == "BTCUSDT"]
    assert len(set(on_the_topic)) < len(on_the_topic), "they did not overlap"
    bronze = in_bronze(tape_settings, tmp_path / "lake")
    for symbol in SYMBOLS:
        ids = sorted(ident for name, first, last in bronze if name == symbol for ident in range(first, last + 1))
        assert len(ids) > 100
        assert ids == list(range(ids[0], ids[-1] + 1))


def in_bronze(settings: Settings, root: Path) -> list[tuple[str, int, int]]:
    """Take all that is on the tape to a lake; return the symbol and the ids of each row of its trades."""
    lake = DeltaLake(str(root))
    lake.create()
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, SYMBOLS), now=lambda: time.time_ns() // 1000)
    tape = KafkaTapeReader(settings, since=0)
    while batches := tape.read(5.0):
        engine.fold(batches)
    engine.close()
    return lake.scan(TRADES).select("symbol", "first_trade_id", "last_trade_id").collect().rows()


def test_it_tells_its_health_and_its_metrics_and_what_it_has_not(produce):
    producing = produce()
    producing.until_whole()
    health = producing.health()
    assert health["status"] == "ok"
    assert health["sources"]["binance"]["state"] == "connected"
    assert health["symbols"].keys() == set(SYMBOLS)
    metrics = httpx.get(f"{producing.url}/metrics").text
    assert re.search(r'tapehouse_tape_records_total\{topic="crypto-prices"\} [1-9]', metrics)
    assert "tapehouse_broker_answers 1.0" in metrics
    missing = httpx.get(f"{producing.url}/prices/latest")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


def test_without_a_broker_it_lives_says_so_and_ends_in_time(produce):
    producing = produce(TAPEHOUSE_KAFKA_BOOTSTRAP="127.0.0.1:1")
    producing.until(lambda: producing.health()["status"] == "failing")
    assert "127.0.0.1:1" in producing.said()
    assert producing.stop() == 0
    assert "the next start fetches them by their ids" in producing.said()


def test_missing_topics_end_it_with_the_command_that_makes_them(produce, tape_settings, empty_broker, run):
    empty_broker(tape_settings)
    producing = produce()
    assert producing.ends() == 2
    assert "`tapehouse topics apply` creates what is missing" in producing.said()
    assert run("topics", "apply").ends() == 0
    produce().until_records(10)


def test_a_source_that_does_not_exist_is_refused_with_those_that_do(run):
    producing = run("produce", "bloomberg")
    assert producing.ends() == 2
    assert "this version has no source bloomberg; it has binance" in producing.said()


def test_what_a_polled_source_tells_is_on_its_topic(run, raw_records, tape_settings):
    exchange = run("exchange", "--port", "0")
    rest = exchange.until(lambda: re.search(r"http://127\S+", exchange.said()))[0]
    producing = run("produce", "fear_greed", "--port", "0", TAPEHOUSE_FEAR_GREED_URL=f"{rest}{FEAR_GREED}")
    (first, *_) = producing.until(lambda: raw_records(tape_settings, "sentiment"))
    words = lambda: raw_records(tape_settings, "source-status")  # noqa: E731  # what it says of itself, up to now
    producing.until(lambda: words() and json.loads(words()[-1].value())["state"] == "connected")
    assert producing.stop() == 0
    headers = dict(first.headers())
    assert (first.key(), headers["symbol"], headers["shape"]) == (b"fear_greed", b"fear_greed", b"sentiment")
    assert "value" in json.loads(first.value())
    assert {word.key() for word in words()} == {b"fear_greed"}


def test_coins_of_the_symbols_named_are_asked_for_by_a_producer_that_follows_no_trades(run, raw_records, tape_settings):
    exchange = run("exchange", "--port", "0")
    rest = exchange.until(lambda: re.search(r"http://127\S+", exchange.said()))[0]
    producing = run("produce", "coingecko", "--port", "0", TAPEHOUSE_COINGECKO_URL=f"{rest}{COINGECKO}")

    def coins() -> set[str]:
        told = [json.loads(record.value()) for record in raw_records(tape_settings, "market-data")]
        return {each["id"] for each in told if "market_cap_rank" in each}

    producing.until(lambda: {"bitcoin", "ethereum"} <= coins())
    assert producing.stop() == 0
