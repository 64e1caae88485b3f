"""A small lake made by the embedded engine, and the warehouse built from it once for all tests that only read it."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest

from tapehouse.lake.delta import DeltaLake
from tapehouse.ports import Batch
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView

ROOT = Path(__file__).parents[2]
BEGIN = datetime(2026, 2, 27, 22, 30, tzinfo=UTC)
HOURS = 27
"""Over two midnights, so that one day has all its hours."""
LOST = range(900, 940)
"""Trade ids of ETHUSDT that the stream leaves out; `the_lost` brings them."""
TRADES_A_BATCH = 300
ENDS_WITHIN = 200.0
"""Seconds a command may take."""

Frames = list[tuple[int, bytes]]
"""When each was received (microseconds), and its bytes."""


class World:
    """A lake in a folder, and the messages it is made from."""

    def __init__(self, root: str, **options) -> None:
        self.root = root
        self.lake = DeltaLake(root, **options)
        self.lake.create()
        self.trades = sorted([*tape("BTCUSDT", 100, Random(1)), *tape("ETHUSDT", 7, Random(2))])

    def take(self, *batches: Batch, late_by: timedelta = timedelta(0)) -> None:
        """Take messages through the engine, as a platform that is started for them and ended after."""
        ticks = itertools.count(micros(BEGIN + timedelta(hours=HOURS) + late_by), 333_333)
        engine = EmbeddedEngine(
            self.lake, LiveView(), recover(self.lake, ["BTCUSDT", "ETHUSDT"]), now=lambda: next(ticks)
        )
        for batch in batches:
            engine.fold([batch])
            engine.commit_when_due()
        engine.close()

    def take_all(self) -> None:
        """Take everything but the lost trades."""
        kept = [frame for frame in self.trades if not is_lost(frame[1])]
        self.take(*map(as_batch, cut(kept)), *context())

    def take_the_lost(self) -> None:
        """Take the lost trades, a day later; by then BTCUSDT is halted."""
        lost = as_batch([frame for frame in self.trades if is_lost(frame[1])])
        self.take(lost, told("symbols", "binance", [pair("BTCUSDT", "BREAK")], late=1), late_by=timedelta(days=1))

    def take_told_anew(self) -> None:
        """Take stories under other titles, a day later: one without a time, and the three of one about Bitcoin.

        The exchange lists ETHUSDT by then, and its base asset has another name than the pair says.
        """
        stories = [entry(14) | {"title": "Bitcoin falls"}]
        stories += [entry(number) | {"title": f"The weather of the day, part {number}"} for number in (36, 37, 38)]
        listed = pair("ETHUSDT", "TRADING") | {"baseAsset": "OTHER"}
        self.take(
            told("news", "rss", stories, late=1),
            told("symbols", "binance", [listed], late=1),
            late_by=timedelta(days=1),
        )


def micros(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000


def as_batch(frames: Frames) -> Batch:
    return Batch([frame for _, frame in frames], [at for at, _ in frames])


def cut(frames: Frames) -> Iterator[Frames]:
    return (frames[start : start + TRADES_A_BATCH] for start in range(0, len(frames), TRADES_A_BATCH))


def is_lost(frame: bytes) -> bool:
    trade = json.loads(frame)["data"]
    return trade["s"] == "ETHUSDT" and trade["t"] in LOST


def tape(symbol: str, number: int, random: Random) -> Iterator[tuple[int, bytes]]:
    """The trades of a symbol: bursts, quiet minutes, prices that wander."""
    at, price = micros(BEGIN) // 1000, 5_000_000
    while at < micros(BEGIN + timedelta(hours=HOURS)) // 1000:
        price = max(1, price + random.randint(-4_000, 4_000))
        amounts = {"p": f"{price / 100:.2f}", "q": f"0.{random.randint(1, 99_999_999):08}"}
        fields = {"e": "trade", "E": at, "s": symbol, "t": number, **amounts, "T": at, "m": random.random() < 0.5}
        yield at * 1000, json.dumps({"stream": f"{symbol.lower()}@trade", "data": fields}).encode()
        number += 1
        at += random.choice([0, 700, 9_000, 21_000, 40_000, 70_000, 190_000])


def context() -> Iterator[Batch]:
    """What the upstreams beside the exchange tell of those days, nulls and odd values among it."""
    yield told("market_data", "coingecko", [coin("bitcoin", "btc", 1, hour) for hour in range(0, HOURS, 5)])
    yield told(
        "market_data", "coingecko", [coin("ethereum", "eth", 2, 3), {**coin("odd", "odd", 3, 4), "current_price": None}]
    )
    yield told("market_data", "coingecko_global", [whole_market(hour) for hour in (1, 12, 26)])
    yield told(
        "sentiment", "fear_greed", [index_day(day, value) for day, value in ((-2, 20), (0, 24), (1, 31), (2, 29))]
    )
    yield told("symbols", "binance", [pair("BTCUSDT", "TRADING")])
    yield told("news", "rss", [entry(number) for number in range(40)])


def pair(symbol: str, status: str) -> dict:
    """What the exchange lists of a symbol."""
    sizes = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "stepSize": "0.00001000"},
    ]
    return {"symbol": symbol, "status": status, "baseAsset": symbol[:3], "quoteAsset": symbol[3:], "filters": sizes}


def told(shape, source: str, items: list[dict], late: int = 0) -> Batch:
    at = micros(BEGIN + timedelta(hours=HOURS, days=late))
    return Batch([json.dumps(item).encode() for item in items], [at] * len(items), shape, source)


def coin(name: str, ticker: str, rank: int, hour: int) -> dict:
    told_at = (BEGIN + timedelta(hours=hour)).isoformat()
    figures = {"current_price": 50_000 + hour + 0.123456789, "market_cap": 10**12 + hour, "market_cap_rank": rank}
    return {
        "id": name,
        "symbol": ticker,
        "name": name.title(),
        "last_updated": told_at,
        "total_volume": None,
        **figures,
    }


def whole_market(hour: int) -> dict:
    shares = {"btc": 50 + hour / 10, "eth": 12.5}
    at = micros(BEGIN + timedelta(hours=hour)) // 1_000_000
    amounts = {"total_market_cap": {"usd": 2 * 10**12 + hour}, "total_volume": {"usd": 10**11}}
    return {**amounts, "market_cap_percentage": shares, "updated_at": at}


def index_day(day: int, value: int) -> dict:
    at = datetime(BEGIN.year, BEGIN.month, BEGIN.day, tzinfo=UTC) + timedelta(days=day)
    return {"value": str(value), "value_classification": "Fear", "timestamp": str(int(at.timestamp()))}


def entry(number: int) -> dict:
    """Every third entry is that of the one before in another feed; some claim no time."""
    at = BEGIN + timedelta(minutes=37 * (number - number % 3))
    subject = ("Bitcoin", "Ethereum", "Bitcoin and Ethereum", "The weather")[number // 3 % 4]
    return {
        "feed": f"https://feed-{number % 3}.example/rss",
        "id": f"item-{number}",
        "link": f"https://feed-{number % 3}.example/{number}",
        "title": f"{subject} rallies on story {number // 3} as traders cheer the number {number // 3}",
        "published_parsed": list(at.timetuple()[:9]) if number % 7 else None,
    }


class Dbt:
    """`dbt` as a person runs it in its folder; what it writes goes elsewhere."""

    def __init__(self, folder: Path, lake: str, **environment: str) -> None:
        self.file = folder / "warehouse.duckdb"
        self.target = folder / "target"
        self.environment = {
            **os.environ,
            "TAPEHOUSE_LAKE": lake,
            "TAPEHOUSE_WAREHOUSE": str(self.file),
            "DBT_TARGET_PATH": str(self.target),
            "DBT_LOG_PATH": str(folder / "logs"),
            **environment,
        }

    def __call__(self, *arguments: str, status: int = 0) -> str:
        ran = subprocess.run(
            [Path(sys.executable).with_name("dbt"), *arguments, "--profiles-dir", "."],
            check=False,
            cwd=ROOT / "dbt",
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout


class Command:
    """`tapehouse warehouse ...` as a child process in a folder of its own."""

    def __init__(self, folder: Path, lake: str, **environment: str) -> None:
        self.folder = folder
        self.file = folder / "data" / "warehouse" / "warehouse.duckdb"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "200", "TAPEHOUSE_LAKE": lake}
        self.environment |= environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tapehouse.cli", "warehouse", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *arguments: str, status: int = 0) -> str:
        with self.start(*arguments) as process:
            try:
                said, _ = process.communicate(timeout=ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail(f"It did not end within {ENDS_WITHIN:.0f} s:\n{process.communicate()[0]}")
        assert (process.returncode, "Traceback" in said) == (status, False), said
        return said


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    """The lake of all tests that only read it."""
    world = World(str(tmp_path_factory.mktemp("world") / "it's a lake"))
    world.take_all()
    return world


@pytest.fixture(scope="session")
def make_command() -> type[Command]:
    return Command


@pytest.fixture(scope="session")
def built(world, tmp_path_factory) -> Command:
    """The command in a folder where it has built the warehouse once, and published it to the lake of all."""
    command = Command(tmp_path_factory.mktemp("built"), world.root)
    command.said = command("build")
    return command


@pytest.fixture(scope="session")
def make_dbt() -> type[Dbt]:
    return Dbt


@pytest.fixture(scope="session")
def dbt(world, tmp_path_factory) -> Dbt:
    return Dbt(tmp_path_factory.mktemp("dbt"), world.root)


@pytest.fixture(scope="session")
def read() -> Callable[[Path, str], pl.DataFrame]:
    """The answer of a warehouse file to a query, as any reader gets it."""
    import duckdb

    def ask(file: Path, query: str) -> pl.DataFrame:
        with duckdb.connect(str(file), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return pl.DataFrame(connection.sql(query))

    return ask
