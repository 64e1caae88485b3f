"""Write the pages that are read off the code: docs/reference/*.md and .env.example.

`python docs/generate.py` writes them; with `--check` it writes nothing, names those that are stale, and ends with 1.
"""

import importlib.util
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from prometheus_client.metrics import MetricWrapperBase

from tapehouse import catalog, cli, telemetry
from tapehouse.errors import TapehouseError
from tapehouse.settings import Settings, as_text, variable_of

ROOT = Path(__file__).parents[1]
GENERATED = "<!-- Written by docs/generate.py (make docs) from {origin}. Do not edit. -->\n\n"


def main(arguments: list[str]) -> int:
    """Write the stale pages, or with --check only name them; return the exit status."""
    stale = [(path, text) for path, text in pages().items() if _read(path) != text]
    for path, text in stale:
        click.echo(f"{'stale' if '--check' in arguments else 'written'}: {path}")
        if "--check" not in arguments:
            (ROOT / path).write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        click.echo("make docs writes them", err=True)
        return 1
    return 0


def pages() -> dict[str, str]:
    """Return the text of every generated page by its path in the repository."""
    made = {
        ".env.example": environment_example(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/cli.md": commands_page(),
        "docs/reference/tables.md": tables_page(),
        "docs/reference/metrics.md": metrics_page(),
    }
    if importlib.util.find_spec("tapehouse.api.main"):
        made["docs/reference/http.md"] = http_page()
    return made


def environment_example() -> str:
    """Return every setting as a commented line with its default, for a person to copy to .env."""
    parts = ["# Every setting with its default. Copy this file to .env and uncomment what you change.\n"]
    for variable, default, description in _settings():
        comment = textwrap.fill(description, 100, initial_indent="# ", subsequent_indent="# ")
        parts.append(f"{comment}\n#{variable}={default}\n")
    return "\n".join(parts)


def settings_page() -> str:
    """Return the settings as a table."""
    rows = [(f"`{variable}`", f"`{default}`" if default else "", text) for variable, default, text in _settings()]
    return (
        GENERATED.format(origin="src/tapehouse/settings.py")
        + "# Settings\n\nEnvironment variables, or lines of a file `.env` in the working folder; the environment\n"
        "wins. Lists are separated by commas. `tapehouse settings` shows what is in force and where it came from.\n\n"
        + _table(("variable", "default", "meaning"), rows)
    )


def commands_page() -> str:
    """Return the help text of every command."""
    parts = [GENERATED.format(origin="src/tapehouse/cli.py"), "# Command line\n"]
    for path, command in _commands("tapehouse", cli.main):
        context = click.Context(command, info_name=path, terminal_width=100, help_option_names=["-h", "--help"])
        parts.append(f"\n## {path}\n\n```text\n{command.get_help(context)}\n```\n")
    parts.append("\n## Exit status\n\n" + _table(("status", "meaning"), _exit_codes()))
    return "".join(parts)


def tables_page() -> str:
    """Return every table of the catalog with its columns."""
    parts = [GENERATED.format(origin="src/tapehouse/catalog.py"), "# Tables\n\nTimes are UTC, in microseconds.\n"]
    for table in catalog.TABLES.values():
        columns = [(f"`{name}`", f"`{_type(kind)}`") for name, kind in table.schema.items()]
        parts.append(
            f"\n## {table.name}\n\nOne row is {table.row}.\nPartitioned by {_names(table.partition_by)}, "
            f"compacted in the order of {_names(table.sort_by)}; its one writer is `{table.writer}`.\n\n"
            + _table(("column", "type"), columns)
        )
    return "".join(parts)


def metrics_page() -> str:
    """Return every metric with its labels."""
    rows = [
        (
            f"`{family.name}{'_total' if family.type == 'counter' else ''}`",
            family.type,
            _names(labels),
            family.documentation,
        )
        for family, labels in _metrics()
    ]
    return (
        GENERATED.format(origin="src/tapehouse/telemetry.py")
        + "# Metrics\n\n`/metrics` gives them in the Prometheus format. Counters begin at zero with the process.\n\n"
        + _table(("metric", "kind", "labels", "meaning"), rows)
    )


def http_page() -> str:
    """Return every HTTP path with its parameters, from the OpenAPI description of the app."""
    from tapehouse.api.main import openapi  # noqa: PLC0415  # the page exists where the API does

    parts = [GENERATED.format(origin="src/tapehouse/api"), "# HTTP\n"]
    for path, operations in openapi()["paths"].items():
        for method, operation in operations.items():
            parts.append(f"\n## {method.upper()} {path}\n\n{operation.get('description') or operation['summary']}\n")
            rows = [_parameter(parameter) for parameter in operation.get("parameters", [])]
            parts.append("\n" + _table(("parameter", "in", "type", "meaning"), rows) if rows else "")
    return "".join(parts)


def _settings() -> Iterator[tuple[str, str, str]]:
    for name, field in Settings.model_fields.items():
        yield variable_of(name), as_text(field.default), field.description or ""


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(f"{path} {name}", command.commands[name])


def _exit_codes() -> list[tuple[str, ...]]:
    family = [TapehouseError]
    for error in family:
        family.extend(error.__subclasses__())
    codes = {error.exit_code: (error.__doc__ or "").split("\n")[0] for error in reversed(family)}
    return [("0", "Done."), *((str(code), codes[code]) for code in sorted(codes))]


def _metrics() -> Iterator[tuple[Any, tuple[str, ...]]]:
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            yield next(iter(metric.describe())), metric._labelnames  # noqa: SLF001  # the library shows them nowhere else


def _parameter(parameter: dict[str, Any]) -> tuple[str, ...]:
    schema = parameter["schema"]
    kinds = [option.get("type", "") for option in schema.get("anyOf", [schema])]
    kind = " or ".join(kind for kind in kinds if kind and kind != "null")
    return f"`{parameter['name']}`", parameter["in"], kind, parameter.get("description", "")


def _type(kind: object) -> str:
    return (
        str(kind).replace("time_unit='us', time_zone='UTC'", "us, UTC").replace("precision=", "").replace("scale=", "")
    )


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _read(path: str) -> str:
    file = ROOT / path
    return file.read_text(encoding="utf-8") if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
