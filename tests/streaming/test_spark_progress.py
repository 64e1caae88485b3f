"""How far the stream has come, by what Spark tells of its micro-batches."""

import math
from types import SimpleNamespace

from prometheus_client import REGISTRY

from tapehouse.streaming.spark_progress import Progress

REACHED = '{"crypto-prices": {"0": 40, "1": 7}}'
LATEST = '{"crypto-prices": {"0": 42, "1": 7}}'


def event(latest: str, batch: int = 3, rows: int = 5) -> SimpleNamespace:
    source = SimpleNamespace(endOffset=REACHED, latestOffset=latest)
    return SimpleNamespace(
        progress=SimpleNamespace(
            batchId=batch,
            numInputRows=rows,
            durationMs={"triggerExecution": 2_000},
            processedRowsPerSecond=2.5,
            sources=[source],
        )
    )


def test_before_spark_has_told_anything_it_is_not_known_what_waits():
    progress = Progress()
    assert (progress.behind, progress.caught_up) == (None, False)
    assert math.isnan(REGISTRY.get_sample_value("tapehouse_stream_behind"))


def test_what_waits_is_counted_over_all_partitions():
    progress = Progress()
    progress.onQueryProgress(event(LATEST))
    assert (progress.batch, progress.rows, progress.behind, progress.caught_up) == (3, 5, 2, False)


def test_a_batch_done_again_after_a_start_tells_no_latest_offset_and_is_not_taken_for_the_end_of_the_tape():
    progress = Progress()
    progress.onQueryProgress(event("None"))
    assert (progress.batch, progress.rows, progress.behind, progress.caught_up) == (3, 5, None, False)
    progress.onQueryProgress(event(REACHED, batch=4))
    assert (progress.behind, progress.caught_up) == (0, True)
