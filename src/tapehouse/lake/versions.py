"""Which older versions of a table stay readable, and the removal of what no promised version needs.

Law: nothing is removed that the newest version, a version within the time travel promised, or a write under way needs.
Every commit stays readable for a while, then one version an hour: a log of millions of entries would slow each commit.
"""

from datetime import datetime, timedelta
from pathlib import Path

from deltalake import DeltaTable

from tapehouse.lake.delta import DeltaLake, explained

LOG_ENTRIES = 1_000
"""Newest commits whose versions all stay readable; older ones are thinned to one an hour."""

_SHORTEST_RETENTION = timedelta(hours=1)
"""No file younger is ever removed: it may belong to a write or a read under way."""


def checkpoint(lake: DeltaLake, table: str) -> None:
    """Write the table's state at its newest version, so that opening it reads one file."""
    with lake.writing(table) as delta, explained(f"checkpoint {lake.address(table)}"):
        delta.create_checkpoint()


def thin_log(lake: DeltaLake, table: str, now: datetime) -> int:
    """Remove log entries older than the newest LOG_ENTRIES, but for one checkpointed version an hour; how many."""
    log = Path(lake.address(table)) / "_delta_log"
    with explained(f"thin {log}"):
        entries = _entries(log)
        horizon = _horizon(entries)
        kept = _hourly(entries, horizon, now - timedelta(days=lake.time_travel_days))
        expired = [path for path, version in entries.items() if version < horizon and version not in kept]
        for path in expired:
            path.unlink()
    return len(expired)


def vacuum(lake: DeltaLake, table: str) -> int:
    """Remove files no promised version needs, and those a killed write left; how many."""
    with lake.writing(table) as delta, explained(f"vacuum {lake.address(table)}"):
        return len(_vacuum(delta, max(_SHORTEST_RETENTION, timedelta(days=lake.time_travel_days))))


def _vacuum(delta: DeltaTable, retention: timedelta) -> list[str]:
    return delta.vacuum(
        retention_hours=int(retention.total_seconds() // 3600),
        dry_run=False,
        enforce_retention_duration=False,
        full=True,
    )


def _entries(log: Path) -> dict[Path, int]:
    """Return the log's files by version."""
    return {path: int(path.name[:20]) for path in log.iterdir() if path.name[:20].isdigit()}


def _horizon(entries: dict[Path, int]) -> int:
    """Return the newest checkpoint at least LOG_ENTRIES old: what is before it, no reader needs for a later version."""
    newest = max(entries.values(), default=0)
    return max((v for v in _checkpointed(entries).values() if v <= newest - LOG_ENTRIES), default=0)


def _checkpointed(entries: dict[Path, int]) -> dict[Path, int]:
    return {path: version for path, version in entries.items() if ".checkpoint" in path.name}


def _hourly(entries: dict[Path, int], horizon: int, oldest: datetime) -> set[int]:
    """Return the first checkpointed version of every hour since `oldest`."""
    kept: dict[int, int] = {}
    for path, version in sorted(_checkpointed(entries).items(), key=lambda entry: entry[1]):
        written = path.stat().st_mtime
        if version < horizon and written >= oldest.timestamp():
            kept.setdefault(int(written // 3600), version)
    return set(kept.values())
