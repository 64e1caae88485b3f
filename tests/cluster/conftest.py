"""A real broker, a real object store, real jars: the code that starts them for a person starts them for the tests."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

import parts  # a program of the repository: tests/conftest.py puts its folder on the path
import servers
from tapehouse.catalog import TRADES_TOPIC
from tapehouse.settings import Settings
from tapehouse.tape.codec import headers_of, key_of

HERE = Path(__file__).parent
WITHIN = 60.0
"""Seconds a command has for what a test waits for."""
KEPT = "PATH", "JDK_JAVA_OPTIONS"
"""What commands take from the environment of the tests."""


class Command:
    """A command of Tapehouse as a child process, and what it says."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
        self._log = folder / f"{arguments[0]}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tapehouse.cli", *arguments],
                cwd=folder,
                env={**{name: os.environ[name] for name in KEPT}, "HOME": str(folder), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        return self._log.read_text()

    def until(self, seen: Callable[[], Any], what: str = "what is waited for", within: float = WITHIN) -> Any:
        """Look until something is there, and return it."""
        deadline = time.monotonic() + within
        while not (found := seen()):
            assert self.process.poll() is None, f"it ended by itself:\n{self.said()[-4000:]}"
            assert time.monotonic() < deadline, f"{what}: not in {within:.0f} s:\n{self.said()[-4000:]}"
            time.sleep(0.05)
        return found

    @property
    def url(self) -> str:
        """Where a command that says where its health is can be asked."""
        return self.until(lambda: re.search(r"Health at (http://\S+)/health", self.said()))[1]

    def address(self, scheme: str) -> str | None:
        """Return the first address of this machine that it has told, if it has."""
        found = re.search(rf"{scheme}://127\S+", self.said())
        return found[0] if found else None

    def health(self) -> dict[str, Any]:
        return httpx.get(f"{self.url}/health", timeout=10).raise_for_status().json()

    def until_records(self, count: int) -> None:
        self.until(lambda: self.health()["tape"]["records"] >= count)

    def until_whole(self) -> None:
        """Wait until a good deal is on the tape, and nothing of it is missing."""
        self.until_records(500)
        self.until(lambda: all(each["missing_trades"] == 0 for each in self.health()["symbols"].values()))

    def ends(self, within: float = WITHIN) -> int:
        """Wait until it has ended, and return its status."""
        return self.process.wait(within)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ends(15)

    def kill(self) -> None:
        self.process.kill()
        self.ends()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the parts of a cluster, and takes its time."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def run_in(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start commands in an environment; none outlives the test."""
    started: list[Command] = []

    def start(environment: Mapping[str, str], *arguments: str) -> Command:
        started.append(Command(tmp_path, environment, *arguments))
        return started[-1]

    yield start
    for command in reversed(started):
        if command.process.poll() is None:
            command.kill()


class SecureBroker(servers.Broker):
    """A broker that speaks to its clients over TLS and lets in accounts alone, each within its rights."""

    account = "tapehouse"
    password = 'pass"word\\with signs'

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder, jars=jars)
        self._inner_port = servers.free_port()
        self.inner = f"127.0.0.1:{self._inner_port}"
        self.mutual = f"127.0.0.1:{servers.free_port()}"
        self.ca, self.other_ca = (self._authority(name) for name in ("ca", "other-ca"))
        self._certificate("broker", "/CN=localhost")
        self._certificate(self.account, f"/CN={self.account}")

    def settings(self, proof: str) -> dict[str, Any]:
        """Return the settings of a client that is let in: for its password by a mechanism, or for its `certificate`."""
        if proof == "certificate":
            return {
                "kafka_bootstrap": self.mutual,
                "kafka_security_protocol": "ssl",
                "kafka_ssl_ca": self.ca,
                "kafka_ssl_certificate": self.folder / f"{self.account}.pem",
            }
        return {
            "kafka_bootstrap": self.bootstrap,
            "kafka_security_protocol": "sasl_ssl",
            "kafka_sasl_mechanism": proof,
            "kafka_sasl_username": self.account,
            "kafka_sasl_password": self.password,
            "kafka_ssl_ca": self.ca,
        }

    def _addresses(self) -> str:
        quoted = self.password.replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")
        accounts = " ".join(f'user_{name}="{quoted}"' for name in (self.account, "stranger"))
        login = "org.apache.kafka.common.security"
        clients = f"PLAINTEXT://{self.inner},SASL_SSL://{self.bootstrap},MUTUAL://{self.mutual}"
        return super()._addresses() + "\n".join(
            [
                f"listeners={clients},CONTROLLER://127.0.0.1:{self.controller_port}",
                f"advertised.listeners={clients}",
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT",
                "ssl.keystore.type=PEM",
                f"ssl.keystore.location={self.folder / 'broker.pem'}",
                "listener.name.mutual.ssl.truststore.type=PEM",
                f"listener.name.mutual.ssl.truststore.location={self.ca}",
                "listener.name.mutual.ssl.client.auth=required",
                "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                f"listener.name.sasl_ssl.plain.sasl.jaas.config={login}.plain.PlainLoginModule required {accounts};",
                *(
                    f"listener.name.sasl_ssl.scram-sha-{bits}.sasl.jaas.config={login}.scram.ScramLoginModule required;"
                    for bits in (256, 512)
                ),
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users=User:ANONYMOUS",
                "",
            ]
        )

    def admit(self) -> None:
        """Make its account, with the rights that docs/how-to/kafka.md names."""
        admin = AdminClient({"bootstrap.servers": self.inner})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            account = UserScramCredentialUpsertion(
                self.account, ScramCredentialInfo(mechanism, 4096), self.password.encode()
            )
            for future in admin.alter_user_scram_credentials([account]).values():
                future.result()
        rights = [
            AclBinding(kind, name, pattern, f"User:{account}", "*", right, AclPermissionType.ALLOW)
            for account in (self.account, f"CN={self.account}")
            for kind, name, pattern, right in RIGHTS
        ]
        for future in admin.create_acls(rights).values():
            future.result()

    def _authority(self, name: str) -> Path:
        self._openssl(f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}")
        return self.folder / f"{name}.pem"

    def _certificate(self, whose: str, subject: str) -> None:
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
        self._openssl(f"req -newkey rsa:2048 -nodes -keyout {whose}.key -out {whose}.csr -subj {subject}")
        self._openssl(f"x509 -req -in {whose}.csr -CA ca.pem -CAkey ca.key -out {whose}.crt -days 2 -extfile names")
        key, certificate = ((self.folder / f"{whose}.{kind}").read_bytes() for kind in ("key", "crt"))
        (self.folder / f"{whose}.pem").write_bytes(key + certificate)

    def _openssl(self, arguments: str) -> None:
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)


RIGHTS = (
    *(
        (ResourceType.TOPIC, "*", ResourcePatternType.LITERAL, right)
        for right in (
            AclOperation.READ,
            AclOperation.WRITE,
            AclOperation.DESCRIBE_CONFIGS,
            AclOperation.ALTER_CONFIGS,
        )
    ),
    (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, AclOperation.CREATE),
    (ResourceType.TRANSACTIONAL_ID, "tapehouse-", ResourcePatternType.PREFIXED, AclOperation.WRITE),
)


@pytest.fixture(scope="session")
def secure_broker(tmp_path_factory: pytest.TempPathFactory, kafka_jars: Path) -> Iterator[SecureBroker]:
    """A broker with accounts and TLS: `.settings(mechanism)`, `.ca`, `.other_ca`."""
    with SecureBroker(tmp_path_factory.mktemp("secure-broker"), kafka_jars) as running:
        running.admit()
        yield running


@pytest.fixture(scope="session")
def spark_jars(parts_folder: Path) -> Path:
    """The folder of jars that pyspark lacks."""
    return parts.fetch_spark_jars(parts_folder / "spark-jars")


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
def put_on() -> Callable[[str], Callable[..., None]]:
    """Put frames on a topic of a broker, each under the key of its symbol."""

    def producing(bootstrap: str) -> Callable[..., None]:
        producer = Producer({"bootstrap.servers": bootstrap})

        def put(frames: Sequence[tuple[int, bytes]], topic: str = TRADES_TOPIC) -> None:
            for received_at, frame in frames:
                symbol = next((name for name in ("BTCUSDT", "SOLUSDT") if name.encode() in frame), "ETHUSDT")
                producer.produce(topic, frame, key_of(symbol), headers=headers_of("stream", received_at))
            assert producer.flush(30) == 0

        return put

    return producing


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
