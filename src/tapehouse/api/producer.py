"""What a producer says of itself when it is asked for its health."""

from tapehouse.api import health
from tapehouse.api.encoding import time_text
from tapehouse.tape.status import WriterStatus
from tapehouse.telemetry import mask

WAITS_AFTER = 2.0
"""Seconds without an answer of the brokers after which that is told as trouble."""


def report(moment: health.Moment, tape: WriterStatus) -> dict[str, object]:
    """Tell the status as a whole, the sources, each symbol's place on the tape, and the tape itself."""
    told = health.report(moment, moment.symbols)
    trouble = list(_trouble(moment, tape))
    reasons = [*trouble, *told.pop("reasons")]  # type: ignore[misc]  # a list, as every report has it
    del told["commit"], told["event_time"], told["watermark"]  # of a lake and of candles, which a producer has not
    return {
        **told,
        "status": "failing" if trouble else told["status"],
        "reasons": reasons[: health.MOST_REASONS],
        "tape": {
            "waiting": tape.waiting,
            "bound": tape.bound,
            "committed_at": time_text(tape.committed_at) if tape.committed_at else None,
            "records": tape.records,
            "broker_error": mask(tape.broker_error),
        },
    }


def _trouble(moment: health.Moment, tape: WriterStatus) -> list[str]:
    seconds = (moment.now - tape.broker_error_since) / 1e6
    if not tape.broker_error or seconds < WAITS_AFTER:
        return []
    full = tape.waiting >= tape.bound
    what = "The tape is full, so the feed waits; what is missed is fetched by trade id." if full else "Messages wait."
    return [f"No broker has answered for {seconds:.0f} s ({mask(tape.broker_error)}). {what}"]
