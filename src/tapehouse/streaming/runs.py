"""Runs: trades of one symbol with consecutive ids, reduced where they are read: only candles are handed over."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import msgspec
import polars as pl

from tapehouse.market.candles import Candle, as_candles, reduce_frame, to_candles
from tapehouse.market.events import Trade
from tapehouse.streaming.columns import minute_of
from tapehouse.streaming.fold import Fold
from tapehouse.streaming.folded import Folded
from tapehouse.streaming.view import to_trades


class Run(msgspec.Struct, frozen=True):
    """Single trades with the ids first_trade_id..last.last_trade_id, each once: a candle for each minute they lie in.

    `first_traded_at` is the trade time (microseconds UTC) of the first of them; they were received between
    `received_from` and `received_to`.
    """

    first_trade_id: int
    first_traded_at: int
    last: Trade
    received_from: int
    received_to: int
    candles: list[tuple[int, Candle]]

    @property
    def symbol(self) -> str:
        """Whose trades they are."""
        return self.last.symbol


def runs_of(trades: pl.DataFrame) -> list[Run]:
    """Return a run for each symbol whose trades (columns.TRADE_COLUMNS) are one, in whatever order they stand."""
    trade_id = pl.col("first_trade_id")
    found = (
        trades.group_by("symbol")
        .agg(
            trade_id.min().alias("first"),
            pl.col("traded_at").min_by("first_trade_id").alias("first_traded_at"),
            pl.col("received_at").min().alias("received_from"),
            pl.col("received_at").max().alias("received_to"),
            whole=(trade_id.max() - trade_id.min() + 1 == pl.len()) & (trade_id.n_unique() == pl.len()),
        )
        .filter("whole")
        .drop("whole")
    )
    chosen = trades.filter(pl.col("symbol").is_in(found["symbol"].implode()))
    candles = _candles(chosen)
    last = {trade.symbol: trade for trade in _last_trades(chosen)}
    return [
        Run(first, first_traded_at, last[symbol], received_from, received_to, candles[symbol])
        for symbol, first, first_traded_at, received_from, received_to in found.iter_rows()
    ]


def take_run(fold: Fold, run: Run, folded: Folded) -> bool:
    """Take a run whole; False, and nothing taken, when it is not wholly new and plausible: then its rows decide.

    The symbol must be one that is followed.
    """
    symbol, last_id = run.symbol, run.last.last_trade_id
    if not fold.hold_run(symbol, run.first_trade_id, last_id, partial(_edges, run), folded):
        return False
    for opened, candle in run.candles:
        fold.add(symbol, opened, candle)
    fold.note(run.last)
    return True


def _candles(trades: pl.DataFrame) -> dict[str, list[tuple[int, Candle]]]:
    timed = trades.lazy().select(
        "symbol", "first_trade_id", "last_trade_id", "price", "quantity", "taker_side", minute=minute_of()
    )
    reduced = reduce_frame(as_candles(timed), ["symbol", "minute"]).collect()
    found: dict[str, list[tuple[int, Candle]]] = defaultdict(list)
    for (symbol, minute), candle in zip(
        reduced.select("symbol", "minute").iter_rows(), to_candles(reduced), strict=True
    ):
        found[symbol].append((minute, candle))
    return found


def _last_trades(trades: pl.DataFrame) -> Sequence[Trade]:
    newest = trades.group_by("symbol").agg(pl.all().exclude("symbol", "payload").max_by("last_trade_id"))
    return to_trades(newest)


def _edges(run: Run) -> dict[int, int]:
    return {run.first_trade_id: run.first_traded_at, run.last.last_trade_id: run.last.traded_at}
