"""Write the pages that are read off the code: docs/reference/*.md and .env.example.

`python docs/generate.py` writes them; with `--check` it writes nothing, names those that are stale, and ends with 1.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from prometheus_client.metrics import MetricWrapperBase

from tapehouse import catalog, cli, telemetry
from tapehouse.api.main import create_app
from tapehouse.errors import TapehouseError
from tapehouse.lake.delta import DeltaLake
from tapehouse.profiles.schemas import schema_names, schema_text
from tapehouse.settings import Settings, as_text, variable_of
from tapehouse.streaming.view import LiveView

ROOT = Path(__file__).parents[1]
GENERATED = "<!-- Written by docs/generate.py (make docs) from {origin}. Do not edit. -->\n\n"


def main(arguments: list[str]) -> int:
    """Write the stale pages, or with --check only name them; return the exit status."""
    stale = [(path, text) for path, text in pages().items() if _read(path) != text]
    for path, text in stale:
        click.echo(f"{'stale' if '--check' in arguments else 'written'}: {path}")
        if "--check" not in arguments:
            (ROOT / path).parent.mkdir(exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        click.echo("make docs writes them", err=True)
        return 1
    return 0


def pages() -> dict[str, str]:
    """Return the text of every generated page by its path in the repository."""
    return {
        ".env.example": environment_example(),
        "docs/reference/settings.md": settings_page(),
        "docs/reference/cli.md": commands_page(),
        "docs/reference/tables.md": tables_page(),
        "docs/reference/topics.md": topics_page(),
        "docs/reference/metrics.md": metrics_page(),
        "docs/reference/http.md": http_page(),
        **{f"docs/reference/schemas/{name.replace('/', '.')}.json": schema_text(name) for name in schema_names()},
    }


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
            f"compacted in the order of {_names(table.sort_by)}.\nIts one writer is "
            + " and ".join(f"`{writer}` (profile {profile})" for profile, writer in table.writers.items())
            + ".\n\n"
            + _table(("column", "type"), columns)
        )
    return "".join(parts)


def topics_page() -> str:
    """Return every topic of Kafka with its key and how long it is kept."""
    rows = [
        (
            f"`{topic.name}`",
            topic.message,
            f"`{topic.key}`",
            f"{topic.retention.days} days" if topic.retention else "the newest of each key",
            str(topic.partitions or "as set"),
        )
        for topic in catalog.TOPICS.values()
    ]
    return (
        GENERATED.format(origin="src/tapehouse/catalog.py")
        + "# Topics\n\nOf the cluster profile; `tapehouse topics apply` creates them.\n"
        + "[How they are read](../how-to/kafka.md).\n\n"
        + _table(("topic", "a message is", "key", "kept", "partitions"), rows)
    )


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
    """Return every HTTP path with its parameters and answers, from the OpenAPI description of the app."""
    described = create_app(LiveView(), DeltaLake("unused"), tuple, Settings(_env_file=None)).openapi()
    parts = [GENERATED.format(origin="src/tapehouse/api"), f"# HTTP\n\n{described['info']['description'].strip()}\n"]
    for path, operations in described["paths"].items():
        parts += [_operation(f"{method.upper()} {path}", operation) for method, operation in operations.items()]
    parts.append("\n## Bodies\n")
    for name, body in described["components"]["schemas"].items():
        fields = [
            (f"`{field}`", _kind(schema), schema.get("description", "")) for field, schema in body["properties"].items()
        ]
        parts.append(f"\n### {name}\n\n" + _table(("field", "type", "meaning"), fields))
    return "".join(parts)


def _operation(title: str, operation: dict[str, Any]) -> str:
    rows = [
        (
            f"`{given['name']}`",
            _kind(given["schema"]),
            str(given["schema"].get("default", "")),
            given.get("description", ""),
        )
        for given in operation.get("parameters", [])
    ]
    answers = [(status, _body(answer), answer["description"]) for status, answer in operation["responses"].items()]
    return (
        f"\n## {title}\n\n{operation.get('description') or operation['summary']}\n\n"
        + (_table(("parameter", "type", "default", "meaning"), rows) + "\n" if rows else "")
        + _table(("status", "body", "meaning"), answers)
    )


def _body(answer: dict[str, Any]) -> str:
    kinds = {_kind(content.get("schema", {})) for content in answer.get("content", {}).values()}
    return " or ".join(sorted(kind for kind in kinds if kind))


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    return " ".join(str(schema[key]) for key in ("type", "format") if key in schema)


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
        if isinstance(metric, MetricWrapperBase | telemetry.ThreadTimes):
            yield next(iter(metric.describe())), metric._labelnames  # noqa: SLF001  # the library shows them nowhere else


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
