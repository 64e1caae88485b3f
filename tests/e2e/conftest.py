"""The platform as its users run it: a child process in an empty folder, before an exchange that answers on a socket."""

import asyncio
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
import httpx
import pytest

from tapehouse.exchange.main import ExchangeOptions, RunningExchange, running_exchange
from tapehouse.exchange.tapes import TradeTape

_spec = importlib.util.spec_from_file_location("e2e_oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

T = TypeVar("T")
READY_WITHIN = 40.0
STOPS_WITHIN = 10.0
LOOK_EVERY = 0.1
_OPEN = re.compile(r"^Open (http://\S+)", re.MULTILINE)


class Exchange:
    """An exchange in the box that lives in a thread of its own, and does what a test asks of it there."""

    def __init__(self, options: ExchangeOptions, tape: TradeTape | None = None) -> None:
        self._options, self._held_tape = options, tape
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="exchange")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(READY_WITHIN), "the exchange did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(STOPS_WITHIN)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with running_exchange(self._options, tape=self._held_tape) as self.running:
            self._ready.set()
            await self._over.wait()

    @property
    def tape(self) -> TradeTape:
        return self.running.tape

    def do(self, act: Callable[[RunningExchange], T]) -> T:
        """Have something done to the exchange in its own thread."""

        async def doing() -> T:
            return act(self.running)

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(READY_WITHIN)

    def until_told(self, moment: int, patience: float = 120.0) -> None:
        """Wait until everything before a moment (microseconds) has been told."""
        until(lambda: self.do(lambda running: running.playhead) >= moment, patience)

    def begin(self, play: Callable[[RunningExchange], Awaitable[None]]) -> Callable[[], None]:
        """Have something done beside what the test does; call what this returns to end it."""
        future = asyncio.run_coroutine_threadsafe(play(self.running), self._loop)

        def end() -> None:
            if not future.cancel():
                future.result()

        return end


class Platform:
    """`tapehouse up` as a child process, its folder, its log; started and ended as often as a test likes."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.lake = folder / "data" / "delta"
        self.settings = dict(settings)
        self.process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log.txt"
        self._read_from = 0

    def start(self, *arguments: str) -> "Platform":
        self._read_from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tapehouse.cli", "up", *arguments],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONFAULTHANDLER": "1"} | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def log(self) -> str:
        """Return what the last start has said so far."""
        return self._log.read_bytes()[self._read_from :].decode()

    def events(self) -> list[dict[str, Any]]:
        """Return the events the last start has logged."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def run(self, *arguments: str) -> int:
        """Start it where it cannot go on, and return the status it ends with."""
        return self.start(*arguments).process.wait(READY_WITHIN)

    @property
    def address(self) -> str:
        """Where it answers, once it has said so."""

        def said() -> re.Match[str] | None:
            assert self.process.poll() is None, f"it ended by itself:\n{self.log()}"
            return _OPEN.search(self.log())

        return until(said, READY_WITHIN, self.log)[1]

    def get(self, path: str) -> Any:
        """Return the body of an answer."""
        return httpx.get(self.address + path, timeout=10).raise_for_status().json()

    def until_health(self, seen: Callable[[dict[str, Any]], object], patience: float = READY_WITHIN) -> dict[str, Any]:
        """Ask for /health until something is so, and return it."""
        return self.until_served("/health", seen, patience)

    def until_served(
        self, path: str, seen: Callable[[dict[str, Any]], object], patience: float = READY_WITHIN
    ) -> dict[str, Any]:
        """Ask for what is at a path until something is so, and return it."""
        last: dict[str, Any] = {}

        def asked() -> bool:
            last.clear()
            last.update(self.get(path))
            return bool(seen(last))

        until(asked, patience, lambda: f"{json.dumps(last, indent=1)}\n{self.log()[-4000:]}")
        return last

    def until_whole(self, past: Mapping[str, int], patience: float = READY_WITHIN) -> dict[str, Any]:
        """Wait until it has come further than these ids and misses none of those before."""

        def whole(health: dict[str, Any]) -> bool:
            symbols = health["symbols"]
            return past.keys() <= symbols.keys() and all(
                symbols[name]["missing_trades"] == 0 and symbols[name]["last_trade_id"] > last
                for name, last in past.items()
            )

        return self.until_health(whole, patience)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(READY_WITHIN)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and return the status it ends with; within ten seconds."""
        self.process.send_signal(number)
        try:
            return self.process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # it says where its threads are
            self.process.wait(STOPS_WITHIN)
            pytest.fail(f"not ended in {STOPS_WITHIN:.0f} s:\n{self.log()[-8000:]}")

    def ended(self) -> None:
        """Leave no process behind."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


def until(seen: Callable[[], T], patience: float, otherwise: Callable[[], str] = str) -> T:
    """Look until something is there, and return it; fail with what `otherwise` says when it never is."""
    deadline = time.monotonic() + patience
    while not (found := seen()):
        assert time.monotonic() < deadline, f"not in {patience:.0f} s:\n{otherwise()}"
        time.sleep(LOOK_EVERY)
    return found


class Tables:
    """The lake as a stranger reads it: DuckDB's own Delta reader."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        folder = importlib.util.find_spec("duckdb_extension_delta").submodule_search_locations[0]
        self._connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/delta.duckdb_extension'")

    def rows(self, table: str, columns: str, rest: str = "") -> list[tuple[Any, ...]]:
        """Return columns of a table; `rest` is what stands behind FROM."""
        scanned = f"delta_scan('file://{self._root}/{table}')"
        return self._connection.execute(f"SELECT {columns} FROM {scanned} {rest}").fetchall()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def exchange() -> Iterator[Callable[..., Exchange]]:
    """Make exchanges; they end with the test."""
    made: list[Exchange] = []

    def make(tape: TradeTape | None = None, **options: Any) -> Exchange:
        made.append(Exchange(ExchangeOptions(**options), tape).__enter__())
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """Make platforms in the test's own folder before an exchange; no process of theirs outlives the test."""
    made: list[Platform] = []

    def make(before: Exchange | None, symbols: str, **settings: str) -> Platform:
        defaults = {"TAPEHOUSE_SYMBOLS": symbols, "TAPEHOUSE_API_PORT": "0", "TAPEHOUSE_SOURCES": "binance"}
        if before is not None:
            defaults["TAPEHOUSE_BINANCE_WS_URL"] = before.running.ws_url
            defaults["TAPEHOUSE_BINANCE_REST_URL"] = before.running.rest_url
        made.append(Platform(tmp_path, defaults | settings))
        return made[-1]

    yield make
    for each in made:
        each.ended()


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    """The tables of the platform in the test's folder."""
    found = Tables(tmp_path / "data" / "delta")
    yield found
    found.close()


@pytest.fixture
def ids_told() -> Callable[[Exchange], dict[str, int]]:
    """Return the last id of each symbol that an exchange has told."""

    def told(exchange: Exchange) -> dict[str, int]:
        playhead = exchange.do(lambda running: running.playhead)
        return {symbol: exchange.tape.id_at(symbol, playhead) - 1 for symbol in exchange.tape.pairs}

    return told


@pytest.fixture
def audit(tables: Tables) -> Callable[[Exchange], Any]:
    """Hold the tables against an exchange's own tape (oracle.py)."""
    return lambda exchange: oracle.Audit(tables, exchange.tape)
