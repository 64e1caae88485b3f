"""The writer of the tape on a real broker: poison, duplicates, fences, dying brokers; each id is on the topic once."""

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import pytest
from confluent_kafka import Producer

import servers
from tapehouse.catalog import DEAD_LETTERS, KLINES_TOPIC, TRADES_TOPIC
from tapehouse.errors import ConfigError, TapehouseError
from tapehouse.ports import Batch, Hole
from tapehouse.producers.binance.routing import UNKNOWN_EVENT, binance_route
from tapehouse.settings import Settings
from tapehouse.tape import transactions
from tapehouse.tape.codec import LATEST, headers_of, key_of
from tapehouse.tape.reader import KafkaTapeReader
from tapehouse.tape.writer import FencedError, KafkaTapeWriter

START = 1_723_161_254_000
WITHIN = 60.0


def trade(ident: int, **fields: object) -> bytes:
    at = START + ident
    event = {"e": "trade", "E": at, "s": "BTCUSDT", "t": ident, "p": "61700.5", "q": "0.25", "T": at, "m": True}
    return json.dumps({"stream": "btcusdt@trade", "data": {**event, **fields}}).encode()


def batch(*frames: bytes, **fields: object) -> Batch:
    return Batch(list(frames), [START * 1000 + 86_400_000_000] * len(frames), **fields)


class Running:
    """A writer and its thread; `error` is what ended it."""

    def __init__(self, settings: Settings, **bounds: int) -> None:
        self.writer = KafkaTapeWriter(settings, "test", binance_route(["BTCUSDT"]), **bounds)
        self.error: TapehouseError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def start(self) -> Self:
        self._thread.start()
        return self

    def _write(self) -> None:
        try:
            self.writer.write_forever(self._stopping)
        except TapehouseError as error:
            self.error = error

    def append(self, *frames: bytes, **fields: object) -> None:
        asyncio.run(self.writer.append(batch(*frames, **fields)))

    def until(self, seen: Callable[[], object]) -> None:
        deadline = time.monotonic() + WITHIN
        while not seen():
            assert time.monotonic() < deadline, (self.writer.status(), self.error)
            time.sleep(0.02)

    def until_empty(self) -> None:
        self.until(lambda: self.writer.status().waiting == 0 and self.writer.status().records)

    def end(self) -> None:
        self.writer.close()
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(WITHIN)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def broker(tmp_path_factory, kafka_jars) -> Iterator[servers.Broker]:
    """A broker of these tests' own; whoever kills it starts it again."""
    with servers.Broker(tmp_path_factory.mktemp("broker"), jars=kafka_jars) as running:
        yield running


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """Make writers; none outlives the test."""
    made: list[Running] = []

    def make(settings: Settings, **bounds: int) -> Running:
        made.append(Running(settings, **bounds))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def frames(raw_records, tape_settings) -> Callable[..., list[bytes]]:
    """Return everything that is committed to a topic."""
    return lambda topic=TRADES_TOPIC: [record.value() for record in raw_records(tape_settings, topic)]


@pytest.fixture
def ids(frames) -> Callable[[], list[int]]:
    """Return the ids of the trades that are on the topic, in their order."""
    return lambda: [json.loads(frame)["data"]["t"] for frame in frames()]


def test_what_cannot_be_read_or_is_not_known_goes_to_dead_letters_and_the_rest_goes_on(run, tape_settings, ids, frames):
    huge = b"x" * (1024 * 1024)
    poison = [b"rubbish", b"\xff\xfe", trade(3, p="NaN"), trade(4, s="DOGEUSDT"), trade(10**11), huge]
    event = b'{"stream":"x","data":{"e":"bookTicker"}}'
    running = run(tape_settings).start()
    running.append(trade(1), *poison, event, trade(2))
    running.append(b"binary", binary=(0,))
    running.append(trade(5))
    running.end()
    assert ids() == [1, 2, 5]
    assert sorted([*poison, event, b"binary"]) == sorted(frames(DEAD_LETTERS))
    assert [(hole.first_trade_id, hole.last_trade_id) for hole in running.writer.holes()] == [(3, 4)]


def test_a_dead_letter_says_why_it_is_one(run, tape_settings, raw_records):
    running = run(tape_settings).start()
    running.append(b'{"e":"bookTicker"}')
    running.append(b"\x01", binary=(0,))
    running.end()
    told = {record.value(): dict(record.headers()) for record in raw_records(tape_settings, DEAD_LETTERS)}
    assert told[b'{"e":"bookTicker"}']["reason"] == UNKNOWN_EVENT.encode()
    assert told[b"\x01"]["reason"] == b"a binary message"
    assert told[b"\x01"]["binary"] == b"1"
    assert {headers["topic"] for headers in told.values()} == {TRADES_TOPIC.encode()}


def test_a_record_has_its_symbol_as_key_and_its_receipt_as_time(run, tape_settings, raw_records):
    running = run(tape_settings).start()
    running.append(trade(1))
    running.end()
    (record,) = raw_records(tape_settings, TRADES_TOPIC)
    assert record.key() == b"binance:BTCUSDT"
    assert record.timestamp()[1] == START + 86_400_000
    assert dict(record.headers()) == {"shape": b"stream", "received_at": b"%d" % ((START + 86_400_000) * 1000)}


def test_a_start_goes_on_from_the_position_of_the_one_before(run, tape_settings, ids):
    first = run(tape_settings).start()
    first.append(*map(trade, range(1, 101)))
    first.append(*map(trade, range(90, 111)))
    first.end()
    second = run(tape_settings).start()
    second.append(*map(trade, [105, 121]))
    second.until_empty()
    second.until(second.writer.holes)
    at = (START + 110) * 1000, (START + 121) * 1000
    assert [Hole("BTCUSDT", 111, 120, *at)] == second.writer.holes()
    second.append(*map(trade, range(111, 121)))
    second.until(lambda: not second.writer.holes())
    second.end()
    assert list(range(1, 122)) == sorted(ids())


def test_of_two_producers_of_one_name_the_younger_goes_on_and_nothing_is_there_twice(run, tape_settings, ids):
    elder = run(tape_settings).start()
    elder.append(*map(trade, range(1, 51)))
    elder.until_empty()
    younger = run(tape_settings).start()
    younger.append(*map(trade, range(1, 101)))
    younger.until_empty()
    elder.append(*map(trade, range(51, 151)))
    elder.until(lambda: elder.error)
    assert isinstance(elder.error, FencedError)
    assert "Another producer test has taken over" in str(elder.error)
    younger.append(trade(101))
    younger.end()
    assert younger.error is None
    assert list(range(1, 102)) == ids()


def test_a_missing_topic_is_named_with_the_command_that_makes_it(run, tape_settings, empty_broker):
    empty_broker(tape_settings)
    running = run(tape_settings).start()
    running.until(lambda: running.error)
    assert isinstance(running.error, ConfigError)
    assert "no topic" in str(running.error)
    assert "`tapehouse topics apply`" in str(running.error)
    with pytest.raises(ConfigError, match="tapehouse topics apply"):
        KafkaTapeReader(tape_settings)


def test_a_topic_that_vanishes_ends_the_writer_with_its_name(run, tape_settings, empty_broker):
    running = run(tape_settings).start()
    running.append(trade(1))
    running.until_empty()
    empty_broker(tape_settings)
    running.append(trade(2))
    running.until(lambda: running.error)
    assert isinstance(running.error, ConfigError)


def test_a_killed_broker_is_waited_for_and_takes_everything_once(run, tape_settings, broker, ids):
    running = run(tape_settings).start()
    sent = 0
    for _ in range(2):
        for _ in range(20):
            running.append(*map(trade, range(sent + 1, sent + 101)))
            sent += 100
        broker.kill()
        running.append(*map(trade, range(sent + 1, sent + 101)))
        sent += 100
        running.until(lambda: running.writer.status().broker_error)
        broker.start()
        running.until_empty()
    running.end()
    assert running.error is None
    assert list(range(1, sent + 1)) == ids()
    assert not running.writer.gave_up


def test_a_full_tape_makes_one_wait_until_the_broker_is_back(run, tape_settings, broker, ids):
    running = run(tape_settings, most_frames=10).start()
    running.append(trade(1))
    running.until_empty()
    broker.kill()

    async def flood() -> int:
        appended = 1
        try:
            async with asyncio.timeout(3):
                while True:
                    await running.writer.append(batch(*map(trade, range(appended + 1, appended + 6))))
                    appended += 5
        except TimeoutError:
            return appended

    appended = asyncio.run(flood())
    assert appended <= 1 + 10 + 10
    assert running.writer.status().waiting <= running.writer.status().bound == 10
    broker.start()
    running.until_empty()
    running.append(*map(trade, range(appended + 1, appended + 6)))
    running.end()
    assert list(range(1, appended + 6)) == ids()


def test_a_broker_that_hangs_for_longer_than_a_transaction_lasts_takes_everything_once(
    run, tape_settings, broker, monkeypatch, ids
):
    monkeypatch.setattr(transactions, "TIMES_OUT_AFTER", 3)
    running = run(tape_settings).start()
    running.append(*map(trade, range(1, 1001)))
    running.until_empty()
    running.append(*map(trade, range(1001, 20_001)))
    broker.process.send_signal(signal.SIGSTOP)
    stopped_until = time.monotonic() + 8.0
    running.until(lambda: time.monotonic() > stopped_until)
    broker.process.send_signal(signal.SIGCONT)
    running.append(*map(trade, range(20_001, 20_101)))
    running.end()
    assert running.error is None
    assert list(range(1, 20_101)) == ids()


def test_a_session_that_the_brokers_ended_is_begun_anew_where_nobody_took_the_name(run, tape_settings, ids):
    running = run(tape_settings).start()
    running.append(*map(trade, range(1, 101)))
    running.until_empty()
    other = Producer({"bootstrap.servers": tape_settings.kafka_bootstrap, "transactional.id": "test"})
    other.init_transactions(WITHIN)
    running.append(*map(trade, range(51, 201)))
    running.until(lambda: running.writer.status().records == 200)
    running.end()
    assert running.error is None
    assert list(range(1, 201)) == ids()


def test_a_stop_without_a_broker_ends_in_time_and_says_what_is_left(run, tape_settings, broker, ids):
    running = run(tape_settings).start()
    running.append(trade(1))
    running.until_empty()
    broker.kill()
    running.append(trade(2))
    began = time.monotonic()
    running.end()
    assert running.writer.gave_up
    assert time.monotonic() - began < 10
    broker.start()
    assert ids() == [1]


def test_a_follower_that_begins_now_gets_what_comes_from_now_on(run, tape_settings):
    running = run(tape_settings).start()
    running.append(trade(1))
    running.until_empty()
    follower = KafkaTapeReader(tape_settings, topics=[TRADES_TOPIC, KLINES_TOPIC])
    running.append(trade(2))
    found = follower.read(20)
    assert [json.loads(frame)["data"]["t"] for each in found for frame in each.frames] == [2]


def test_a_follower_from_a_time_since_which_nothing_came_misses_nothing_of_what_comes(tape_settings):
    producer = Producer({"bootstrap.servers": tape_settings.kafka_bootstrap})
    for ident in range(1, 6):
        follower = KafkaTapeReader(tape_settings, since=LATEST)
        producer.produce(TRADES_TOPIC, trade(ident), key_of("BTCUSDT"), headers=headers_of("stream", 1))
        assert producer.flush(20) == 0
        found = follower.read(20)
        assert [json.loads(frame)["data"]["t"] for each in found for frame in each.frames] == [ident]


def test_a_follower_sees_nothing_of_a_transaction_that_was_taken_back(tape_settings):
    follower = KafkaTapeReader(tape_settings, since=0)
    producer = Producer({"bootstrap.servers": tape_settings.kafka_bootstrap, "transactional.id": "wavering"})
    producer.init_transactions(20)
    for ident, end in (
        (1, producer.commit_transaction),
        (2, producer.abort_transaction),
        (3, producer.commit_transaction),
    ):
        producer.begin_transaction()
        producer.produce(TRADES_TOPIC, trade(ident), key_of("BTCUSDT"), headers=headers_of("stream", 1))
        assert producer.flush(20) == 0
        end(20)
    ids: list[int] = []
    while 3 not in ids:
        found = follower.read(20)
        assert found
        ids += [json.loads(frame)["data"]["t"] for each in found for frame in each.frames]
    assert ids == [1, 3]
