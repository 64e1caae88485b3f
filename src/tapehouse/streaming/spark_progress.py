"""What Spark tells of each micro-batch, as metrics."""

import json
import math
from typing import Any

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from tapehouse import telemetry

NOT_TOLD = "None"


class Progress(StreamingQueryListener):
    """Spark calls these from a thread of its own; the newest batch is kept for /health.

    `caught_up` is whether everything that was on the tape when the last batch began is taken. `behind` is how many
    records waited then, None before it is known.
    """

    def __init__(self) -> None:
        self.batch = -1
        self.rows = 0
        self.seconds = 0.0
        self.behind: int | None = None
        self.caught_up = False
        telemetry.stream_behind.set(math.nan)

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
        self._look_ahead([behind(source.endOffset, source.latestOffset) for source in progress.sources])
        telemetry.stream_rows_per_second.set(progress.processedRowsPerSecond or 0)
        if self.rows:
            telemetry.stream_batch_seconds.observe(self.seconds)

    def _look_ahead(self, waiting: list[int | None]) -> None:
        known = [records for records in waiting if records is not None]
        if len(known) < len(waiting):  # a batch that is done again: how much lies behind it, nobody has looked
            self.caught_up = False
            return
        self.behind = sum(known)
        self.caught_up = not self.behind
        telemetry.stream_behind.set(self.behind)


def behind(reached: str | None, latest: str | None) -> int | None:
    """Return how many records lie between two offsets of Kafka as Spark writes them, JSON by topic and partition.

    None is returned where the latest is not told, which PySpark writes as the text None.
    """
    if latest in (None, "", NOT_TOLD):
        return None
    taken = _offsets(reached)
    return sum(max(offset - taken.get(place, 0), 0) for place, offset in _offsets(latest).items())


def _offsets(text: str | None) -> dict[tuple[str, str], int]:
    told: Any = json.loads(text) if text and text != NOT_TOLD else None
    if not isinstance(told, dict):
        return {}
    return {(topic, part): int(offset) for topic, parts in told.items() for part, offset in parts.items()}
