"""The signals of the last day about a symbol, or about the market as a whole, from memory."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tapehouse.api.encoding import time_text
from tapehouse.api.periods import PERIODS, Present, span
from tapehouse.api.signal_queries import STANDING
from tapehouse.api.signal_rows import signal_fields
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import WHOLE_MARKET, Signal
from tapehouse.market.windows import DAY
from tapehouse.streaming.signal_view import MOST, SignalView

PERIOD = "24h"
SHOWN = 10
"""Most signals in an answer; all are counted."""


def recent_signals(view: SignalView, symbol: str, rows: Sequence[CandleRow], present: Present) -> dict[str, Any]:
    """Return how many signals of each kind stand in the last day, and the newest of them.

    `rows` are the windows of that day: signals rest on their trades, so that they are as fresh and as complete.
    """
    remembered = view.newest()
    start = _reaches_back_to(remembered, present.now - DAY)
    about = {symbol, WHOLE_MARKET}
    found = [it for it in remembered if it.symbol in about and it.state in STANDING and it.opened_at >= start]
    return {
        "period": PERIOD,
        **span(PERIODS[PERIOD], rows, present),
        "start": time_text(start),
        "end": time_text(present.now),
        "count": len(found),
        "provisional": sum(signal.state == "provisional" for signal in found),
        "kinds": dict(Counter(signal.kind for signal in found)),
        "signals": [signal_fields(signal) for signal in found[-SHOWN:]],
    }


def _reaches_back_to(remembered: list[Signal], since: int) -> int:
    """Return that time, or a later one before which signals may have been forgotten."""
    return max(since, remembered[0].opened_at) if len(remembered) >= MOST else since
