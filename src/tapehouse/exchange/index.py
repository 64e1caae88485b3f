"""The generator's index: one small row a minute and symbol, from which every trade of the minute follows."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from tapehouse.exchange.cells import AGGREGATES_PER_CELL, CELL, CELLS
from tapehouse.exchange.draws import draw, fraction
from tapehouse.exchange.listing import Listing
from tapehouse.exchange.surges import Surges
from tapehouse.market.windows import MINUTE

_AHEAD = 360
"""Minutes made ahead of what is asked."""
_BURST_LENGTH = 0.02
"""The part of a minute a burst takes."""
_BURST_SPREAD = 0.3
"""A burst has between 0.2 and this much more of its minute's trades."""
_SWINGS = ((720, 0.02), (60, 0.006), (10, 0.002), (1, 0.0004))
"""What moves the price: noise of so many minutes' length, and its part of the price."""
_ALWAYS_TRADING = 2
"""The largest symbols have no quiet minutes."""


class MinuteIndex:
    """Rows of the minutes from `origin` on, made as they are asked for; not safe to ask from several threads."""

    def __init__(
        self,
        seed: int,
        listed: Sequence[Listing],
        trading: Sequence[bool],
        *,
        rate: float,
        quiet: float,
        bursts: float,
        surges: int,
        origin: int,
        cells: pl.DataFrame,
    ) -> None:
        self._seed = seed
        self._size = len(listed)
        self._origin = origin
        self._bursts = bursts
        self._surges = Surges(seed, surges)
        self._ranks = pl.lit(cells["rank"])
        self._symbols = _symbol_rows(listed, trading, rate, quiet)
        self._next = pl.DataFrame(
            {
                "code": self._symbols["code"],
                "next_trade_id": [1_000_000 * listing.fame + 7 for listing in listed],
                "next_aggregate_id": [500_000 * listing.fame + 3 for listing in listed],
            }
        )
        self._minutes = 0
        self._rows = self._made(0)
        self._extend(_AHEAD)

    def all_of(self, minute: int) -> pl.DataFrame:
        """Return the rows of a minute, one a symbol."""
        self._reach(minute)
        return self._rows.slice(minute * self._size, self._size)

    def minute(self, code: int, minute: int) -> dict[str, Any]:
        """Return the row of a symbol's minute."""
        self._reach(minute)
        return self._rows.row(minute * self._size + code, named=True)

    def reach_aggregate(self, code: int, aggregate_id: int) -> dict[str, Any] | None:
        """Return the minute that holds an aggregate, or the first; None for a symbol that never trades."""
        if self._never_trades(code):
            return None
        while self._next["next_aggregate_id"].item(code) <= aggregate_id:
            self._extend(_AHEAD)
        firsts = self._rows["first_aggregate_id"].gather_every(self._size, code)
        minute = max(int(firsts.search_sorted(aggregate_id, "right")) - 1, 0)
        return self.minute(code, minute)

    def places(self, code: int, first: int, last: int) -> pl.DataFrame:
        """Return, for each id of first..last, the row of its minute and its `place` there."""
        if self._never_trades(code):
            return self._rows.clear().with_columns(place=pl.lit(0, pl.Int64))
        while self._next["next_trade_id"].item(code) <= last:
            self._extend(_AHEAD)
        firsts = self._rows["first_trade_id"].gather_every(self._size, code)
        ids = pl.int_range(first, last + 1, eager=True)
        # A minute without trades has the first id of the next one; the last that has it holds the trade.
        minutes = firsts.search_sorted(ids, "right").cast(pl.Int64) - 1
        rows = self._rows[minutes * self._size + code]
        return rows.with_columns(place=ids - rows["first_trade_id"])

    def _never_trades(self, code: int) -> bool:
        return bool(self._symbols["a_minute"].item(code) == 0)

    def _reach(self, minute: int) -> None:
        if minute >= self._minutes:
            self._extend(minute + 1 - self._minutes + _AHEAD)

    def _extend(self, count: int) -> None:
        made = self._made(count)
        last = made.tail(self._size)
        self._next = last.select(
            "code",
            next_trade_id=pl.col("first_trade_id") + pl.col("trades"),
            next_aggregate_id=pl.col("first_aggregate_id") + pl.col("aggregates"),
        )
        self._rows = pl.concat([self._rows, made])
        self._minutes += count

    def _made(self, count: int) -> pl.DataFrame:
        """Return the rows of the next minutes, minute after minute."""
        minutes = pl.int_range(self._minutes, self._minutes + count, eager=True) + self._origin // MINUTE
        drawn = pl.DataFrame({"minute": minutes}).join(self._symbols, how="cross").with_columns(self._drawn())
        counted = drawn.with_columns(self._aggregates()).join(self._next, on="code", maintain_order="left")
        running = [pl.col(name).cum_sum().over("code") - pl.col(name) for name in ("trades", "aggregates")]
        trades = pl.col("trades").cast(pl.Float64).clip(1.0)
        pace, burst_pace = (1 - _BURST_LENGTH) / (1 - pl.col("burst")), _BURST_LENGTH / pl.col("burst")
        return counted.select(
            "code", "trades", "aggregates", "cell", "ticks", "tick", "lot", "side",
            opened=pl.col("minute") * MINUTE,
            first_trade_id=pl.col("next_trade_id") + running[0],
            first_aggregate_id=pl.col("next_aggregate_id") + running[1],
            drift=(pl.col("next_ticks") - pl.col("ticks")) / trades,
            gap=pace * MINUTE / trades,
            burst_from=pl.col("burst_at") * trades,
            burst_trades=pl.col("burst") * trades,
            burst_gain=(pace - burst_pace) * MINUTE / trades,
        )  # fmt: skip

    def _drawn(self) -> list[pl.Expr]:
        # Drawn by the time itself: a history that began earlier has the same shape.
        key = pl.col("minute") * 4096 + pl.col("code").cast(pl.Int64)
        chance = [fraction(draw(key, self._seed, kind)) for kind in range(5)]
        minute = pl.col("minute")
        usual = pl.col("a_minute") * (0.5 + chance[3])
        trades = (usual * self._surges.times(minute) + chance[4]).floor().cast(pl.Int64)
        return [
            (0.1 + 0.4 * chance[0]).alias("burst_at"),
            pl.when(chance[1] < self._bursts)
            .then(0.2 + chance[1] * (_BURST_SPREAD / self._bursts if self._bursts else 0.0))
            .otherwise(_BURST_LENGTH)
            .alias("burst"),
            pl.when((chance[2] < pl.col("quiet")) | (pl.col("a_minute") == 0))
            .then(0)
            .otherwise(trades)
            .alias("trades"),
            (draw(key, self._seed, 5) % CELLS).cast(pl.Int64).alias("cell"),
            self._surges.side(minute).alias("side"),
            self._price(minute).alias("ticks"),
            self._price(minute + 1).alias("next_ticks"),
        ]

    def _price(self, minute: pl.Expr) -> pl.Expr:
        """Return the price, in ticks, at the start of a minute."""
        swing = self._surges.moved(minute)
        for length, amplitude in _SWINGS:
            part = (minute % length) / length
            keys = [(minute // length + side) * 4096 + pl.col("code").cast(pl.Int64) for side in (0, 1)]
            ends = [fraction(draw(key, self._seed, 100 + length)) for key in keys]
            swing = swing + amplitude * (2 * (ends[0] + (ends[1] - ends[0]) * part) - 1)
        return (pl.col("base_ticks") * (1 + swing)).round().cast(pl.Int64)

    def _aggregates(self) -> pl.Expr:
        """Return how many aggregates the trades make: whole cells, and what has begun of the last one."""
        whole, rest = pl.col("trades") // CELL, pl.col("trades") % CELL
        slot = (pl.col("cell") + whole) % CELLS * CELL + (rest - 1).clip(0)
        begun = pl.when(rest > 0).then(self._ranks.gather(slot) + 1).otherwise(0)
        return (whole * AGGREGATES_PER_CELL + begun).alias("aggregates")


def _symbol_rows(listed: Sequence[Listing], trading: Sequence[bool], rate: float, quiet: float) -> pl.DataFrame:
    """Return one row a symbol; the first trade most, and those on a break not at all."""
    weights = [1 / (place + 1) if trades else 0.0 for place, trades in enumerate(trading)]
    whole = sum(weights) or 1.0
    return pl.DataFrame(
        {
            "code": pl.Series(range(len(listed)), dtype=pl.UInt32),
            "tick": [listing.tick for listing in listed],
            "lot": [listing.lot * listing.step for listing in listed],
            "base_ticks": [listing.price // listing.tick for listing in listed],
            "a_minute": [rate * 60 * weight / whole for weight in weights],
            "quiet": [0.0 if place < _ALWAYS_TRADING else quiet for place in range(len(listed))],
        }
    )
