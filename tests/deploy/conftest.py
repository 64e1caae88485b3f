"""What the cluster on one machine is made of, to be imported by name; and a service of a few lines to watch."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "deploy" / "local"))  # programs of the repository, not a package

import servers


class Script(servers.Server):
    """A service that is a piece of Python; it is ready once it has said so."""

    def __init__(self, folder: Path, program: str) -> None:
        super().__init__(folder.name, folder)
        self._program = program

    def command(self) -> list[str]:
        return [sys.executable, "-c", self._program]

    def is_ready(self) -> bool:
        return "ready" in self.said()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[[str, str], Script]]:
    """Make services out of pieces of Python; they end with the test."""
    made: list[Script] = []

    def make(name: str, program: str) -> Script:
        made.append(Script(tmp_path / name, program))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture
def until() -> Callable[[Callable[[], object], str], None]:
    """Look until something is so, for half a minute at most."""

    def look(seen: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 30
        while not seen():
            assert time.monotonic() < deadline, what
            time.sleep(0.05)

    return look
