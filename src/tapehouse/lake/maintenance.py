"""Upkeep beside the writing: merges, checkpoints, log, vacuum, short coverage; a bounded piece at a time."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from tapehouse import telemetry
from tapehouse.catalog import COVERAGE, TABLES
from tapehouse.lake import compaction, versions
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.coverage import overlay

MERGES_A_RUN = 4
"""Most merges of one table in a run, so that a run takes seconds and the memory of one merge."""
FINAL_MERGES_A_RUN = 1
"""Most merges of a table's finished days in a run: they compress hard, and can wait."""

FINISHED_AFTER = timedelta(hours=2)
"""A day takes late trades for a while; one that is over, and not written to for so long, counts as finished."""
_THIN_EVERY = timedelta(minutes=1)
_VACUUM_EVERY = timedelta(hours=6)


@dataclass
class Report:
    """What one run did: merges and the rows they rewrote, log entries and files removed, seconds taken."""

    merges: int = 0
    rows_rewritten: int = 0
    log_entries_removed: int = 0
    files_removed: int = 0
    seconds: float = 0.0
    pending: bool = False


class Maintenance:
    """The lake's upkeep, called again and again from one thread of the process that writes.

    It keeps the tables that process writes: upkeep belongs to a table's one writer.
    """

    def __init__(self, lake: DeltaLake, *, finished_after: timedelta = FINISHED_AFTER) -> None:
        self._lake = lake
        self._finished_after = finished_after
        self._thinned: datetime | None = None
        self._vacuumed: datetime | None = None
        self._ours = [name for name in TABLES if lake.may_write(name)]
        lake.place.clear_scratch()

    def run_once(self, now: datetime, *, go_on: Callable[[], bool] = lambda: True) -> Report:
        """Do what is due at `now` (aware UTC), within MERGES_A_RUN merges; `pending` tells that more is due.

        Asked before each merge, `go_on` may end the run early: nothing depends on when upkeep is done.
        """
        report = Report()
        started = time.perf_counter()
        self._merge(now, report, go_on)
        if go_on():
            self._thin(now, report)
            self._vacuum(now, report)
        report.seconds = time.perf_counter() - started
        return report

    def _merge(self, now: datetime, report: Report, go_on: Callable[[], bool]) -> None:
        quiet = now - self._finished_after
        finished_before, quiet_since = quiet.date().isoformat(), int(quiet.timestamp() * 1000)
        for name in self._ours:
            files = self._files(name)
            if name == COVERAGE:
                report.merges += normalise_coverage(self._lake, files) if len(files) >= compaction.FAN_IN else 0
                continue
            full = compaction.full_rows(name)
            due = list(compaction.choose(files, full, finished_before=finished_before, quiet_since=quiet_since))
            now_done = [merge for merge in due if not merge.final][:MERGES_A_RUN]
            now_done += [merge for merge in due if merge.final][:FINAL_MERGES_A_RUN]
            report.pending |= len(due) > len(now_done)
            for merge in itertools.takewhile(lambda _: go_on(), now_done):
                compaction.compact(self._lake, name, merge)
                telemetry.maintenance_runs.labels(name, "finish" if merge.final else "merge").inc()
                report.merges += 1
                report.rows_rewritten += sum(file.rows for file in merge.files)

    def _thin(self, now: datetime, report: Report) -> None:
        if self._thinned is None or now - self._thinned >= _THIN_EVERY:
            self._thinned = now
            report.log_entries_removed = sum(versions.thin_log(self._lake, name, now) for name in self._ours)

    def _vacuum(self, now: datetime, report: Report) -> None:
        if self._vacuumed is None or now - self._vacuumed >= _VACUUM_EVERY:
            self._vacuumed = now
            telemetry.maintenance_runs.labels("all", "vacuum").inc()
            report.files_removed = sum(versions.vacuum(self._lake, name, now) for name in self._ours)

    def _files(self, name: str) -> list[compaction.DataFile]:
        with self._lake.writing(name) as delta:
            return compaction.data_files(delta)


def normalise_coverage(lake: DeltaLake, files: Sequence[compaction.DataFile]) -> int:
    """Rewrite these files of silver/coverage as disjoint ranges that say the same; return how many merges that took.

    A row committed meanwhile is untouched and, being known later, still overrides.
    """
    table = TABLES[COVERAGE]
    rows = compaction.read_sorted(lake, table, files)
    parts = [_normal_form(of_symbol) for of_symbol in rows.partition_by("venue", "symbol", maintain_order=True)]
    normal = pl.concat(parts).sort(table.sort_by) if parts else rows
    telemetry.maintenance_runs.labels(COVERAGE, "normalise").inc()
    compaction.swap(lake, table, normal, compaction.Merge(files, final=False), rows_change=True)
    return 1


def _normal_form(rows: pl.DataFrame) -> pl.DataFrame:
    told = rows.sort("known_at", pl.col("status") == "held", maintain_order=True)
    held, missing = overlay(told.select("first_trade_id", "last_trade_id", pl.col("status") == "held").iter_rows())
    ranges = [(*span, "held") for span in held] + [(*span, "missing") for span in missing]
    found = pl.DataFrame(ranges, schema=["first_trade_id", "last_trade_id", "status"], orient="row")
    newest = rows.select("venue", "symbol", "known_at", "date").sort("known_at").tail(1)
    return found.join(newest, how="cross").select(rows.columns).cast(rows.schema)
