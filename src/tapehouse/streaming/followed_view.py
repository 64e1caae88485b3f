"""The live view of a follower: what the lake has settled is told as it tells it, the rest as its next revision."""

from collections.abc import Iterable, Sequence

import msgspec

from tapehouse.market.ledger import CandleRow
from tapehouse.market.proof import OPEN
from tapehouse.streaming.view import Chunk, LiveView

NOT_STORED = 0
"""The `known_at` of a judgement that no table has yet."""


class FollowedView(LiveView):
    """A live view that numbers no revision by itself; one thread publishes and confirms."""

    def __init__(self) -> None:
        super().__init__()
        self._confirmed: dict[tuple[str, str], dict[int, CandleRow]] = {}

    def confirm(self, rows: Iterable[CandleRow]) -> list[CandleRow]:
        """Take revisions from the lake, in any order and again; return those that are the newest of their window."""
        newest: dict[tuple[str, str, int], CandleRow] = {}
        for row in rows:
            windows = self._confirmed.setdefault((row.symbol, row.interval), {})
            known = windows.get(row.opened_at)
            if known is None or row.revision > known.revision:
                windows[row.opened_at] = newest[row.symbol, row.interval, row.opened_at] = row
        for symbol, interval in {(symbol, interval) for symbol, interval, _ in newest}:
            self._forget_old(symbol, interval)
        return list(newest.values())

    def publish(self, chunks: Sequence[Chunk], candles: Sequence[CandleRow]) -> None:
        """Show what a fold accepted (in order) and the candles it settled, numbered as the lake will number them."""
        super().publish(chunks, [self._as_told(row) for row in candles])

    def recent_candles(self, symbol: str, interval: str) -> list[CandleRow]:
        """Return the last revisions in memory, oldest first, the open window last."""
        return [self._as_told(row) for row in super().recent_candles(symbol, interval)]

    def _as_told(self, row: CandleRow) -> CandleRow:
        """Return the lake's revision of a window unless ours is another and newer; then it is the lake's next."""
        known = self._confirmed.get((row.symbol, row.interval), {}).get(row.opened_at)
        if known is None:
            return row if row.state == OPEN else msgspec.structs.replace(row, revision=1, known_at=NOT_STORED)
        if row.state == OPEN or row.known_at <= known.known_at or _content(row) == _content(known):
            return known
        return msgspec.structs.replace(row, revision=known.revision + 1, known_at=NOT_STORED)

    def _forget_old(self, symbol: str, interval: str) -> None:
        """Forget what is older than anything the ledger still has: it will be judged no more."""
        ledger, windows = self._ledgers.get(symbol), self._confirmed[symbol, interval]
        oldest = (
            min((row.opened_at for row in ledger.rows(interval)), default=0) if ledger is not None else max(windows)
        )
        self._confirmed[symbol, interval] = {at: row for at, row in windows.items() if at >= oldest}


def _content(row: CandleRow) -> tuple[object, ...]:
    return row.candle, row.flat, row.state
