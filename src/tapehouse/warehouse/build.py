"""The warehouse is built beside the file that readers have, and takes its place when all of it is right.

Law: a reader sees the warehouse before or the one after, whole, and never waits; so does who reads after a kill.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapehouse.catalog import CANDLES
from tapehouse.errors import LakeError, WarehouseError
from tapehouse.ports import Lake
from tapehouse.settings import Settings
from tapehouse.warehouse.invocation import run_dbt, target_of
from tapehouse.warehouse.project import docs_page
from tapehouse.warehouse.steps import Ran, Tell

LOCK_SUFFIX, BUILDING_SUFFIX = ".lock", ".building"
_SIDE_FILES = ("", ".wal", ".tmp")
"""What DuckDB may leave of a database whose process was killed, by its ending."""


@contextmanager
def building(warehouse: Path) -> Iterator[None]:
    """Hold the place of the only build; WarehouseError when another process has it, which the kernel knows."""
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    with warehouse.with_name(warehouse.name + LOCK_SUFFIX).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WarehouseError(f"Another process is building {warehouse}. Wait for it, or stop it.") from None
        yield


def check_lake(lake: Lake, root: str) -> None:
    """Raise LakeError where there is nothing to build from."""
    if not lake.dates(CANDLES):
        raise LakeError(
            f"There is no candle in the lake at {root} yet, so there is nothing to build. `tapehouse up` or "
            "`tapehouse backfill` brings some; TAPEHOUSE_LAKE names another lake."
        )


def build(settings: Settings, tell: Tell, *, full_refresh: bool = False) -> Ran:
    """Build into a copy of the warehouse and put it in its place; on any failure the warehouse stays as it is."""
    target = settings.warehouse
    new = target.with_name(target.name + BUILDING_SUFFIX)
    _remove(new)
    if target.exists():
        shutil.copyfile(target, new)  # a full refresh keeps the history of the snapshots
    left_out = ("unit_test", "exposure")  # what is tried on rows of its own, and what only says who reads
    command = ["build", "--exclude-resource-type", *left_out, "--vars", "{reconcile_all: false}"]
    try:
        ran = run_dbt(settings, [*command, *(["--full-refresh"] if full_refresh else [])], new, tell)
    except WarehouseError as error:
        _remove(new)
        stays = f"{target} stays as it was." if target.exists() else "There is no warehouse yet."
        raise WarehouseError(f"The warehouse was not built. {stays}\n{error}") from error
    _put(new, target)
    return ran


def check(settings: Settings, tell: Tell) -> Ran:
    """Run every test over the warehouse as readers have it; raise WarehouseError where one fails."""
    _check_built(settings)
    return run_dbt(settings, ["test"], settings.warehouse, tell, read_only=True)


def describe(settings: Settings, tell: Tell) -> Path:
    """Write the documentation of the models as one page beside the warehouse, and return where."""
    _check_built(settings)
    run_dbt(settings, ["docs", "generate", "--static"], settings.warehouse, tell, read_only=True)
    made, page = target_of(settings, "docs") / "static_index.html", docs_page(settings)
    return made.replace(page)


def _check_built(settings: Settings) -> None:
    if not settings.warehouse.exists():
        raise WarehouseError(
            f"There is no warehouse at {settings.warehouse} yet: `tapehouse warehouse build` makes it."
        )


def _put(new: Path, target: Path) -> None:
    """Let the new file take the place of the old one; readers keep the one they have open."""
    import duckdb  # noqa: PLC0415  # of the extra `warehouse`

    with duckdb.connect(str(new)) as connection:
        connection.execute("CHECKPOINT")
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.replace(target)


def _remove(new: Path) -> None:
    for ending in _SIDE_FILES:
        left = new.with_name(new.name + ending)
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
