"""What the tables must say, computed apart: plain Python, Decimal, and nothing of the platform's own arithmetic."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
"""Every interval and its minutes."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIELDS = (
    "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume, "
    "first_trade_id, last_trade_id"
)


class Told(NamedTuple):
    """A trade as the exchange has it."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    taker_side: str
    traded_at: datetime


def told_by(tape: Any, symbol: str, first: int, last: int) -> list[Told]:
    """Return the exchange's own trades first..last."""
    rows = tape.trades(symbol, first, last)
    columns = ("first_trade_id", "last_trade_id", "price", "quantity", "buyer_is_maker", "traded_at")
    trades = []
    for trade_id, last_id, price, quantity, buyer_is_maker, traded_at in rows.select(columns).iter_rows():
        assert trade_id == last_id
        side = "sell" if buyer_is_maker else "buy"
        at = EPOCH + timedelta(milliseconds=traded_at // 1000)  # which is what it says on the wire
        trades.append(Told(trade_id, Decimal(price) / 10**8, Decimal(quantity) / 10**8, side, at))
    return trades


def opening(time: datetime, interval: str) -> datetime:
    """Return when the window that holds a time opened."""
    return time - (time - EPOCH) % timedelta(minutes=INTERVALS[interval])


def candle(trades: Sequence[Told]) -> tuple[Any, ...]:
    """Return the FIELDS of the candle of some trades, in order of their ids."""
    bought = [trade for trade in trades if trade.taker_side == "buy"]
    prices = [trade.price for trade in trades]
    return (
        *(prices[0], max(prices), min(prices), prices[-1]),
        sum(trade.quantity for trade in trades),
        sum(trade.price * trade.quantity for trade in trades),
        len(trades),
        sum((trade.quantity for trade in bought), Decimal(0)),
        sum((trade.price * trade.quantity for trade in bought), Decimal(0)),
        *(trades[0].trade_id, trades[-1].trade_id),
    )


def quiet(price: Decimal) -> tuple[Any, ...]:
    """Return the FIELDS of a window in which nothing traded."""
    return (price,) * 4 + (Decimal(0), Decimal(0), 0, Decimal(0), Decimal(0), None, None)


def candles(trades: Sequence[Told], interval: str, begun: datetime) -> Iterator[tuple[datetime, str, tuple[Any, ...]]]:
    """Yield (opening, state, FIELDS) of every window that is over before that of the last trade.

    Nothing is claimed of what was before `begun`: a window that opened earlier is a gap.
    """
    length = timedelta(minutes=INTERVALS[interval])
    windows: dict[datetime, list[Told]] = defaultdict(list)
    for trade in trades:
        windows[opening(trade.traded_at, interval)].append(trade)
    at = opening(trades[0].traded_at, interval)
    close = trades[0].price
    while at + length <= opening(trades[-1].traded_at, "1m"):
        inside = windows.get(at)
        if inside:
            close = inside[-1].price
            yield at, "gap" if at < begun else "closed", candle(inside)
        else:
            yield at, "quiet", quiet(close)
        at += length


def expanded(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Return every id of some ranges, in order, each as often as it is there."""
    return sorted(trade_id for first, last in ranges for trade_id in range(first, last + 1))


def held_by(rows: Iterable[tuple[int, int, str]]) -> set[int]:
    """Return the ids held after rows (first id, last id, status) in the order they became known."""
    held: set[int] = set()
    for first, last, status in rows:
        held = held | set(range(first, last + 1)) if status == "held" else held - set(range(first, last + 1))
    return held


class Audit:
    """Holds the tables of a lake against the exchange's own tape; each method fails with what differs."""

    def __init__(self, tables: Any, tape: Any) -> None:
        self._tables, self._tape = tables, tape

    def ids(self, symbol: str) -> tuple[int, int]:
        """Every id from the first to the last is in bronze, and once; return the first and the last."""
        found = expanded(self._tables.rows("bronze/trades", "first_trade_id, last_trade_id", _of(symbol)))
        assert found, f"nothing of {symbol} is in bronze"
        twice = [trade_id for trade_id, follower in pairwise(found) if trade_id == follower]
        missing = sorted(set(range(found[0], found[-1] + 1)) - set(found))
        assert (twice, missing) == ([], [])
        return found[0], found[-1]

    def trades(self, symbol: str) -> list[Told]:
        """Every trade is as the exchange has it; return the exchange's.

        Of an aggregate the quantity is known in all, not of each trade: that the candles tell.
        """
        told = told_by(self._tape, symbol, *self.ids(symbol))
        by_id = {trade.trade_id: trade for trade in told}
        columns = "first_trade_id, last_trade_id, price, quantity, taker_side, traded_at, payload"
        for first, last, price, quantity, side, at, payload in self._tables.rows("bronze/trades", columns, _of(symbol)):
            for trade_id in range(first, last + 1):
                known = quantity if b'"a":' not in payload else by_id[trade_id].quantity
                assert by_id[trade_id] == (trade_id, price, known, side, at)
        return told

    def candles(self, symbol: str, trades: Sequence[Told]) -> None:
        """Every window that is over is there, in the right state, with every digit; and none is there besides."""
        begun = self._begun(symbol, trades[0])
        for interval, minutes in INTERVALS.items():
            expected = {at: (state, fields) for at, state, fields in candles(trades, interval, begun)}
            highest = "QUALIFY revision = max(revision) OVER (PARTITION BY opened_at)"
            chosen = _of(symbol, f"interval = '{interval}'")
            rows = self._tables.rows("silver/candles", f"opened_at, state, {FIELDS}", f"{chosen} {highest}")
            stored = {row[0]: (row[1], row[2:]) for row in rows}
            length = timedelta(minutes=minutes)
            over = {at for at in stored if at + length <= opening(trades[-1].traded_at, "1m")}
            wrong = [at for at in expected.keys() | over if expected.get(at) != stored.get(at)]
            first = min(wrong, default=None)
            assert wrong == [], f"{symbol} {interval} {first}: {expected.get(first)} is {stored.get(first)}"

    def _begun(self, symbol: str, first: Told) -> datetime:
        """Return from when on every trade is held: the minute of the first one when the exchange's kline proves it."""
        minute = opening(first.traded_at, "1m")
        told = self._tables.rows("bronze/klines", "first_trade_id", f"{_of(symbol)} AND opened_at = '{minute}'")
        return minute if (first.trade_id,) in told else minute + timedelta(minutes=1)

    def revisions(self, symbol: str) -> None:
        """Revisions of a window are numbered 1, 2, ...; what is known later has the higher one."""
        columns = '"interval", opened_at, revision, known_at'
        last: dict[tuple[str, datetime], tuple[int, datetime]] = {}
        order = 'ORDER BY "interval", opened_at, revision, known_at'
        for interval, opened, revision, known_at in self._tables.rows(
            "silver/candles", columns, f"{_of(symbol)} {order}"
        ):
            before, known_before = last.get((interval, opened), (0, EPOCH))
            assert (interval, opened, before + 1) == (interval, opened, revision)
            assert known_before <= known_at
            last[interval, opened] = revision, known_at

    def coverage(self, symbol: str) -> None:
        """`silver/coverage` names the ids that bronze holds, and nothing as missing."""
        order = "ORDER BY known_at, status DESC"  # of what became known at once, held is said last
        said = held_by(
            self._tables.rows("silver/coverage", "first_trade_id, last_trade_id, status", f"{_of(symbol)} {order}")
        )
        first, last = self.ids(symbol)
        assert set() == said ^ set(range(first, last + 1))

    def everything(self, symbol: str) -> list[Told]:
        """All of it; return the exchange's trades."""
        trades = self.trades(symbol)
        self.candles(symbol, trades)
        self.revisions(symbol)
        self.coverage(symbol)
        return trades


def _of(symbol: str, also: str = "true") -> str:
    return f"WHERE symbol = '{symbol}' AND {also}"
