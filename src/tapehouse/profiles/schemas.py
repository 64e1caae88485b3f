"""JSON Schemas of what comes in and what is stored, read off the models that read and write it."""

from collections.abc import Mapping
from typing import Any

import msgspec
import polars as pl

from tapehouse.catalog import TABLES
from tapehouse.errors import ConfigError
from tapehouse.producers.binance import wire as binance
from tapehouse.producers.context import MODELS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MESSAGES: Mapping[str, type] = {
    "binance.stream": binance.StreamMessage,
    "binance.historical_trade": binance.HistoricalTrade,
    "binance.aggregate_trade": binance.AggregateTrade,
    **MODELS,
}
"""What a frame of each source holds: the value of a message on Kafka, and `payload` in bronze."""


def schema_names() -> list[str]:
    """Return the names of all schemas: messages by their source, rows by their table."""
    return [*MESSAGES, *TABLES]


def schema(name: str) -> dict[str, Any]:
    """Return one JSON Schema; raise ConfigError with the names there are when there is no such one."""
    if name in MESSAGES:
        return {"$schema": DIALECT, **_as_written(msgspec.json.schema(MESSAGES[name]))}
    if name not in TABLES:
        raise ConfigError(f"There is no schema {name}; there is {', '.join(schema_names())}.")
    table = TABLES[name]
    return {
        "$schema": DIALECT,
        "title": name,
        "description": f"One row is {table.row}.",
        "type": "object",
        "properties": {column: _column(kind) for column, kind in table.schema.items()},
        "required": list(table.schema),
        "additionalProperties": False,
    }


def schema_text(name: str) -> str:
    """Return one JSON Schema as it is printed and published."""
    return msgspec.json.format(msgspec.json.encode(schema(name), order="sorted"), indent=2).decode() + "\n"


def _as_written(told: Any) -> Any:
    """Return a schema in which decimals are the JSON numbers that upstreams write; they are read digit by digit."""
    if isinstance(told, dict):
        if told.get("format") == "decimal":
            return {"type": "number"}
        return {name: _as_written(value) for name, value in told.items()}
    return [_as_written(value) for value in told] if isinstance(told, list) else told


def _column(kind: Any) -> dict[str, Any]:
    """Return how a value of a column's type is written in JSON: decimals and times as text, bytes in base64."""
    if isinstance(kind, pl.List):
        return {"type": ["array", "null"], "items": _column(kind.inner)}
    if isinstance(kind, pl.Decimal):
        return _nullable("string", format="decimal", description=f"{kind.scale} decimals")
    if isinstance(kind, pl.Binary):
        return _nullable("string", contentEncoding="base64")
    if isinstance(kind, pl.Datetime):
        return _nullable("string", format="date-time")
    if isinstance(kind, pl.Date):
        return _nullable("string", format="date")
    names = {pl.Int64: "integer", pl.Float64: "number", pl.Boolean: "boolean", pl.String: "string"}
    return _nullable(names[type(kind)])


def _nullable(name: str, **more: str) -> dict[str, Any]:
    return {"type": [name, "null"], **more}
