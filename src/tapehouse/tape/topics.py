"""The topics of the catalog on a broker: created where they are missing, configured as the catalog has it."""

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from tapehouse.catalog import TOPICS, Topic
from tapehouse.errors import TapeError
from tapehouse.settings import Settings
from tapehouse.tape.kafka import LARGEST_RECORD, BrokerState, check_topics, client_configuration, error_of
from tapehouse.tape.transactions import TRY_FOR, GaveUpError

ANSWER_WITHIN = 15.0
"""Seconds a broker has for an answer."""
LOOK_EVERY = 0.1


def apply_topics(settings: Settings) -> Iterator[str]:
    """Make the broker's topics those of the catalog; yield a sentence for each. Safe to repeat.

    Raise TapeError when the broker does not answer or refuses. Nothing is ever deleted, and partitions stay as many
    as they are: more of them would move symbols to other partitions, away from what was said of them before.
    """
    broker = BrokerState(settings.kafka_bootstrap)
    admin = AdminClient(client_configuration(settings, broker))
    deadline = time.monotonic() + ANSWER_WITHIN
    try:
        present = _first_listed(admin, broker, lambda: time.monotonic() < deadline)
        missing = [topic for name, topic in TOPICS.items() if name not in present]
        _create(admin, missing, settings)
        for name, topic in TOPICS.items():
            if topic in missing:
                yield f"{name}: created, {_partitions(topic, settings)} partitions"
            else:
                yield _keep(admin, topic, len(present[name].partitions), settings)
    except KafkaException as exception:
        broker.check()
        raise _refused(error_of(exception), settings) from exception


def require_topics(settings: Settings, names: Collection[str], may_wait: Callable[[], bool]) -> None:
    """Wait for the brokers and look whether these topics are there; raise ConfigError for one that is missing.

    Raise GaveUpError when `may_wait` says that we are to stop, TapeError where the brokers do not let us in.
    """
    broker = BrokerState(settings.kafka_bootstrap)
    try:
        present = _first_listed(AdminClient(client_configuration(settings, broker)), broker, may_wait)
    except KafkaException as exception:
        raise GaveUpError("the brokers do not tell which topics there are") from exception
    check_topics(present, names, settings)


def configuration_of(topic: Topic) -> dict[str, str]:
    """Return a topic's configuration by Kafka's names."""
    kept = topic.retention
    return {
        "cleanup.policy": topic.cleanup,
        "max.message.bytes": str(LARGEST_RECORD),
        **({} if kept is None else {"retention.ms": str(kept // timedelta(milliseconds=1))}),
        **topic.settings,
    }


def _first_listed(admin: AdminClient, broker: BrokerState, may_wait: Callable[[], bool]) -> dict[str, TopicMetadata]:
    """Return the topics that are there; raise TapeError as soon as the brokers are known not to let us in."""
    while True:
        try:
            present = dict(admin.list_topics(timeout=TRY_FOR).topics)
        except KafkaException as exception:
            admin.poll(0)  # lets the client tell `broker` what it met
            broker.lost(error_of(exception).str())
            broker.check()
            if not may_wait():
                raise
        else:
            broker.answered()
            return present


def _listed(admin: AdminClient) -> dict[str, TopicMetadata]:
    return dict(admin.list_topics(timeout=ANSWER_WITHIN).topics)


def _partitions(topic: Topic, settings: Settings) -> int:
    return topic.partitions or settings.kafka_partitions


def _create(admin: AdminClient, topics: list[Topic], settings: Settings) -> None:
    if not topics:
        return
    wanted = [
        NewTopic(
            topic.name,
            num_partitions=_partitions(topic, settings),
            replication_factor=settings.kafka_replication,
            config=configuration_of(topic),
        )
        for topic in topics
    ]
    for future in admin.create_topics(wanted, request_timeout=ANSWER_WITHIN).values():
        _wait(future, unless=KafkaError.TOPIC_ALREADY_EXISTS)
    _wait_until_led(admin, {topic.name for topic in topics})


def _wait(future: Future[Any], unless: int | None = None) -> Any:
    try:
        return future.result()
    except KafkaException as exception:
        if error_of(exception).code() != unless:
            raise
        return None


def _wait_until_led(admin: AdminClient, names: set[str]) -> None:
    """Wait until every partition has a leader: only then can it be written to and read."""
    deadline = time.monotonic() + ANSWER_WITHIN
    while not all(_is_led(topic) for topic in (_listed(admin).get(name) for name in names)):
        if time.monotonic() > deadline:
            raise TapeError(f"The topics are created, and have no leader after {ANSWER_WITHIN:.0f} s.")
        time.sleep(LOOK_EVERY)


def _is_led(topic: TopicMetadata | None) -> bool:
    return topic is not None and bool(topic.partitions) and all(each.leader >= 0 for each in topic.partitions.values())


def _keep(admin: AdminClient, topic: Topic, partitions: int, settings: Settings) -> str:
    """Bring the configuration of a topic that is there in line."""
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    (future,) = admin.describe_configs([resource], request_timeout=ANSWER_WITHIN).values()
    there = {name: entry.value for name, entry in _wait(future).items()}
    different = {name: value for name, value in configuration_of(topic).items() if there.get(name) != value}
    if different:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in different.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries)
        (future,) = admin.incremental_alter_configs([resource], request_timeout=ANSWER_WITHIN).values()
        _wait(future)
    changed = f"changed {', '.join(sorted(different))}" if different else "as it should be"
    wanted = _partitions(topic, settings)
    left = "" if partitions == wanted else f"; it keeps its {partitions} partitions, not {wanted}"
    return f"{topic.name}: {changed}{left}"


def _refused(error: KafkaError, settings: Settings) -> TapeError:
    if error.code() in {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN}:  # noqa: SLF001  # the library's names
        return TapeError(f"No broker answers at {settings.kafka_bootstrap}; see TAPEHOUSE_KAFKA_BOOTSTRAP.")
    return TapeError(f"The broker at {settings.kafka_bootstrap} refused: {error.str()} ({error.name()}).")
