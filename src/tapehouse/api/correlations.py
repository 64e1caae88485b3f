"""How much symbols move alike: Pearson's correlation of the log returns that two of them share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tapehouse.api.frames import candle_frame
from tapehouse.api.periods import FEWEST_RETURNS, Period, Present, over_and_open, span
from tapehouse.api.recent_windows import RecentWindows
from tapehouse.market.ledger import CandleRow

MOST_CORRELATED = 20
"""Symbols in one answer at most."""


@dataclass(frozen=True)
class Likeness:
    """How two symbols move: null where they share too few returns, or one of them did not move."""

    correlation: float | None
    beta: float | None
    returns: int


def log_returns(series: Mapping[str, Sequence[CandleRow]], length: int) -> pl.DataFrame:
    """Return the log return of each window, a column a symbol; null where the window before is not held.

    The windows are over; `length` is that of one in microseconds.
    """
    returns = pl.DataFrame(schema={"opened_at": pl.Int64()})
    follows = pl.col("opened_at").diff() == length
    for symbol, rows in series.items():
        own = candle_frame(rows).select("opened_at", pl.when(follows).then(pl.col("close").log().diff()).alias(symbol))
        returns = returns.join(own, on="opened_at", how="full", coalesce=True)
    return returns


def likenesses(returns: pl.DataFrame, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Likeness]:
    """Return how each pair moves, over the windows of which both have a return; beta is that of the first."""
    wanted = []
    for place, (one, other) in enumerate(pairs):
        shared = pl.col(one).is_not_null() & pl.col(other).is_not_null()
        ours, theirs = pl.col(one).filter(shared), pl.col(other).filter(shared)
        wanted += [
            shared.sum().alias(f"{place} returns"),
            pl.corr(ours, theirs).alias(f"{place} correlation"),
            (pl.cov(ours, theirs) / theirs.var()).alias(f"{place} beta"),
        ]
    found = returns.select(wanted).row(0, named=True) if wanted else {}
    return {
        pair: _likeness(*(found[f"{place} {name}"] for name in ("correlation", "beta", "returns")))
        for place, pair in enumerate(pairs)
    }


def _likeness(correlation: float | None, beta: float | None, returns: int) -> Likeness:
    told = correlation is not None and correlation == correlation and returns >= FEWEST_RETURNS  # noqa: PLR0124  # NaN
    return Likeness(correlation, beta, returns) if told else Likeness(None, None, returns)


class Correlations:
    """Answers of /correlations, read on a thread."""

    def __init__(self, windows: RecentWindows) -> None:
        self._windows = windows

    def of(self, symbols: Sequence[str], period: Period, presents: Mapping[str, Present]) -> dict[str, object]:
        """Return the matrix of the symbols in their order, and how many returns each pair shares."""
        series = {symbol: period.of(self._windows.last(symbol, period.interval, period.count)) for symbol in symbols}
        pairs = [(one, other) for place, one in enumerate(symbols) for other in symbols[place:]]
        over = {symbol: over_and_open(rows)[0] for symbol, rows in series.items()}
        found = likenesses(log_returns(over, period.length), pairs)
        found |= {(other, one): likeness for (one, other), likeness in found.items()}
        return {
            "interval": period.interval,
            "limit": period.count,
            "symbols": list(symbols),
            "correlations": [[found[one, other].correlation for other in symbols] for one in symbols],
            "returns": [[found[one, other].returns for other in symbols] for one in symbols],
            "spans": {symbol: span(period, rows, presents[symbol]) for symbol, rows in series.items()},
        }
