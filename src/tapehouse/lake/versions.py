"""Which older versions of a table stay readable, and the removal of what no promised version needs.

Law: nothing is removed that the newest version, a version within the time travel promised, or a write under way needs.
Every commit stays readable for a while, then one version an hour: a log of millions of entries would slow each commit.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from deltalake import DeltaTable

from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.log_entries import LogEntry
from tapehouse.lake.refusals import explained

LOG_ENTRIES = 1_000
"""Newest commits whose versions all stay readable; older ones are thinned to one an hour."""

_SHORTEST_RETENTION = timedelta(hours=1)
"""No file younger is ever removed: it may belong to a write or a read under way."""


def thin_log(lake: DeltaLake, table: str, now: datetime) -> int:
    """Remove log entries older than the newest LOG_ENTRIES, but for one checkpointed version an hour; how many."""
    with explained(f"thin the log of {lake.address(table)}"):
        entries = lake.place.log_entries(table)
        horizon = _horizon(entries)
        older = [entry for entry in entries if entry.version < horizon]
        kept = _hourly(older, now - timedelta(days=lake.time_travel_days))
        expired = [entry for entry in older if entry.version not in kept]
        lake.place.remove_log_entries(table, expired)
    return len(expired)


def vacuum(lake: DeltaLake, table: str, now: datetime) -> int:
    """Remove files no promised version needs, and those a killed write left; how many.

    In a folder a file's age starts when it is replaced. An object's starts when it is written: there what the promised
    versions name is kept beside what is young.
    """
    retention = max(_SHORTEST_RETENTION, timedelta(days=lake.time_travel_days))
    with explained(f"vacuum {lake.address(table)}"):
        if not lake.is_local:
            promised = _promised(lake.place.log_entries(table), now - retention)
            return len(_vacuum(lake.opened_apart(table), retention, promised))  # it lists long: commits go on meanwhile
        with lake.writing(table) as delta:
            return len(_vacuum(delta, retention, []))


def _vacuum(delta: DeltaTable, retention: timedelta, promised: list[int]) -> list[str]:
    return delta.vacuum(
        retention_hours=int(retention.total_seconds() // 3600),
        dry_run=False,
        enforce_retention_duration=False,
        full=True,
        keep_versions=promised or None,
    )


def _horizon(entries: Sequence[LogEntry]) -> int:
    """Return the newest checkpoint at least LOG_ENTRIES old: what is before it, no reader needs for a later version."""
    newest = max((entry.version for entry in entries), default=0)
    old = (entry.version for entry in entries if entry.is_checkpoint and entry.version <= newest - LOG_ENTRIES)
    return max(old, default=0)


def _hourly(entries: Sequence[LogEntry], oldest: datetime) -> set[int]:
    """Return the first checkpointed version of every hour since `oldest`."""
    kept: dict[int, int] = {}
    for entry in sorted(entries, key=lambda entry: entry.version):
        if entry.is_checkpoint and entry.written_at >= oldest.timestamp():
            kept.setdefault(int(entry.written_at // 3600), entry.version)
    return set(kept.values())


def _promised(entries: Sequence[LogEntry], oldest: datetime) -> list[int]:
    """Return versions whose files are those of the time since `oldest`: one an hour, and the one it began with."""
    before = (e.version for e in entries if e.is_checkpoint and e.written_at < oldest.timestamp())
    return sorted({*_hourly(entries, oldest), *sorted(before)[-1:]})
