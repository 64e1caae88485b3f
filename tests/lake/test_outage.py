"""A lake that is known not to answer is not asked: whoever cannot wait is refused at once, whoever can waits."""

import pytest

from tapehouse.catalog import TRADES
from tapehouse.errors import LakeError
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.outage import Outage, SparedLake


@pytest.fixture
def lake(tmp_path):
    return DeltaLake(str(tmp_path), writer=None)


def test_who_cannot_wait_is_refused_in_the_words_of_whoever_looked(lake):
    outage = Outage()
    spared = SparedLake(lake, outage)
    assert spared.dates(TRADES) == []
    outage.began(LakeError("Cannot read s3://bucket: gone."))
    for read in (spared.dates, spared.scan):
        with pytest.raises(LakeError, match="gone"):
            read(TRADES)
    outage.ended()
    assert spared.scan(TRADES).collect().height == 0


def test_who_can_wait_reads_once_it_answers(lake):
    outage, moments = Outage(), iter(range(3))

    def pause() -> bool:
        if next(moments) == 2:
            outage.ended()
        return True

    outage.began(LakeError("gone"))
    assert SparedLake(lake, outage, pause).dates(TRADES) == []
    assert next(moments, None) is None


def test_who_waits_ends_when_told_to(lake):
    outage = Outage()
    outage.began(LakeError("gone"))
    with pytest.raises(LakeError, match="gone"):
        SparedLake(lake, outage, lambda: False).last_batch(TRADES, "stream")


def test_the_log_says_once_that_it_is_away_and_once_that_it_is_back(capsys):
    outage = Outage()
    for _ in range(3):
        outage.began(LakeError("gone"))
    outage.ended()
    outage.ended()
    said = capsys.readouterr()
    assert [(said.out + said.err).count(event) for event in ("lake_away", "lake_back")] == [1, 1]


def test_it_takes_no_rows(lake):
    with pytest.raises(LakeError, match="only reads"):
        SparedLake(lake, Outage()).append(TRADES, lake.scan(TRADES).collect(), writer="stream", batch=0)
