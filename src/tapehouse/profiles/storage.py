"""The lake the settings name, opened."""

from tapehouse.errors import ConfigError
from tapehouse.lake.delta import DeltaLake
from tapehouse.settings import Settings


def open_lake(settings: Settings) -> DeltaLake:
    """Return the lake of the settings, its tables made."""
    if settings.profile != "embedded":
        raise ConfigError(f"This version has the profile embedded, not {settings.profile}. Set TAPEHOUSE_PROFILE.")
    lake = DeltaLake(settings.lake, time_travel_days=settings.time_travel_days)
    lake.create()
    return lake
