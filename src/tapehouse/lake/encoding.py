"""How columns are laid out in Parquet: small enough to keep everything, quick enough to commit four times a second.

The choices were measured on real BTCUSDT trades; docs/adr/0010 has the numbers.
"""

from typing import Literal

import polars as pl
from deltalake import ColumnProperties, WriterProperties

from tapehouse.catalog import Table

ROW_GROUP = 262_144
"""Rows of a row group: few enough to skip by statistics, enough to compress."""

ZSTD_LEVELS = {"live": 1, "merged": 1, "final": 9}
"""How hard payloads are compressed: by a commit, by a merge of the day being written, once and for all."""
Stage = Literal["live", "merged", "final"]
_PRUNING = ("symbol", "interval", "first_trade_id", "last_trade_id", "traded_at", "opened_at", "known_at")


def pruning_columns(table: Table) -> list[str]:
    """Return the columns whose minima and maxima are kept, because queries prune by them."""
    return [name for name in table.schema if name in _PRUNING]


def writer_properties(table: Table, stage: Stage) -> WriterProperties:
    """Return the Parquet layout of a table: quick for commits and merges of the day, small for finished days."""
    pruning = pruning_columns(table)
    return WriterProperties(
        compression="ZSTD",
        compression_level=ZSTD_LEVELS[stage],
        max_row_group_size=ROW_GROUP,
        data_page_row_count_limit=ROW_GROUP,
        column_properties={
            name: _column(kind, pruning=name in pruning)
            for name, kind in table.schema.items()
            if name not in table.partition_by
        },
    )


def _column(kind: pl.DataType, *, pruning: bool) -> ColumnProperties:
    statistics: Literal["CHUNK", "NONE"] = "CHUNK" if pruning else "NONE"
    if isinstance(kind, pl.String):
        return ColumnProperties(dictionary_enabled=True, statistics_enabled=statistics)
    delta = isinstance(kind, (pl.Int64, pl.Datetime))
    return ColumnProperties(
        dictionary_enabled=False,
        encoding="DELTA_BINARY_PACKED" if delta else "PLAIN",
        statistics_enabled=statistics,
    )
