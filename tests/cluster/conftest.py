"""A real broker, a real object store, real jars: the code that starts them for a person starts them for the tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tapehouse.settings import Settings

sys.path.append(str(Path(__file__).parents[2] / "deploy" / "local"))  # programs of the repository, not a package

import parts
import servers

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the parts of a cluster, and takes its time."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def spark_jars(parts_folder: Path) -> Path:
    """The folder of jars that pyspark lacks."""
    return parts.fetch_spark_jars(parts_folder / "spark-jars")


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ObjectStore]:
    """An object store that many tests share, each below a prefix of its own: `.endpoint`, `.bucket`, `.environment`."""
    with servers.ObjectStore(tmp_path_factory.mktemp("object-store")) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path, kafka_jars: Path) -> Iterator[Callable[[], servers.Broker]]:
    """Start brokers of the test's own, to `kill()` and `start()` again; they end with the test."""
    made: list[servers.Broker] = []

    def start() -> servers.Broker:
        made.append(servers.Broker(tmp_path / f"broker-{len(made)}", jars=kafka_jars))
        return made[-1].start()

    yield start
    for each in made:
        each.kill()


@pytest.fixture
def own_object_store(tmp_path: Path) -> Iterator[Callable[[], servers.ObjectStore]]:
    """Start object stores of the test's own, to `kill()` and `start()` again; they end with the test."""
    made: list[servers.ObjectStore] = []

    def start() -> servers.ObjectStore:
        made.append(servers.ObjectStore(tmp_path / f"object-store-{len(made)}"))
        return made[-1].start()

    yield start
    for each in made:
        each.kill()


@pytest.fixture
def raw_records() -> Callable[[Settings, str], list[Message]]:
    """Return what is committed to a topic, as the client library gives it."""

    def read(settings: Settings, topic: str) -> list[Message]:
        given = {"bootstrap.servers": settings.kafka_bootstrap, "group.id": "test", "enable.partition.eof": True}
        consumer = Consumer({**given, "isolation.level": "read_committed", "enable.auto.commit": False})
        partitions = list(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        records: list[Message] = []
        ended: set[int] = set()
        while ended != set(partitions):
            for message in consumer.consume(10_000, 0.2):
                if message.error() is None:
                    records.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
        consumer.close()
        return records

    return read
