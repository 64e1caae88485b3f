"""The past by the command line: brought in once, proved, computed again, and mended where it was spoiled."""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from tapehouse.catalog import CANDLES
from tapehouse.lake.delta import DeltaLake

_spec = importlib.util.spec_from_file_location("e2e_oracle", Path(__file__).with_name("oracle.py"))
oracle = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

pytestmark = pytest.mark.slow

ENDS_WITHIN = 120.0
HOUR = 3600


class Command:
    """`tapehouse ...` as a child process in a folder, before an exchange."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        base = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "160", "PYTHONFAULTHANDLER": "1"}
        self.environment = base | environment

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tapehouse.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Run a command to its end, which must be in this status; return what it said."""
        with self.start(*arguments) as process:
            try:
                told = "".join(process.communicate(timeout=ENDS_WITHIN))
            finally:
                process.kill()
        assert (process.returncode, "Traceback" in told) == (status, False), told
        return told


@pytest.fixture
def command(tmp_path) -> Callable[..., Command]:
    def make(exchange, **environment: str) -> Command:
        addresses = {
            "TAPEHOUSE_BINANCE_WS_URL": exchange.running.ws_url,
            "TAPEHOUSE_BINANCE_REST_URL": exchange.running.rest_url,
            "TAPEHOUSE_BINANCE_ARCHIVE_URL": exchange.running.rest_url,
        }
        return Command(tmp_path, addresses | environment)

    return make


@pytest.fixture
def past(exchange):
    """An exchange that stands still at a moment and knows the hours before it."""

    def make(now: str, rate: float = 0.15, hours: float = 31):
        begins_at = int(datetime.fromisoformat(now).timestamp()) * 1_000_000
        return exchange(
            symbols=("BTCUSDT",), rate=rate, history=hours * HOUR, begins_at=begins_at, holds=True, weight_limit=60_000
        )

    return make


def span(start: str, end: str) -> tuple[str, str, str, str]:
    return "--from", start, "--to", end


def rows_of(tables, table: str) -> list[tuple]:
    return sorted(tables.rows(table, "*"), key=str)


def check(served, audited, tables, begun: datetime) -> None:
    """Every id, candle, revision and range is as the exchange has it; the first window is whole."""
    audited._begun = lambda _symbol, _first: begun  # REST klines tell no ids: their count proves the first window
    trades = oracle.told_by(served.tape, "BTCUSDT", *audited.ids("BTCUSDT"))
    assert trades[0].traded_at - begun < timedelta(minutes=2)
    audited.candles("BTCUSDT", trades)
    audited.revisions("BTCUSDT")
    audited.coverage("BTCUSDT")
    assert tables.rows("bronze/rejected", "payload") == []


def check_archived(served, tables, microseconds_per_unit: int) -> None:
    """Every row of an archive has the exchange's own price, quantity, side and time, as exactly as it told them."""
    rows = tables.rows(
        "bronze/trades",
        "first_trade_id, last_trade_id, price, quantity, taker_side, traded_at",
        "WHERE source = 'archive' ORDER BY first_trade_id",
    )
    told = served.tape.trades("BTCUSDT", rows[0][0], rows[-1][0])
    columns = ("first_trade_id", "last_trade_id", "price", "quantity", "buyer_is_maker", "traded_at")
    expected = [
        (
            *(first, last, Decimal(price) / 10**8, Decimal(quantity) / 10**8),
            "sell" if maker else "buy",
            oracle.EPOCH + timedelta(microseconds=at - at % microseconds_per_unit),
        )
        for first, last, price, quantity, maker, at in told.select(columns).iter_rows()
    ]
    assert rows == expected


@pytest.mark.parametrize(
    ("day", "unit", "profile"),
    [("2024-08-09", 1000, "embedded"), ("2026-03-01", 1, "cluster")],
    ids=["in ms, embedded", "in us, cluster"],
)
def test_the_past_comes_from_archives_and_over_rest_and_can_be_proved(past, command, audit, tables, day, unit, profile):
    begun = datetime.fromisoformat(f"{day}T00:00Z") - timedelta(hours=1)
    served = past((begun + timedelta(hours=30)).isoformat())
    run = command(served, TAPEHOUSE_PROFILE=profile)
    within = span(begun.isoformat(), (begun + timedelta(hours=29)).isoformat())
    run("backfill", "btcusdt", *within)

    check(served, audit(served), tables, begun)
    check_archived(served, tables, unit)
    sources = tables.rows("bronze/trades", "source, min(date)::text, max(date)::text", "GROUP BY 1 ORDER BY 1")
    around = begun.date().isoformat(), (begun + timedelta(days=2)).date().isoformat()
    assert sources == [("archive", day, day), ("rest", *around)]

    table = run("verify", "BTCUSDT", *within)
    assert [cell.strip() for cell in table.splitlines()[4].split("│")[1:-1]] == ["1740", "1740", "0", "0", "0", "0"]
    assert "All 1740 windows of BTCUSDT agree" in table
    told = run("rebuild", "BTCUSDT", *within, "--check")
    assert [line.partition("computed, ")[2] for line in told.splitlines()] == ["all as stored"] * 3
    before = {name: rows_of(tables, name) for name in ("bronze/trades", "bronze/klines", "silver/candles")}
    run("backfill", "BTCUSDT", *within)
    assert {name: rows_of(tables, name) for name in before} == before


def test_killed_in_the_middle_and_repeated_it_brings_every_trade_once(past, command, audit, tables, tmp_path):
    begun = datetime(2024, 8, 8, 22, tzinfo=UTC)
    served = past("2024-08-10T04:30Z", rate=0.5)
    run = command(served)
    arguments = ("backfill", "BTCUSDT", *span(begun.isoformat(), "2024-08-10T04:00Z"))
    log = tmp_path / "data" / "delta" / "bronze" / "trades" / "_delta_log"
    for commits in (2, 3, 4):  # the first one made the table
        with run.start(*arguments) as process:
            deadline = time.monotonic() + ENDS_WITHIN
            while process.poll() is None and len(list(log.glob("*.json"))) < commits:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.kill()
            process.communicate()
    run(*arguments)
    check(served, audit(served), tables, begun)


# Archives made by hand


@pytest.fixture
def archives(tmp_path) -> Iterator[tuple[str, Path]]:
    """A server of files: its address and its folder."""
    folder = tmp_path / "archives"
    folder.mkdir()
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def put_archive(folder: Path, day: str, lines: list[str], *, checksum: str = "") -> None:
    """Put a day's zip where data.binance.vision has it, with its checksum or another one."""
    name = f"BTCUSDT-trades-{day}"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr(f"{name}.csv", "\r\n".join(["id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch", *lines, ""]))
    place = folder / "data" / "spot" / "daily" / "trades" / "BTCUSDT"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.zip").write_bytes(packed.getvalue())
    digest = checksum or hashlib.sha256(packed.getvalue()).hexdigest()
    (place / f"{name}.zip.CHECKSUM").write_text(f"{digest}  {name}.zip\n")


def lines_of(tape, day: str, microseconds_per_unit: int) -> list[str]:
    """Write a day of the exchange's own trades as an archive does."""
    start = int(datetime.fromisoformat(f"{day}T00:00Z").timestamp()) * 1_000_000
    first, last = tape.id_at("BTCUSDT", start), tape.id_at("BTCUSDT", start + 24 * HOUR * 1_000_000) - 1
    told = tape.trades("BTCUSDT", first, last)
    columns = ("first_trade_id", "price", "quantity", "traded_at", "buyer_is_maker")
    return [
        f"{trade_id},{price / 10**8:.8f},{quantity / 10**8:.8f},0.0,{at // microseconds_per_unit},{maker},True"
        for trade_id, price, quantity, at, maker in told.select(columns).iter_rows()
    ]


def test_milliseconds_before_2025_and_microseconds_after_are_told_apart(past, command, archives, audit, tables):
    address, folder = archives
    served = past("2025-01-02T00:30Z", rate=0.02, hours=49)
    put_archive(folder, "2024-12-31", lines_of(served.tape, "2024-12-31", 1000))
    put_archive(folder, "2025-01-01", lines_of(served.tape, "2025-01-01", 1))
    run = command(served, TAPEHOUSE_BINANCE_ARCHIVE_URL=address)
    run("backfill", "BTCUSDT", *span("2024-12-31", "2025-01-02"))
    check(served, audit(served), tables, datetime(2024, 12, 31, tzinfo=UTC))
    assert tables.rows("bronze/trades", "DISTINCT source") == [("archive",)]


def test_a_damaged_archive_is_refused_and_nothing_of_it_is_stored(past, command, archives, tables):
    address, folder = archives
    served = past("2024-08-10T01:00Z", rate=0.02)
    put_archive(folder, "2024-08-09", lines_of(served.tape, "2024-08-09", 1000), checksum="ab" * 32)
    run = command(served, TAPEHOUSE_BINANCE_ARCHIVE_URL=address)
    told = run("backfill", "BTCUSDT", *span("2024-08-09", "2024-08-10"), status=3)
    assert "BTCUSDT-trades-2024-08-09.zip is damaged" in told
    assert rows_of(tables, "bronze/trades") == rows_of(tables, "silver/coverage") == []


# What is spoiled, held or unknown


def test_a_candle_that_was_tampered_with_is_found_and_mended_with_a_new_revision(past, command):
    served = past("2024-08-10T01:00Z")
    run = command(served)
    within = span("2024-08-09T23:00Z", "2024-08-10T00:30Z")
    run("backfill", "BTCUSDT", *within)
    lake = DeltaLake(str(run.folder / "data" / "delta"))
    opened = datetime(2024, 8, 9, 23, 30, tzinfo=UTC)
    one = pl.col("interval") == "1m", pl.col("opened_at") == opened
    true = lake.scan(CANDLES).filter(*one).collect()
    wrong = true.with_columns(pl.col("revision") + 1, high=pl.col("high") + pl.lit("0.01").cast(true["high"].dtype))
    lake.append(CANDLES, wrong, writer="somebody", batch=0)

    told = run("verify", "BTCUSDT", *within, status=5)
    assert "1 candles of BTCUSDT differ" in told
    assert "2024-08-09 23:30 │ high" in told
    assert "recomputed" in told
    told = run("rebuild", "BTCUSDT", *within, "--check", status=5)
    assert "1 differ, nothing was written" in told
    assert lake.scan(CANDLES).filter(*one).collect().height == 2
    assert "1 differ, stored as new revisions" in run("rebuild", "BTCUSDT", *within)
    run("verify", "BTCUSDT", *within)
    told = run("verify", "BTCUSDT", *span("2024-08-09T22:30Z", "2024-08-10T00:30Z"), status=9)
    said = " ".join(told.split())
    assert "Of 120 windows of BTCUSDT 90 were compared, and agree. Of the others 30 are not held" in said
    run("rebuild", "BTCUSDT", *within, "--check")
    mended = lake.scan(CANDLES).filter(*one).sort("revision").collect()
    assert mended["revision"].to_list() == [1, 2, 3]
    assert mended["known_at"].is_sorted()
    assert mended.drop("revision", "known_at")[[0]].equals(mended.drop("revision", "known_at")[[2]])


def test_while_the_platform_runs_on_the_lake_a_back_fill_says_who_holds_it(past, command, platform):
    served = past("2024-08-10T01:00Z")
    up = platform(served, "BTCUSDT").start()
    assert up.get("/health")
    run = command(served)
    for words in (("backfill",), ("rebuild",)):
        told = run(*words, "BTCUSDT", *span("2024-08-09", "2024-08-10"), status=4)
        assert f"is being written by process {up.process.pid} (cli.py up)" in told
    assert up.stop() == 0


def test_a_symbol_nobody_lists_is_named_and_what_is_not_held_cannot_be_checked(past, command):
    run = command(past("2024-08-10T01:00Z"))
    within = span("2024-08-09T23:00Z", "2024-08-10T00:30Z")
    told = run("backfill", "NOPEUSDT", *within, status=3)
    assert "NOPEUSDT" in told.splitlines()[-1]
    assert "Invalid symbol" in told
    for words in (("verify",), ("rebuild",), ("rebuild", "--check")):
        told = run(*words, "BTCUSDT", *within, status=2)
        assert "holds no candles of BTCUSDT" in told.replace("\n", " ")
    told = run("backfill", "BTCUSDT", *span("2024-08-10", "2024-08-09"), status=2)
    assert "--to" in told
