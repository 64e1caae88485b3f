"""For every test: where the recorded market data lies, and how examples are searched for."""

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.append(str(Path(__file__).parents[1] / "deploy" / "local"))  # programs of the repository, not a package

settings.register_profile(
    "tapehouse",
    derandomize=os.environ.get("CI") == "true",  # the same examples in every run of CI, new ones here
    deadline=None,  # nothing passes or fails by the clock
    database=None,  # nothing is written into the checkout
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tapehouse")

BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded market data, read in place: TAPEHOUSE_RECORDINGS, else ../shared/data.

    Where it is absent, the test is skipped by name; in CI (CI=true) its absence is a failure.
    """
    folder = Path(os.environ.get("TAPEHOUSE_RECORDINGS", BESIDE_THE_CHECKOUT))
    if not (folder / "INDEX.md").is_file():
        absent = f"no recorded market data in {folder}; TAPEHOUSE_RECORDINGS names another place"
        if os.environ.get("CI") == "true":
            pytest.fail(absent)
        pytest.skip(absent)
    return folder


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """An S3 server that many tests share, each below a prefix of its own: `.endpoint`, `.bucket`, `.environment`."""
    import servers

    with servers.ObjectStore(tmp_path_factory.mktemp("object-store")) as running:
        yield running


@pytest.fixture
def bucket_root(object_store) -> str:
    """A root of the test's own in a bucket; its name is as awkward as a person's may be."""
    return f"s3://{object_store.bucket}/a lake é/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def bucket_options(object_store) -> dict[str, str]:
    """How that bucket is reached, as DeltaLake takes it."""
    told = {name.lower(): value for name, value in object_store.environment.items()}
    return {**told, "aws_virtual_hosted_style_request": "false"}


@pytest.fixture(scope="session")
def parts_folder() -> Path:
    """Where fetched jars stay from one run to the next."""
    import parts

    return parts.kept_folder()


@pytest.fixture(scope="session")
def kafka_jars(parts_folder: Path) -> Path:
    """The folder of a broker's jars."""
    import parts

    return parts.fetch_kafka(parts_folder / "kafka-jars")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, kafka_jars: Path) -> Iterator[object]:
    """A broker that many tests share, `.bootstrap`; not to be killed. `tape_settings` empties it for a test."""
    import servers

    with servers.Broker(tmp_path_factory.mktemp("broker"), jars=kafka_jars) as running:
        yield running


@pytest.fixture
def empty_broker() -> Callable[[object], None]:
    """Remove every topic of the platform from a broker, and wait until it has forgotten them."""
    from confluent_kafka.admin import AdminClient

    from tapehouse.catalog import TOPICS

    def empty(settings) -> None:
        admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
        deadline = time.monotonic() + 20
        while there := TOPICS.keys() & admin.list_topics(timeout=20).topics.keys():
            assert time.monotonic() < deadline, f"still there: {there}"
            for future in admin.delete_topics(sorted(there)).values():
                future.exception()

    return empty


@pytest.fixture
def tape_settings(broker, empty_broker) -> object:
    """Settings that lead to that broker, its topics there and empty."""
    from tapehouse.settings import Settings
    from tapehouse.tape.topics import apply_topics

    settings = Settings(_env_file=None, kafka_bootstrap=broker.bootstrap)
    empty_broker(settings)
    list(apply_topics(settings))
    return settings
