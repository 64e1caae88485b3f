"""Surges of the generated market: now and then a minute trades many times as much, from one side, and the price jumps.

Each symbol has one minute of the kind in every stretch of so many minutes. All is drawn by the time itself, so that any
minute can be told alone.
"""

from dataclasses import dataclass

import polars as pl

from tapehouse.exchange.draws import draw, fraction

RECOVERY = 30
"""Minutes in which the price comes back, ever more slowly."""
_TIMES = (8.0, 20.0)
_JUMP = (0.006, 0.009)
"""Least and most of how many times as much is traded, and of the part of the price that it moves."""


@dataclass(frozen=True)
class Surges:
    """One in every `every` minutes of a symbol; 0 makes none. Columns needed: `minute` and `code`."""

    seed: int
    every: int = 0

    def times(self, minute: pl.Expr) -> pl.Expr:
        """Return how many times the usual number of trades a minute has."""
        return pl.when(self._since(minute) == 0).then(self._drawn(minute, 201, _TIMES)).otherwise(1.0)

    def side(self, minute: pl.Expr) -> pl.Expr:
        """Return who trades more than the others in a minute: 1 buyers, -1 sellers, 0 neither."""
        return pl.when(self._since(minute) == 0).then(self._direction(minute)).otherwise(0)

    def moved(self, minute: pl.Expr) -> pl.Expr:
        """Return which part of the price has come on top of it at the beginning of a minute."""
        since = self._since(minute)
        left = pl.when(since > 0).then((1 - (since - 1) / RECOVERY).clip(0.0) ** 2).otherwise(0.0)
        return self._direction(minute) * self._drawn(minute, 202, _JUMP) * left

    def _since(self, minute: pl.Expr) -> pl.Expr:
        """Return how many minutes ago the surge of a minute's stretch was; negative while it is to come."""
        if not self.every:
            return pl.lit(-1, pl.Int64)
        chosen = (draw(self._stretch(minute), self.seed, 200) % max(self.every - RECOVERY, 1)).cast(pl.Int64)
        return minute % self.every - chosen

    def _direction(self, minute: pl.Expr) -> pl.Expr:
        return 1 - 2 * (draw(self._stretch(minute), self.seed, 203) % 2).cast(pl.Int64)

    def _drawn(self, minute: pl.Expr, kind: int, bounds: tuple[float, float]) -> pl.Expr:
        least, most = bounds
        return least + (most - least) * fraction(draw(self._stretch(minute), self.seed, kind))

    def _stretch(self, minute: pl.Expr) -> pl.Expr:
        return minute // max(self.every, 1) * 4096 + pl.col("code").cast(pl.Int64)
