"""Where the dbt project lies, and what it is told: the lake, the warehouse's file, coins, the bucket's keys."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import tapehouse
from tapehouse.errors import ConfigError
from tapehouse.market.coins import coins_named
from tapehouse.settings import Settings

_PACKAGE = Path(tapehouse.__file__).parent
PLACES = (Path("dbt"), _PACKAGE.parents[1] / "dbt", _PACKAGE / "dbt")
"""Where the project is looked for: the working folder, the clone, the installed package."""


def find_project(settings: Settings) -> Path:
    """Return the folder of the dbt project; raise ConfigError where there is none."""
    places = PLACES if settings.dbt_project is None else (settings.dbt_project,)
    for place in places:
        if (place / "dbt_project.yml").is_file():
            return place.resolve()
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(
        f"There is no dbt project in {looked}: set TAPEHOUSE_DBT_PROJECT to the folder dbt/ of Tapehouse."
    )


def docs_page(settings: Settings) -> Path:
    """Return where the documentation of the models lies once it was written."""
    return settings.warehouse.with_name("docs.html")


def environment(settings: Settings, project: Path, file: Path, *, read_only: bool = False) -> dict[str, str]:
    """Return the variables that dbt/profiles.yml, its plugin and models read; keys of a bucket among them."""
    secret, token = settings.aws_secret_access_key, settings.aws_session_token
    told = {
        "TAPEHOUSE_LAKE": settings.lake if "://" in settings.lake else str(Path(settings.lake).resolve()),
        "TAPEHOUSE_WAREHOUSE": str(file.resolve()),
        "TAPEHOUSE_WAREHOUSE_ACCESS": "read_only" if read_only else "automatic",
        "TAPEHOUSE_DBT_PROJECT": str(project),
        "TAPEHOUSE_COINGECKO_COINS": ",".join(map("=".join, coins_named(settings.coingecko_pins()).items())),
        "TAPEHOUSE_S3_PATH_STYLE": None if settings.s3_path_style is None else str(settings.s3_path_style),
        "AWS_ENDPOINT_URL": settings.aws_endpoint_url,
        "AWS_REGION": settings.aws_region,
        "AWS_ACCESS_KEY_ID": settings.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else None,
        "AWS_SESSION_TOKEN": token.get_secret_value() if token else None,
    }
    return {name: value for name, value in told.items() if value}


@contextmanager
def told_to_dbt(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables in the process's environment, where dbt looks, and as they were afterwards."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
