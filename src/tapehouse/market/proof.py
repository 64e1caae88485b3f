"""What may be said of a window that is over, and on what evidence (law 6).

A window is closed when its first and last trade ids are proved and every id between them is held. An end of a window
is proved by the neighbouring id, held and in another window, or by the exchange's own closed kline: by the ids it
tells, or, where it tells none, by its count and every other column.
"""

from typing import Literal

import msgspec

from tapehouse.market.candles import COLUMNS, Candle
from tapehouse.market.coverage import Ranges
from tapehouse.market.events import Kline

State = Literal["open", "closed", "final", "gap", "quiet"]
CLOSED: State = "closed"
GAP: State = "gap"
QUIET: State = "quiet"
OPEN: State = "open"
PROVED = frozenset({CLOSED, QUIET})
"""The states of a window that is known whole, as far as they are written."""


class Neighbour(msgspec.Struct, frozen=True):
    """The nearest window with held trades on one side, and its kline if the exchange told it."""

    candle: Candle
    kline: Kline | None

    @property
    def first_trade_id(self) -> int:
        """The first id known to belong to that window."""
        told = _ids(self.kline)
        return min(self.candle.first_trade_id, told.first_trade_id) if told else self.candle.first_trade_id

    @property
    def last_trade_id(self) -> int:
        """The last id known to belong to that window."""
        told = _ids(self.kline)
        return max(self.candle.last_trade_id, told.last_trade_id) if told else self.candle.last_trade_id

    @property
    def close(self) -> int:
        """The price of the last trade known to belong to that window."""
        told = _ids(self.kline)
        return told.close if told and told.last_trade_id > self.candle.last_trade_id else self.candle.close


def judge_held(
    candle: Candle, kline: Kline | None, held: Ranges, before: Neighbour | None, after: Neighbour | None
) -> State:
    """Return the state of a window that is over and of which trades are held."""
    if _counted(candle, kline) and held.covers(candle.first_trade_id, candle.last_trade_id):
        return CLOSED
    first = _proved_first(candle, kline, held, before)
    last = _proved_last(candle, kline, held, after)
    if first is None or not held.covers(first, candle.last_trade_id):
        return GAP
    if last is None:
        return OPEN if after is None else GAP
    return CLOSED if held.covers(first, last) else GAP


def judge_empty(kline: Kline | None, before: Neighbour, after: Neighbour | None) -> State:
    """Return the state of a window that is over and of which no trade is held."""
    if kline is not None:
        return QUIET if kline.candle is None else GAP
    if after is None:
        return OPEN
    return QUIET if _adjacent(before, after) else GAP


def quiet_price(kline: Kline | None, before: Neighbour, after: Neighbour | None) -> int:
    """Return the price of a quiet window: the close before it, which only the kline knows while trades are missing."""
    return before.close if kline is None or _adjacent(before, after) else kline.close


def differences(candle: Candle | None, flat: int | None, kline: Kline) -> list[tuple[str, int | None, int | None]]:
    """Compare a candle with the exchange's own kline; return (column, ours, theirs) of each that differs.

    A quiet window (`candle` None) is compared by its flat price and by having no trades.
    """
    if candle is None or kline.candle is None:
        ours = (0 if candle is None else candle.trades, flat if candle is None else candle.close)
        theirs = (0 if kline.candle is None else kline.candle.trades, kline.close)
        pairs = zip(("trades", "close"), ours, theirs, strict=True)
        return [(column, mine, told) for column, mine, told in pairs if mine != told]
    compared = COLUMNS if kline.has_ids else COLUMNS[:-2]
    return [
        (column, getattr(candle, column), getattr(kline.candle, column))
        for column in compared
        if getattr(candle, column) != getattr(kline.candle, column)
    ]


def _adjacent(before: Neighbour, after: Neighbour | None) -> bool:
    return after is not None and before.last_trade_id + 1 == after.first_trade_id


def _ids(kline: Kline | None) -> Candle | None:
    """Return the kline's candle where its ids can serve as evidence: told, and consistent with its own count."""
    told = kline.candle if kline is not None and kline.has_ids else None
    if told is None or told.trades != told.last_trade_id - told.first_trade_id + 1:
        return None
    return told


def _counted(candle: Candle, kline: Kline | None) -> bool:
    """Tell whether a kline without ids counts as many trades as are held, with the same prices and sums."""
    return kline is not None and not kline.has_ids and not differences(candle, None, kline)


def _proved_first(candle: Candle, kline: Kline | None, held: Ranges, before: Neighbour | None) -> int | None:
    first = candle.first_trade_id
    if first == 0 or first - 1 in held or (before is not None and before.last_trade_id == first - 1):
        return first
    told = _ids(kline)
    return told.first_trade_id if told is not None and told.first_trade_id <= first else None


def _proved_last(candle: Candle, kline: Kline | None, held: Ranges, after: Neighbour | None) -> int | None:
    last = candle.last_trade_id
    if last + 1 in held or (after is not None and after.first_trade_id == last + 1):
        return last
    told = _ids(kline)
    return told.last_trade_id if told is not None and told.last_trade_id >= last else None
