"""What runs in a cluster on one machine, in the order it starts: the servers, the topics, the commands of Tapehouse."""

import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from servers import Broker, ObjectStore, Server, free_port, is_free, write_private

BUCKET = "tapehouse"
RATE = 60
"""Trades a second of the exchange in the box, over all symbols."""
PAST = 15
"""Minutes of the past the exchange in the box begins with."""
MINUTE = 60
CONTEXT_SOURCES = ("coingecko", "fear_greed", "rss")
"""The sources beside the exchange that need no key; one producer asks them all."""
FEEDS_IN_THE_BOX = ("chain-gazette", "coin-wire")
PORTS = {
    "STORE": 8333,
    "BROKER": 9092,
    "EXCHANGE": 9100,
    "PRODUCE": 9101,
    "STREAM": 9102,
    "CONTEXT": 9103,
    "SPARK": 4040,
    "API": 8000,
}
"""Where each part listens, unless another program does when the cluster is made."""
ANSWERS_WITHIN = 2.0


class Program(Server):
    """A command of Tapehouse that answers on /health, or on another path."""

    ready_within = 300.0  # Spark is up in 10 s on an idle machine, in minutes on one that has much else to do

    def __init__(
        self, name: str, folder: Path, arguments: Callable[[], Sequence[str]], environment: Mapping[str, str], url: str
    ) -> None:
        super().__init__(name, folder)
        self._arguments, self._environment, self.url = arguments, environment, url

    def command(self) -> Sequence[str]:
        """Return the command with its arguments of this moment."""
        return [str(Path(sys.executable).with_name("tapehouse")), *self._arguments()]

    def works_in(self) -> Path:
        """Return the folder of whoever starts the cluster, whose .env holds."""
        return Path.cwd()

    def variables(self) -> Mapping[str, str]:
        """Return the cluster's variables over those of whoever starts it."""
        return os.environ | self._environment

    def is_ready(self) -> bool:
        """Return whether it answers well."""
        try:
            with urllib.request.urlopen(self.url, timeout=ANSWERS_WITHIN) as answer:  # noqa: S310  # our own address
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


class Stream(Program):
    """Spark takes all of the machine it can get; those who receive and who show the present go first."""

    gives_way = True


class Job(Program):
    """A command that does its work and ends; it is ready when it has ended well."""

    def is_ready(self) -> bool:
        """Return whether it has ended with status 0."""
        return self.process is not None and self.process.poll() == 0


def services(root: Path, environment: dict[str, str], *, live: bool) -> list[list[Server]]:
    """Return what runs, in waves that start one after the other; `live` takes Binance, not the exchange in the box."""
    ports = {name: int(environment[f"CLUSTER_{name}_PORT"]) for name in PORTS if f"CLUSTER_{name}_PORT" in environment}
    api = int(environment["TAPEHOUSE_API_PORT"])
    given = environment | {"SPARK_LOCAL_IP": "127.0.0.1"}  # Spark's page has no password: it is for this machine
    keys = (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    if not live:
        given |= upstreams_in_the_box(environment)

    def program(name: str, url: str, *arguments: str, kind: type[Program] = Program) -> Program:
        return kind(name, root / name, lambda: arguments, given, url)

    exchange = Program(
        "exchange",
        root / "exchange",
        lambda: exchange_arguments(ports["EXCHANGE"], int(environment["CLUSTER_MARKET_SINCE"])),
        given,
        f"http://127.0.0.1:{ports['EXCHANGE']}/api/v3/ping",
    )
    health = {name: f"http://127.0.0.1:{ports[name]}/health" for name in ("PRODUCE", "STREAM", "CONTEXT")}
    return [
        [
            ObjectStore(root / "object-store", ports["STORE"], bucket=BUCKET, keys=keys),
            Broker(root / "broker", ports["BROKER"], jars=root / "kafka-jars"),
            *([] if live else [exchange]),
        ],
        [Job("topics", root / "topics", lambda: ("topics", "apply"), given, "")],
        [
            program("produce", health["PRODUCE"], "produce", "binance", "--port", str(ports["PRODUCE"])),
            program("context", health["CONTEXT"], "produce", *CONTEXT_SOURCES, "--port", str(ports["CONTEXT"])),
            program("stream", health["STREAM"], "stream", "--port", str(ports["STREAM"]), kind=Stream),
            program("api", f"http://127.0.0.1:{api}/health", "up"),
        ],
    ]


def exchange_arguments(port: int, since: int, now: float | None = None) -> tuple[str, ...]:
    """Return the arguments by which the exchange goes on with the market that began in the minute `since` (seconds).

    A market is told by the minute it begins in, so a start may take half a minute and it is the same market.
    """
    history = (time.time() if now is None else now) - since - MINUTE / 4
    return ("exchange", "--port", str(port), "--rate", str(RATE), "--history", f"{history:.0f}")


def environment_of(root: Path) -> dict[str, str]:
    """Return the variables of the cluster in `root`: those of its file `environment`, which the first start writes."""
    file = root / "environment"
    lines = file.read_text().splitlines() if file.exists() else []
    written = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    environment = new_environment(root) | written
    if environment != written:
        _write(file, environment)
    return environment


def with_its_upstreams(root: Path, *, live: bool) -> dict[str, str]:
    """Return the variables of a cluster that starts now, and write them down with the addresses of what it follows.

    Without these a command of the same variables would verify, repair and fill made-up trades with Binance's.
    """
    told = environment_of(root)
    in_the_box = upstreams_in_the_box(told)
    others = {name: value for name, value in told.items() if in_the_box.get(name) != value}
    environment = others if live else others | in_the_box
    if environment != told:
        _write(root / "environment", environment)
    return environment


def upstreams_in_the_box(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which the exchange in the box takes the place of every upstream."""
    in_the_box = f"127.0.0.1:{environment['CLUSTER_EXCHANGE_PORT']}"
    return {
        "TAPEHOUSE_BINANCE_WS_URL": f"ws://{in_the_box}",
        "TAPEHOUSE_BINANCE_REST_URL": f"http://{in_the_box}",
        "TAPEHOUSE_BINANCE_ARCHIVE_URL": f"http://{in_the_box}",
        "TAPEHOUSE_COINGECKO_URL": f"http://{in_the_box}/coingecko/api/v3",
        "TAPEHOUSE_FEAR_GREED_URL": f"http://{in_the_box}/fng/",
        "TAPEHOUSE_RSS_FEEDS": ",".join(f"http://{in_the_box}/feeds/{name}" for name in FEEDS_IN_THE_BOX),
    }


def _write(file: Path, environment: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}={value}\n" for name, value in environment.items())
    write_private(file, f"# This folder's cluster: any S3 client, any command of Tapehouse finds it by these.\n{text}")


def new_environment(root: Path) -> dict[str, str]:
    """Return the variables of a cluster that is made now: its ports, new random keys, where its tables lie."""
    all_free = os.environ.get("CLUSTER_PORTS") == "free"
    ports = {name: free_port() if all_free else preferred(port) for name, port in PORTS.items()}
    return {
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_LAKE": f"s3://{BUCKET}/lake",
        "TAPEHOUSE_STATE": str(root.absolute() / "state"),
        "TAPEHOUSE_KAFKA_BOOTSTRAP": f"127.0.0.1:{ports['BROKER']}",
        "TAPEHOUSE_SPARK_JARS": str(root.absolute() / "spark-jars"),
        "TAPEHOUSE_SPARK_UI_PORT": str(ports.pop("SPARK")),
        "TAPEHOUSE_API_PORT": str(ports.pop("API")),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['STORE']}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": secrets.token_hex(10),
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "CLUSTER_MARKET_SINCE": str((int(time.time()) // MINUTE - PAST) * MINUTE),
    } | {f"CLUSTER_{name}_PORT": str(port) for name, port in ports.items()}


def preferred(port: int) -> int:
    """Return the port where nobody listens on it, else one that is free."""
    return port if is_free(port) else free_port()
