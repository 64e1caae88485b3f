"""For every test: where the recorded market data lies, how examples are searched for, servers and a browser."""

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

# Brokers and Sparks of tests live for a minute or less: to optimise them further takes a third more of the machine.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 20_000
"""Milliseconds a page has for what a test waits for."""

BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recorded market data, read in place: TAPEHOUSE_RECORDINGS, else ../shared/data.

    Where it is absent, the test is skipped by name.
    """
    folder = Path(os.environ.get("TAPEHOUSE_RECORDINGS", BESIDE_THE_CHECKOUT))
    if not (folder / "INDEX.md").is_file():
        _absent(f"no recorded market data in {folder}; TAPEHOUSE_RECORDINGS names another place")
    return folder


@pytest.fixture(scope="session")
def recorded_entries() -> dict[str, int]:
    """How many entries of each recorded feed can be read, of those made to break readers as well; of others none."""
    return {
        "coindesk_2026-09-25.xml": 3,
        "chardet_euckr.xml": 1,
        "chardet_koi8r.xml": 1,
        "chardet_tis620.xml": 1,
        "rdf_channel_empty_textinput.xml": 1,
        "rssparser_craigslist.rss": 25,
        "rssparser_customfields.rss": 15,
        "rssparser_encoding.rss": 40,
        "rssparser_feedburner.atom": 25,
        "rssparser_guardian.rss": 55,
        "rssparser_reddit.rss": 24,
    }


def _absent(what: str) -> None:
    """Skip a test that lacks something; in CI (CI=true) that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


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


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A Chromium for one module: while it lives a loop runs in this thread, and no other test may have one."""
    if not CHROMIUM.exists():
        _absent(f"no {CHROMIUM}: install chromium to look at the page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page; whatever it complains of (`.complaints`), or asks of anybody else, fails the test."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(f"{said.text} {said.location}") if said.type == "error" else None)
    page.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else complaints.append(asked.url))
    page.complaints = complaints
    yield page
    context.close()
    assert complaints == []


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
