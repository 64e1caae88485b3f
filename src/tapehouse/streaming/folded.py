"""What the fold gives: trades, klines, versions that were not there before, and what is refused."""

from collections import defaultdict

import msgspec
import polars as pl

from tapehouse.market.context import Version
from tapehouse.market.coverage import Ranges
from tapehouse.market.events import Kline, Rejected, Trade


class Folded(msgspec.Struct):
    """What a read of the tape brought that was not there before."""

    singles: list[tuple[Trade, bytes]] = msgspec.field(default_factory=list)
    frames: list[pl.DataFrame] = msgspec.field(default_factory=list)
    klines: list[tuple[Kline, bytes]] = msgspec.field(default_factory=list)
    other: list[tuple[str, bytes, int]] = msgspec.field(default_factory=list)
    rejected: list[Rejected] = msgspec.field(default_factory=list)
    versions: list[Version] = msgspec.field(default_factory=list)
    held: dict[str, Ranges] = msgspec.field(default_factory=lambda: defaultdict(Ranges))
    times: dict[tuple[str, int], int] = msgspec.field(default_factory=dict)
    """Trade times by (symbol, id) at the edges of what was taken: what a hole lies between."""

    def received_to(self) -> int:
        """Return when the newest message came (microseconds), 0 when there is none."""
        singles = (trade.received_at for trade, _ in self.singles)
        columns = (int(frame.select(pl.max("received_at")).item() or 0) for frame in self.frames)
        return max([0, *singles, *columns])

    def symbols(self) -> set[str]:
        """Return the symbols of which something is new."""
        return set(self.held) | {kline.symbol for kline, _ in self.klines}

    def quantity(self, symbol: str, first: int, last: int) -> int:
        """Return the summed quantity (units) of the trades of a symbol with ids in first..last."""
        chosen = (pl.col("symbol") == symbol) & pl.col("first_trade_id").is_between(first, last)
        return sum(
            trade.quantity
            for trade, _ in self.singles
            if trade.symbol == symbol and first <= trade.first_trade_id <= last
        ) + sum(int(frame.filter(chosen)["quantity"].to_physical().sum()) for frame in self.frames)

    def traded(self) -> list[tuple[str, int, int]]:
        """Return the symbol and the time of what was taken, and how many trades it is: an aggregate is several."""
        rows = [(*row, 1) for frame in self.frames for row in frame.select("symbol", "traded_at").iter_rows()]
        return rows + [
            (trade.symbol, trade.traded_at, trade.last_trade_id - trade.first_trade_id + 1) for trade, _ in self.singles
        ]
