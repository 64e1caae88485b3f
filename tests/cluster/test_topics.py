"""`tapehouse topics apply` on a real broker: what the catalog says is what the broker has."""

import time

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tapehouse.catalog import POSITIONS, SOURCE_STATUS, TOPICS
from tapehouse.errors import TapeError
from tapehouse.settings import Settings
from tapehouse.tape import topics
from tapehouse.tape.topics import apply_topics

SEVEN_DAYS = str(7 * 24 * 3600 * 1000)


@pytest.fixture
def admin(tape_settings) -> AdminClient:
    return AdminClient({"bootstrap.servers": tape_settings.kafka_bootstrap})


def configuration(admin: AdminClient, name: str) -> dict[str, str]:
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
    return {key: entry.value for key, entry in future.result().items()}


def test_every_topic_is_there_with_its_partitions_and_its_retention(admin, tape_settings):
    there = admin.list_topics(timeout=10).topics
    assert TOPICS.keys() <= there.keys()
    for name in TOPICS.keys() - {POSITIONS, SOURCE_STATUS}:
        told = configuration(admin, name)
        assert (told["cleanup.policy"], told["retention.ms"]) == ("delete", SEVEN_DAYS)
        assert len(there[name].partitions) == tape_settings.kafka_partitions
    for name in (POSITIONS, SOURCE_STATUS):
        assert configuration(admin, name)["cleanup.policy"] == "compact"
        assert len(there[name].partitions) == 1


def test_applying_again_changes_nothing_and_says_so(tape_settings):
    assert [f"{name}: as it should be" for name in TOPICS] == list(apply_topics(tape_settings))


def test_a_setting_that_was_changed_is_brought_back_and_partitions_are_left(admin, tape_settings):
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ResourceType.TOPIC, "crypto-prices", incremental_configs=[entry])
    next(iter(admin.incremental_alter_configs([changed]).values())).result()
    deadline = time.monotonic() + 20
    while configuration(admin, "crypto-prices")["retention.ms"] != "1000":
        assert time.monotonic() < deadline, "the change is not seen"
    more = Settings(_env_file=None, kafka_bootstrap=tape_settings.kafka_bootstrap, kafka_partitions=5)
    said = dict(line.split(": ", 1) for line in apply_topics(more))
    assert said["crypto-prices"] == "changed retention.ms; it keeps its 3 partitions, not 5"
    while configuration(admin, "crypto-prices")["retention.ms"] != SEVEN_DAYS:
        assert time.monotonic() < deadline, "the change back is not seen"


def test_a_broker_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(topics, "ANSWER_WITHIN", 1.0)
    nobody = Settings(_env_file=None, kafka_bootstrap="127.0.0.1:1")
    with pytest.raises(TapeError, match=r"No broker answers at 127.0.0.1:1; see TAPEHOUSE_KAFKA_BOOTSTRAP"):
        list(apply_topics(nobody))


def test_what_the_broker_cannot_do_is_told_in_its_words(tape_settings, empty_broker):
    empty_broker(tape_settings)
    three = Settings(_env_file=None, kafka_bootstrap=tape_settings.kafka_bootstrap, kafka_replication=3)
    with pytest.raises(TapeError, match=r"refused: .*replication factor of 3"):
        list(apply_topics(three))
