"""The lake the settings name, opened for the process that writes it or for one that reads it."""

from collections.abc import Iterator
from contextlib import contextmanager

from tapehouse.catalog import EMBEDDED, STREAM, WAREHOUSE
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.lock import writing_lock
from tapehouse.lake.refusals import reads_explained
from tapehouse.settings import Settings


@contextmanager
def writing(settings: Settings) -> Iterator[None]:
    """Hold the writer's place of the lake while it is written; LakeError that names the holder when it is taken."""
    with writing_lock(settings.lake, storage_options(settings)), reading(settings):
        yield


@contextmanager
def reading(settings: Settings) -> Iterator[None]:
    """Tell what the disk or the bucket says when rows cannot be read, wherever that happens, as a LakeError."""
    with reads_explained(settings.lake):
        yield


def open_lake(settings: Settings) -> DeltaLake:
    """Return the lake of the settings for the profile's writing process, its tables made."""
    lake = _lake(settings, EMBEDDED if settings.profile == "embedded" else STREAM)
    lake.create()
    return lake


def open_lake_to_read(settings: Settings) -> DeltaLake:
    """Return the lake of the settings for a process that writes nothing; a table not made yet is empty."""
    return _lake(settings, None)


def open_lake_to_publish(settings: Settings) -> DeltaLake:
    """Return the lake of the settings for the warehouse, which writes its own tables beside the platform."""
    return _lake(settings, WAREHOUSE)


def storage_options(settings: Settings) -> dict[str, str]:
    """Return how the bucket is reached, in the names delta-rs, Polars and obstore share; it holds the secret."""
    secret, token = settings.aws_secret_access_key, settings.aws_session_token
    path_style = settings.s3_path_style
    if path_style is None:
        path_style = settings.aws_endpoint_url is not None
    options = {
        "aws_endpoint_url": settings.aws_endpoint_url,
        "aws_region": settings.aws_region or ("us-east-1" if settings.aws_endpoint_url else None),
        "aws_access_key_id": settings.aws_access_key_id,
        "aws_secret_access_key": secret.get_secret_value() if secret else None,
        "aws_session_token": token.get_secret_value() if token else None,
        "aws_virtual_hosted_style_request": str(not path_style).lower(),
    }
    return {name: value for name, value in options.items() if value}


def _lake(settings: Settings, writer: str | None) -> DeltaLake:
    options = storage_options(settings)
    return DeltaLake(settings.lake, storage_options=options, time_travel_days=settings.time_travel_days, writer=writer)
