"""What the generator's trades are cut from: cells of eight trades, drawn once from the seed and used again and again.

A cell is divided into taker orders; an order takes one moment and sweeps several prices, and its fills at one price
are one aggregate. Every cell holds the same number of aggregates, so that their ids follow from the trades'.
"""

import polars as pl

from tapehouse.exchange.draws import draw, fraction

CELL = 8
AGGREGATES_PER_CELL = 5
CELLS = 8192
"""How many cells there are; each minute of a symbol begins at another one of them."""

_ORDERS = (
    ((1,), (1,), (2, 1), (3,)),
    ((4,), (1,), (1,), (1,), (1,)),
    ((1, 1, 1), (2,), (3,)),
    ((1,), (1,), (1,), (1,), (4,)),
    ((2,), (2,), (1, 2), (1,)),
    ((1, 3), (1,), (2,), (1,)),
    ((1,), (2,), (1,), (2, 2)),
    ((1, 1, 2, 1), (3,)),
)
"""Ways to fill a cell: taker orders, each a run of fills at one price after the other."""
_WIDTHS = pl.Series([2**power for power in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 7, 9, 8, 6)], dtype=pl.UInt64)
"""Quantities are drawn from ranges of many widths: many are small and few large."""
_MOMENTS = 1024


def draw_cells(seed: int) -> pl.DataFrame:
    """Return the slots of all cells, eight rows a cell.

    `begins` is the slot in which its order begins, `rank` that of its aggregate in the cell, `sells` the side of the
    taker, `ticks` how far its price is from the middle, `moment` a part of the time between two trades (the same
    within an order), `steps` a quantity.
    """
    slots = pl.DataFrame({"slot": pl.int_range(CELLS * CELL, eager=True)})
    cell, chance = pl.col("slot") // CELL, draw(pl.col("slot"), seed, 7)
    layout = (draw(cell, seed, 6) % len(_ORDERS)).cast(pl.Int64) * CELL + pl.col("slot") % CELL
    laid = slots.with_columns(
        pl.lit(_laid_out(name)).gather(layout).alias(name) for name in ("begins", "level", "rank")
    )
    order = draw(cell * CELL + pl.col("begins"), seed, 8)
    sells, middle = order % 2 == 0, (order // 2 % 5).cast(pl.Int64) - 2
    return laid.select(
        "begins",
        "rank",
        sells=sells,
        # A buyer lifts the offers upwards, a seller hits the bids downwards.
        ticks=pl.when(sells).then(middle - 1 - pl.col("level")).otherwise(middle + pl.col("level")),
        moment=(fraction(order) * _MOMENTS).floor() / _MOMENTS,
        steps=((chance // 16) % pl.lit(_WIDTHS).gather(chance % 16) + 1).cast(pl.Int64),
    )


def _laid_out(name: str) -> pl.Series:
    values: list[int] = []
    for orders in _ORDERS:
        begins = rank = 0
        for order in orders:
            for level, fills in enumerate(order):
                values += [{"begins": begins, "level": level, "rank": rank + level}[name]] * fills
            begins, rank = begins + sum(order), rank + len(order)
    return pl.Series(values, dtype=pl.Int64)
