"""Each connection of dbt to DuckDB can read the lake: the extensions come from wheels, the bucket's keys from AWS_*.

Nothing is downloaded, and no key is written down: it stays in the connection's memory.
"""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin

EXTENSIONS = ("httpfs", "delta")


class Plugin(BasePlugin):
    """What dbt-duckdb calls with a new database, and with every cursor."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the warehouse's folder before its file is opened."""
        Path(creds.path).parent.mkdir(parents=True, exist_ok=True)

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Load the extensions, and name the bucket's server and keys where the lake is in a bucket."""
        for name in EXTENSIONS:
            conn.execute(f"LOAD {_quoted(_extension(name))}")
        if os.environ.get("TAPEHOUSE_LAKE", "").startswith("s3://"):
            conn.execute(_secret(os.environ))


def _extension(name: str) -> str:
    spec = find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"duckdb-extension-{name} is not installed: make setup-warehouse installs it")
    folder = Path(spec.submodule_search_locations[0])
    return str(folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension")


def _secret(environment: Mapping[str, str]) -> str:
    endpoint = environment.get("AWS_ENDPOINT_URL", "")
    address = urlsplit(endpoint)
    path_style = environment.get("TAPEHOUSE_S3_PATH_STYLE") or str(bool(endpoint))
    options = {
        "KEY_ID": environment.get("AWS_ACCESS_KEY_ID"),
        "SECRET": environment.get("AWS_SECRET_ACCESS_KEY"),
        "SESSION_TOKEN": environment.get("AWS_SESSION_TOKEN"),
        "REGION": environment.get("AWS_REGION") or "us-east-1",
        "ENDPOINT": address.netloc + address.path.rstrip("/"),
        "USE_SSL": str(address.scheme != "http").lower(),
        "URL_STYLE": "path" if path_style.lower() in {"true", "1"} else "vhost",
    }
    told = ", ".join(f"{name} {_quoted(value)}" for name, value in options.items() if value)
    return f"CREATE OR REPLACE TEMPORARY SECRET lake (TYPE s3, {told})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
