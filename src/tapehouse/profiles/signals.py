"""What is a signal, as the settings have it: the same in every profile."""

from tapehouse.market.signals import Detection
from tapehouse.settings import Settings


def detection(settings: Settings) -> Detection:
    """Return what the settings call a signal."""
    told = {name: getattr(settings, f"signal_{name}") for name in Detection.__struct_fields__}
    return Detection(**told | {"quote_worth": settings.quote_worth()})
