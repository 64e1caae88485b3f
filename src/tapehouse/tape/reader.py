"""The tape on Kafka as its readers see it: what is committed, in the order of each partition."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tapehouse.catalog import KLINES_TOPIC, TRADES_TOPIC
from tapehouse.ports import Batch
from tapehouse.settings import Settings
from tapehouse.tape.codec import Record, to_batches
from tapehouse.tape.kafka import BrokerState, Configuration, check_topics, client_configuration, error_of
from tapehouse.tape.transactions import TRY_FOR, GaveUpError

READ_FRAMES = 20_000
"""Messages of one read at most."""
LOOK_EVERY = 0.1
"""Seconds a read waits before it looks whether the tape was closed."""
BEGIN_WITHIN = 2.0
"""Seconds the brokers have for an answer when a reader is made; after that, it begins with the read they answer."""
ANSWER_WITHIN = 15.0
"""Seconds the brokers have to tell where a topic ends."""

log = structlog.get_logger(__name__)


class KafkaTapeReader:
    """Follows topics (`ports.Tape.read`) for itself: it is of no group, and remembers no place.

    `since` is the time of receipt (microseconds UTC) to begin at, None to begin with what comes from now on. Brokers
    that are away are waited for, by `read`. Raise TapeError when they do not let us in, ConfigError when a topic is
    missing.
    """

    def __init__(
        self, settings: Settings, *, since: int | None = None, topics: Sequence[str] = (TRADES_TOPIC, KLINES_TOPIC)
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._since = since
        self._broker = BrokerState(settings.kafka_bootstrap)
        self._closed = threading.Event()
        self._consumer = _consumer(settings, self._broker)
        deadline = time.monotonic() + BEGIN_WITHIN
        self._begun = self._begin()
        while not self._begun and time.monotonic() < deadline:
            self._closed.wait(LOOK_EVERY)
            self._begun = self._begin()

    def read(self, timeout: float) -> list[Batch]:
        """Take what came next, waiting up to `timeout` seconds for the first; empty when none came.

        The messages of one read are in the order of receipt, over all partitions. Trouble of the brokers is waited
        for; raise TapeError when they do not let us in, ConfigError when a topic is missing.
        """
        if not self._begun:
            self._begun = self._begin()
            if not self._begun:
                self._closed.wait(min(timeout, LOOK_EVERY))
                return []
        messages = self._first(timeout)
        if messages and not self._closed.is_set():
            messages += self._consumer.consume(READ_FRAMES - 1, 0)
        records = [_record(message) for message in messages if self._is_record(message)]
        records.sort(key=lambda record: record.timestamp)
        return to_batches(records)

    @property
    def error(self) -> str:
        """What keeps the brokers from answering, empty while they do."""
        return self._broker.error

    def close(self) -> None:
        """Wake whoever reads, and read no more."""
        self._closed.set()

    def _begin(self) -> bool:
        """Fix the offsets to begin at; False while the brokers do not answer."""
        try:
            partitions = _partitions(self._consumer, self._settings, self._topics)
            self._consumer.assign(_beginning(self._consumer, partitions, self._since))
        except KafkaException as exception:  # of a topic just created, not every broker knows yet who leads it
            self._consumer.poll(0)  # lets the client tell `_broker` what it met
            self._broker.lost(error_of(exception).str())
            self._broker.check()
            return False
        self._broker.answered()
        return True

    def _first(self, timeout: float) -> list[Message]:
        while not self._closed.is_set():
            messages = self._consumer.consume(1, min(timeout, LOOK_EVERY))
            self._broker.check()
            timeout -= LOOK_EVERY
            if messages or timeout <= 0:
                return messages
        return []

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            self._broker.answered()
            return True
        self._broker.on_error(error)
        self._broker.check()
        return False


def newest_by_key(
    settings: Settings, topic: str, broker: BrokerState, may_wait: Callable[[], bool]
) -> dict[bytes, bytes]:
    """Return the newest committed message of each key of a topic's one partition, as of now.

    A transaction that is open now is waited for: what lies behind it counts. Raise GaveUpError when `may_wait` says
    that we are to stop.
    """
    place = TopicPartition(topic, 0, 0)
    end = _end(settings, place, broker, may_wait)
    consumer = _consumer(settings, broker, {"enable.partition.eof": True})
    newest: dict[bytes, bytes] = {}
    try:
        consumer.assign([place])
        reached = 0
        while reached < end:
            for message in consumer.consume(READ_FRAMES, LOOK_EVERY):
                error = message.error()
                if error is None:
                    newest[message.key() or b""] = message.value() or b""
                    reached = (message.offset() or 0) + 1
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the library's name
                    reached = message.offset() or 0  # behind the marks of transactions, which are no messages
                else:
                    broker.on_error(error)
            broker.check()
            if not may_wait():
                raise GaveUpError(f"{topic} is not read to its end")
    finally:
        consumer.close()
    return newest


def _end(settings: Settings, place: TopicPartition, broker: BrokerState, may_wait: Callable[[], bool]) -> int:
    """Return the offset behind the last message of a partition, open transactions included."""
    admin = AdminClient(client_configuration(settings, broker))
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library leaves it so
    while True:
        (future,) = admin.list_offsets({place: latest}, request_timeout=ANSWER_WITHIN).values()
        try:
            return int(future.result().offset)
        except KafkaException as exception:
            broker.lost(error_of(exception).str())
            broker.check()
            if not may_wait():
                raise GaveUpError("the brokers do not tell where a topic ends") from exception
            with suppress(KafkaException):
                check_topics(admin.list_topics(timeout=ANSWER_WITHIN).topics, [place.topic], settings)


def _consumer(settings: Settings, broker: BrokerState, more: Configuration | None = None) -> Consumer:
    return Consumer(
        {
            **client_configuration(settings, broker),
            "group.id": "tapehouse",  # asked for, and never joined
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # what was deleted by age meanwhile is passed over
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 4 * 1024 * 1024,
            "queued.max.messages.kbytes": 32 * 1024,
            **(more or {}),
        }
    )


def _partitions(consumer: Consumer, settings: Settings, topics: Sequence[str]) -> list[TopicPartition]:
    present = consumer.list_topics(timeout=TRY_FOR).topics
    check_topics(present, topics, settings)
    return [TopicPartition(topic, partition) for topic in topics for partition in present[topic].partitions]


def _beginning(consumer: Consumer, partitions: list[TopicPartition], since: int | None) -> list[TopicPartition]:
    """Return the partitions, each with the offset to begin at: fixed now, so that nothing from now on is missed."""
    ends = [_at(each, consumer.get_watermark_offsets(each, timeout=TRY_FOR)[1]) for each in partitions]
    if since is None:
        return ends
    found = consumer.offsets_for_times([_at(each, max(since, 0) // 1000) for each in partitions], timeout=TRY_FOR)
    # Where no message is as young, the answer is "the end", which the client would look up only when it first fetches.
    return [there if there.offset >= 0 else end for there, end in zip(found, ends, strict=True)]


def _at(place: TopicPartition, offset: int) -> TopicPartition:
    return TopicPartition(place.topic, place.partition, offset)


def _record(message: Message) -> Record:
    return Record(message.value(), message.headers(), message.timestamp()[1])  # type: ignore[arg-type]  # headers come as a list
