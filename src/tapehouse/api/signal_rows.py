"""Signals as the API says them: the table's columns, the evidence as an object."""

import msgspec

from tapehouse.api.encoding import time_text
from tapehouse.catalog import VENUE
from tapehouse.market.signals import Signal

NOT_STORED = 0
"""The `known_at` of what is in no table yet; it is told as null."""


def signal_fields(signal: Signal) -> dict[str, object]:
    """Return a signal with the columns of gold/signals."""
    return {
        **msgspec.structs.asdict(signal),
        "venue": VENUE,
        "opened_at": time_text(signal.opened_at),
        "known_at": time_text(signal.known_at) if signal.known_at != NOT_STORED else None,
    }
