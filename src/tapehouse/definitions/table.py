"""What a table is: its columns' types, its row, its order and its one writer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

PRICE = pl.Decimal(38, 8)
"""Prices and base quantities: Binance gives eight decimals."""
NOTIONAL = pl.Decimal(38, 16)
"""Price times quantity: sixteen decimals hold every product exactly."""
AMOUNT = pl.Decimal(38, 18)
"""Amounts in US dollars, and of coins, as CoinGecko tells them."""
TIME = pl.Datetime("us", "UTC")

EMBEDDED, STREAM, WAREHOUSE = "embedded", "stream", "warehouse"
"""The writers: the platform in one process, `tapehouse stream` (the driver of Spark), and `tapehouse warehouse`."""

Profile = Literal["embedded", "cluster"]


@dataclass(frozen=True)
class Table:
    """A Delta table of the platform; `sort_by` is the order rows are compacted into.

    Law: one engine, delta-rs, commits to every table, in each profile from one process, and upkeep is that process's.
    In a bucket two engines that write one table lose each other's commits. `writer` is the process of both profiles
    where it is not the platform's own.
    """

    name: str
    row: str
    layer: Literal["bronze", "silver", "gold"]
    schema: Mapping[str, pl.DataType]
    sort_by: tuple[str, ...]
    partition_by: tuple[str, ...] = ("date",)
    writer: str | None = None

    @property
    def writers(self) -> Mapping[Profile, str]:
        """The one writer of each profile."""
        if self.writer is not None:
            return {"embedded": self.writer, "cluster": self.writer}
        return {"embedded": EMBEDDED, "cluster": STREAM}
