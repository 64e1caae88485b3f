"""Files that workers write belong to a table once its writer names them, and are removed when nobody does."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest

from tapehouse.catalog import STREAM, TABLES, TRADES
from tapehouse.errors import LakeError
from tapehouse.lake import versions
from tapehouse.lake.compaction import FAN_IN
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.loose_files import write_files
from tapehouse.lake.maintenance import Maintenance

NOW = datetime.now(UTC)
MIDNIGHT = datetime(2024, 8, 9, tzinfo=UTC)


@pytest.fixture
def lake(root) -> DeltaLake:
    """The lake of the process that commits what workers write."""
    lake = DeltaLake(root, writer=STREAM)
    lake.create()
    return lake


def loose(lake, rows):
    return write_files(lake.place, TABLES[TRADES], rows, "live")


def stored(lake):
    return lake.scan(TRADES).collect().sort("first_trade_id")


def test_files_and_rows_of_a_batch_are_there_together_and_once(lake, root, make_trades):
    files = loose(lake, make_trades(0, 10, start=MIDNIGHT - timedelta(milliseconds=5)))
    assert sorted((file.date, file.rows) for file in files) == [("2024-08-08", 5), ("2024-08-09", 5)]
    assert stored(lake).is_empty()
    rows = make_trades(10, 3)
    assert lake.append(TRADES, rows, writer=STREAM, batch=4, files=files) is True
    assert lake.append(TRADES, rows, writer=STREAM, batch=4, files=files) is False
    expected = make_trades(0, 10, start=MIDNIGHT - timedelta(milliseconds=5)).vstack(rows)
    assert stored(lake).equals(expected)
    assert stored(DeltaLake(root)).equals(expected)


def test_who_is_not_the_writer_may_name_no_file(lake, root, make_trades):
    files = loose(lake, make_trades(0, 3))
    with pytest.raises(LakeError, match="a table has one writer"):
        DeltaLake(root, writer="worker").append(TRADES, make_trades(0, 0), writer="worker", batch=0, files=files)
    assert stored(lake).is_empty()


def test_a_file_nobody_named_is_removed_in_time_and_no_other(lake, make_trades):
    named, forgotten, young = (loose(lake, make_trades(first, 3)) for first in (0, 10, 20))
    lake.append(TRADES, make_trades(0, 0), writer=STREAM, batch=0, files=named)
    for file in (*named, *forgotten):
        moment = (NOW - timedelta(days=lake.time_travel_days, hours=1)).timestamp()
        os.utime(_place(lake, file), (moment, moment))
    assert versions.vacuum(lake, TRADES, NOW) == 1
    assert [_place(lake, file).exists() for (file,) in (named, forgotten, young)] == [True, False, True]
    assert stored(lake).equals(make_trades(0, 3))


def test_the_streams_upkeep_keeps_the_trades_in_few_sorted_files(lake, make_trades):
    for batch in range(FAN_IN):
        files = loose(lake, make_trades(10 * batch, 10))
        lake.append(TRADES, make_trades(0, 0), writer=STREAM, batch=batch, files=files)
    before = stored(lake)
    assert Maintenance(lake).run_once(MIDNIGHT + timedelta(hours=1)).merges == 1
    assert len(lake.files(TRADES)) == 1
    assert lake.scan(TRADES).collect().equals(before)


def _place(lake, file) -> Path:
    return Path(lake.address(TRADES)) / unquote(file.path)
