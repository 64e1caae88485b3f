"""What Spark tells of each micro-batch, as metrics."""

import json
from typing import Any

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from tapehouse import telemetry


class Progress(StreamingQueryListener):
    """Spark calls these from a thread of its own; the newest batch is kept for /health.

    `caught_up` is whether everything that was on the tape when the last batch began is taken.
    """

    def __init__(self) -> None:
        self.batch = -1
        self.rows = 0
        self.seconds = 0.0
        self.behind = 0
        self.caught_up = False

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802  # Spark's name
        """Do nothing: the engine says that it runs."""

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802, ARG002  # Spark's name and argument
        """Take note that nothing waits."""
        self.behind, self.caught_up = 0, True
        telemetry.stream_behind.set(0)

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802  # Spark's name
        """Do nothing: whoever waits for the query is told."""

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802  # Spark's name
        """Take note of a micro-batch."""
        progress = event.progress
        self.batch, self.rows = progress.batchId, progress.numInputRows
        self.seconds = progress.durationMs.get("triggerExecution", 0) / 1000
        self.behind = sum(behind(source.endOffset, source.latestOffset) for source in progress.sources)
        self.caught_up = not self.behind
        telemetry.stream_behind.set(self.behind)
        telemetry.stream_rows_per_second.set(progress.processedRowsPerSecond or 0)
        if self.rows:
            telemetry.stream_batch_seconds.observe(self.seconds)


def behind(reached: str | None, latest: str | None) -> int:
    """Return how many records lie between two offsets of Kafka as Spark writes them, JSON by topic and partition."""
    taken = _offsets(reached)
    return sum(max(offset - taken.get(place, 0), 0) for place, offset in _offsets(latest).items())


def _offsets(text: str | None) -> dict[tuple[str, str], int]:
    told: Any = json.loads(text) if text else None
    if not isinstance(told, dict):
        return {}
    return {(topic, part): int(offset) for topic, parts in told.items() for part, offset in parts.items()}
