import pytest

from tapehouse.catalog import CONTEXT_TABLES
from tapehouse.lake.delta import DeltaLake
from tapehouse.market.context import Observation, Version
from tapehouse.streaming.context_view import CHANGES_KEPT, MOST, SPARE, ContextView
from tapehouse.streaming.rows import bronze_context

NOW = 1_772_704_800_000_000  # 2026-03-05 10:00


def told(kind: str, key: str, *, source: str = "any", at: int = NOW, known_at: int = NOW, **fields) -> Version:
    return Version(Observation(kind, source, key, at, NOW, fields), known_at, b"{}")


@pytest.fixture
def lake(tmp_path) -> DeltaLake:
    """A lake that holds a coin, a moment of its past, two days of the index and a story."""
    lake = DeltaLake(str(tmp_path))
    lake.create()
    past = told("market_data", "bitcoin/2026-03-01", source="coingecko_history")
    versions = [told("market_data", "bitcoin"), past, told("sentiment", "2026-03-04"), told("sentiment", "2026-03-05")]
    versions.append(told("news", "a", title="First words"))
    for kind, table in CONTEXT_TABLES.items():
        rows = bronze_context(table, [version for version in versions if version.observation.kind == kind])
        lake.append(table, rows, writer="test", batch=0)
    return lake


def test_what_the_lake_holds_is_there_again_after_a_start_but_for_the_past(lake):
    context = ContextView()
    context.recall(lake)
    keys = {kind: [version.observation.key for version in context.newest(kind)] for kind in CONTEXT_TABLES}
    assert keys == {"market_data": ["bitcoin"], "sentiment": ["2026-03-04", "2026-03-05"], "news": ["a"], "symbols": []}


def test_what_was_told_since_is_not_overridden_by_what_is_recalled(lake):
    context = ContextView()
    context.publish([told("news", "a", known_at=NOW + 1, title="Second words")])
    context.recall(lake)
    assert [version.observation.fields for version in context.newest("news")] == [{"title": "Second words"}]


def test_the_bytes_are_not_remembered():
    context = ContextView()
    context.publish([told("news", "a")])
    assert [version.payload for version in context.newest("news")] == [b""]


def test_the_memory_keeps_the_newest_when_there_are_more_than_it_holds():
    context = ContextView()
    count = int(MOST["news"] * SPARE) + 1
    context.publish([told("news", str(number), at=NOW + number) for number in reversed(range(count))])
    kept = [version.observation.key for version in context.newest("news")]
    assert kept == [str(number) for number in range(count - MOST["news"], count)]


def test_a_reader_that_lags_is_told_how_much_it_missed():
    context = ContextView()
    context.publish([told("news", str(number)) for number in range(CHANGES_KEPT + 5)])
    changes, last, lost = context.since(0)
    assert (len(changes), last, lost) == (CHANGES_KEPT, CHANGES_KEPT + 5, 5)
    assert context.since(last) == ([], last, 0)
