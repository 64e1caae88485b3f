"""Marts become Delta tables below `gold/`: what a build has changed, each table in one commit.

What was published is known from the tables themselves, so that a publication that was cut off is caught up by the next.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl

from tapehouse.catalog import MARTS, TABLES, WAREHOUSE, Table
from tapehouse.lake.compaction import data_files
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.versions import thin_log, vacuum


def publish(file: Path, lake: DeltaLake, now: datetime) -> dict[str, int]:
    """Publish what the warehouse in `file` has and the lake lacks; return how many rows each table was given."""
    lake.create()
    with _reading(file) as warehouse:
        written = {name: _publish(warehouse, lake, TABLES[name]) for name in MARTS}
    for name in MARTS:
        thin_log(lake, name, now)
        vacuum(lake, name, now)
    return {name: rows for name, rows in written.items() if rows}


@contextmanager
def _reading(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(file), read_only=True) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        yield warehouse


def _publish(warehouse: duckdb.DuckDBPyConnection, lake: DeltaLake, table: Table) -> int:
    if "date" in table.partition_by:
        return _publish_days(warehouse, lake, table)
    return _publish_whole(warehouse, lake, table)


def _publish_whole(warehouse: duckdb.DuckDBPyConnection, lake: DeltaLake, table: Table) -> int:
    """Replace a small table where anything in it differs."""
    rows = _rows(warehouse, table)
    before = lake.scan(table.name).collect().sort(table.sort_by)
    if rows.equals(before):
        return 0
    lake.replace(table.name, rows, writer=WAREHOUSE, batch=lake.last_batch(table.name, WAREHOUSE) + 1)
    return rows.height


def _publish_days(warehouse: duckdb.DuckDBPyConnection, lake: DeltaLake, table: Table) -> int:
    """Replace the days that have rows loaded since the last publication, and those that rows have left for another day.

    All of them where every row was loaded since. The batch is the newest `loaded_at` in microseconds.
    """
    last, mart = lake.last_batch(table.name, WAREHOUSE), warehouse.table(_mart(table))
    is_new = f"epoch_us(loaded_at) > {last}"
    days = mart.aggregate(f"cast(date as varchar), count(*), count(*) filter (where {is_new})", "date").fetchall()
    if not any(anew for _, _, anew in days):
        return 0
    newest: int = mart.aggregate("epoch_us(max(loaded_at))").fetchall()[0][0]
    if all(anew == rows for _, rows, anew in days):
        rows, changed = _rows(warehouse, table), None
    else:
        changed = sorted({day for day, _, anew in days if anew} | _outdated(lake, table, days))
        quoted = ", ".join(f"'{day}'" for day in changed)
        rows = _rows(warehouse, table, f"date in ({quoted})")
    lake.replace(table.name, rows, writer=WAREHOUSE, batch=newest, dates=changed)
    return rows.height


def _outdated(lake: DeltaLake, table: Table, days: Iterable[tuple[str, int, int]]) -> set[str]:
    """Return the published days that have another count of rows than these."""
    counts, published = {day: rows for day, rows, _ in days}, Counter[str]()
    with lake.writing(table.name) as delta:
        for file in data_files(delta):
            published[file.date] += file.rows
    return {day for day, rows in published.items() if rows != counts.get(day, 0)}


def _rows(warehouse: duckdb.DuckDBPyConnection, table: Table, condition: str = "true") -> pl.DataFrame:
    columns = ", ".join(f'"{name}"' for name in table.schema)
    return pl.DataFrame(warehouse.table(_mart(table)).filter(condition).select(columns)).sort(table.sort_by)


def _mart(table: Table) -> str:
    return f"marts.{table.name.removeprefix('gold/')}"
