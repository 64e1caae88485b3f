"""One run of dbt inside this process: each step is told as it ends, and what failed is explained.

dbt's own words go to a log file; nothing is sent anywhere.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tapehouse.errors import ConfigError, WarehouseError
from tapehouse.settings import Settings
from tapehouse.warehouse.project import environment, find_project, told_to_dbt
from tapehouse.warehouse.steps import Ran, Step, Tell

MOST_FAILURES = 20
"""Failures that are explained; the rest is counted."""
_FAILED = ("error", "fail", "runtime error")


def run_dbt(settings: Settings, command: Sequence[str], file: Path, tell: Tell, *, read_only: bool = False) -> Ran:
    """Run a command of dbt over the warehouse in `file`.

    Raise WarehouseError that says what failed, why, and what to do; ConfigError where dbt is not installed.
    """
    project, logs = find_project(settings), settings.warehouse.parent.resolve() / "logs"
    runner = _runner(tell)
    arguments = [
        *command,
        *("--project-dir", str(project), "--profiles-dir", str(project)),
        *("--target-path", str(target_of(settings, command[0])), "--log-path", str(logs)),
        *("--log-level", "none", "--log-level-file", "debug", "--no-send-anonymous-usage-stats"),
    ]
    with told_to_dbt(environment(settings, project, file, read_only=read_only)):
        try:
            ended = runner.invoke(arguments)
        finally:
            _let_go_of_the_file()
    if not ended.success:
        raise WarehouseError(_explanation(ended, project, logs))
    counts: dict[str, int] = {}
    for result in getattr(ended.result, "results", ()):
        counts[str(result.node.resource_type)] = counts.get(str(result.node.resource_type), 0) + 1
    return Ran(counts)


def target_of(settings: Settings, command: str) -> Path:
    """Return where a command of dbt writes what it compiles: each its own, so that two may run at a time."""
    return settings.warehouse.parent.resolve() / "target" / command


def _runner(tell: Tell) -> Any:
    try:
        from dbt.cli.main import dbtRunner  # noqa: PLC0415  # of the extra `warehouse`, and slow to import
    except ImportError as error:
        raise ConfigError(
            f"The warehouse needs dbt and DuckDB ({error}): run `make setup-warehouse`, or install "
            "tapehouse[warehouse]."
        ) from error
    whole, done = 0, 0

    def on_event(event: Any) -> None:
        nonlocal whole, done
        if event.info.name == "LogStartLine":
            whole = event.data.total
        elif event.info.name == "NodeFinished":
            node, done = event.data.node_info, done + 1
            seconds = event.data.run_result.execution_time
            tell(Step(node.node_name, node.resource_type, node.node_status, seconds, done, max(whole, done)))

    return dbtRunner(callbacks=[on_event])


def _let_go_of_the_file() -> None:
    """Close the database that dbt keeps open for the life of the process."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager  # noqa: PLC0415  # as above

    manager: Any = DuckDBConnectionManager
    if manager._ENV is not None:  # noqa: SLF001  # dbt-duckdb offers no other way
        manager._ENV.close()  # noqa: SLF001  # as above
    manager.close_all_connections()


def _explanation(ended: Any, project: Path, logs: Path) -> str:
    results = list(getattr(ended.result, "results", ()))
    failed = [result for result in results if str(result.status) in _FAILED]
    skipped = sum(str(result.status) == "skipped" for result in results)
    lines = [f"{len(failed)} of {len(results)} steps failed." if failed else "dbt could not run."]
    if not failed:
        lines.append(f"  {_one_line(str(ended.exception or ended.result))}")
    for result in failed[:MOST_FAILURES]:
        lines += _told_of(result, project)
    if len(failed) > MOST_FAILURES:
        lines.append(f"  ... and {len(failed) - MOST_FAILURES} more")
    if skipped:
        lines.append(f"  {skipped} steps that come after them were left out.")
    lines.append(f"All that dbt said is in {logs / 'dbt.log'}.")
    return "\n".join(lines)


def _told_of(result: Any, project: Path) -> Iterator[str]:
    node = result.node
    kind = str(node.resource_type).replace("_", " ")
    why = f"{result.failures} rows break it" if str(result.status) == "fail" and kind == "test" else result.message
    yield f"  {kind} {node.name}: {_one_line(str(why))}"
    yield f"    stands in {project / node.original_file_path}"
    if getattr(node, "compiled_path", None):
        yield f"    its query, to run by hand: {node.compiled_path}"


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 600 else f"{words[:600]}..."
