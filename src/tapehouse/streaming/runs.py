"""Runs: trades of one symbol with consecutive ids, reduced by an engine that hands over candles instead of rows."""

from functools import partial

import msgspec

from tapehouse.market.candles import Candle
from tapehouse.market.events import Trade
from tapehouse.streaming.fold import Fold, Folded


class Run(msgspec.Struct, frozen=True):
    """Single trades with the ids first_trade_id..last.last_trade_id, each once: a candle for each minute they lie in.

    `first_traded_at` is the trade time (microseconds UTC) of the first of them.
    """

    first_trade_id: int
    first_traded_at: int
    last: Trade
    candles: list[tuple[int, Candle]]


def take_run(fold: Fold, run: Run, folded: Folded) -> bool:
    """Take a run whole; False, and nothing taken, when it is not wholly new and plausible: then its rows decide.

    The symbol must be one that is followed.
    """
    symbol, last_id = run.last.symbol, run.last.last_trade_id
    if not fold.hold_run(symbol, run.first_trade_id, last_id, partial(_edges, run), folded):
        return False
    for opened, candle in run.candles:
        fold.add(symbol, opened, candle)
    fold.note(run.last)
    return True


def _edges(run: Run) -> dict[int, int]:
    return {run.first_trade_id: run.first_traded_at, run.last.last_trade_id: run.last.traded_at}
