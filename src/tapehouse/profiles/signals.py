"""What is a signal, as the settings have it: the same in every profile."""

import structlog

from tapehouse.market.signals import Detection
from tapehouse.market.watch import TELLING_INTERVAL
from tapehouse.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def detection(settings: Settings) -> Detection:
    """Return what the settings call a signal; say where they leave out a kind that its source runs for."""
    told = {name: getattr(settings, f"signal_{name}") for name in Detection.__struct_fields__}
    found = Detection(**told | {"quote_worth": settings.quote_worth()})
    if found.intervals and TELLING_INTERVAL not in found.intervals and "coingecko" in settings.chosen_sources():
        log.warning("no_divergences", lacks=TELLING_INTERVAL, setting="TAPEHOUSE_SIGNAL_INTERVALS")
    return found
