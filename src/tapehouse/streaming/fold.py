"""The fold: messages of the tape become held ids, windows and rows. Each id is taken once, whatever comes (law 1)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import groupby

import msgspec
import polars as pl

from tapehouse import telemetry
from tapehouse.market.candles import Candle, as_candles, merge, reduce_frame, to_candles
from tapehouse.market.coverage import JUMP_ALLOWANCE, Range, could_follow
from tapehouse.market.events import Kline, Rejected, Trade
from tapehouse.market.ledger import Ledger
from tapehouse.market.windows import SECOND, opened_at
from tapehouse.ports import Batch
from tapehouse.producers.binance.decode import Messages, concatenate, decode_rest, decode_stream, reject
from tapehouse.producers.binance.wire import KLINES_TOPIC, TRADES_TOPIC, rest_kline
from tapehouse.streaming.columns import minute_of, read_stream, stream_columns
from tapehouse.streaming.context import Context
from tapehouse.streaming.folded import Folded
from tapehouse.streaming.ledgers import Ledgers
from tapehouse.streaming.view import to_trades

FEW = 400
"""Up to so many trades are folded one by one; more are folded as columns."""
MANY = 50_000
"""About so many messages become columns at once: enough to be cheap, few enough to need little memory."""

QuantityHeld = Callable[[str, int, int], int]
"""The summed quantity (units) of the held trades of a symbol with ids in first..last."""


Recall = Callable[[str, int], None]
"""Called with (symbol, opening) before a window changes that is too old to be kept in memory."""


accepted = cache(telemetry.trades_accepted.labels)
duplicate = cache(telemetry.trades_duplicate.labels)
"""Finding a labelled counter costs more than counting; there are as many as symbols are followed."""


class Fold:
    """Takes batches into the ledgers of the symbols that are followed."""

    def __init__(
        self, ledgers: Ledgers, quantity_held: QuantityHeld, recall: Recall, context: Context | None = None
    ) -> None:
        self._ledgers = ledgers
        self._context = context or Context()
        self._recall = recall
        self._quantity_held = quantity_held
        self.last_traded_at: dict[str, int] = {}
        self.last: dict[str, Trade] = {}

    def take(self, batches: Iterable[Batch]) -> Folded:
        """Fold the batches in order."""
        folded = Folded()
        for shape, alike in groupby(batches, key=lambda batch: batch.shape):
            match shape:
                case "stream":
                    for together in _gathered(alike):
                        self._take_stream(together, folded)
                case "klines":
                    for batch in alike:
                        self._take_rest_klines(batch, folded)
                case "market_data" | "sentiment" | "news" | "symbols":
                    for batch in alike:
                        versions, rejected = self._context.take(batch)
                        folded.versions += versions
                        folded.rejected += rejected
                case _:
                    for batch in alike:
                        trades, rejected = decode_rest(batch)
                        folded.rejected += rejected
                        self._take_singles(trades, folded)
        return folded

    def take_columns(self, columns: pl.DataFrame, folded: Folded) -> None:
        """Take single trades as columns (`streaming.columns.TRADE_COLUMNS`), each id once."""
        unknown = [symbol for symbol in columns["symbol"].unique() if self._ledgers.admit(symbol) is None]
        if unknown:
            self._refuse(columns.filter(pl.col("symbol").is_in(unknown)), folded)
            columns = columns.filter(~pl.col("symbol").is_in(unknown))
        fresh = self._fresh(columns, folded)
        if fresh.height == 0:
            return
        self._candles_of(fresh)
        self._note(fresh)
        folded.frames.append(fresh)

    # Stream messages

    def _take_stream(self, batches: Sequence[Batch], folded: Folded) -> None:
        if sum(len(batch.frames) for batch in batches) <= FEW:
            self._take_messages(concatenate([decode_stream(batch) for batch in batches]), folded)
            return
        columns, messages = read_stream(batches)
        self.take_columns(columns, folded)
        self._take_messages(messages, folded)

    def _take_messages(self, messages: Messages, folded: Folded) -> None:
        folded.rejected += messages.rejected
        folded.other += [(other.event, other.payload, other.received_at) for other in messages.other if other.event]
        if len(messages.trades) <= FEW:
            self._take_few(messages, folded)
        else:
            try:
                columns, rejected = stream_columns(messages)
            except OverflowError:
                self._take_few(messages, folded)
            else:
                folded.rejected += rejected
                self.take_columns(columns, folded)
        for message, payload, received_at in messages.klines:
            if not message.k.x:
                continue
            try:
                kline = message.to_kline(received_at)
            except ValueError as error:
                folded.rejected.append(reject(error, payload, received_at, KLINES_TOPIC))
                continue
            self._take_kline(kline, payload, folded)

    def _take_few(self, messages: Messages, folded: Folded) -> None:
        trades = []
        for message, payload, received_at in zip(messages.trades, messages.payloads, messages.received_at, strict=True):
            try:
                trades.append((message.to_trade(received_at), payload))
            except ValueError as error:
                folded.rejected.append(reject(error, payload, received_at))
        self._take_singles(trades, folded)

    def _take_kline(self, kline: Kline, payload: bytes, folded: Folded) -> None:
        ledger = self._ledgers.admit(kline.symbol)
        if ledger is None:
            error = ValueError("a symbol that was not asked for")
            folded.rejected.append(reject(error, payload, kline.received_at, KLINES_TOPIC))
            return
        if kline.interval != "1m":
            folded.klines.append((kline, payload))
            return
        if self.at_hand(kline.symbol, kline.opened_at).tell(kline):
            folded.klines.append((kline, payload))

    def _take_rest_klines(self, batch: Batch, folded: Folded) -> None:
        for row, received_at in zip(batch.frames, batch.received_at, strict=True):
            try:
                kline = rest_kline(batch.symbol, "1m", row, received_at)
            except ValueError as error:
                folded.rejected.append(reject(error, row, received_at, KLINES_TOPIC))
            else:
                self._take_kline(kline, row, folded)

    # One by one

    def _take_singles(self, trades: Sequence[tuple[Trade, bytes]], folded: Folded) -> None:
        candles: dict[tuple[str, int], Candle] = {}
        for trade, payload in trades:
            ledger = self._ledgers.admit(trade.symbol)
            reason = self._refusal(trade, ledger)
            if ledger is None or reason:
                folded.rejected.append(Rejected(TRADES_TOPIC, reason, payload, trade.received_at))
                continue
            for taken in self._take_ids(trade, ledger, payload, folded):
                folded.singles.append((taken, payload))
                folded.held[trade.symbol].add(taken.first_trade_id, taken.last_trade_id)
                key = (trade.symbol, opened_at(taken.traded_at, "1m"))
                candle = taken.as_candle()
                candles[key] = merge(candles[key], candle) if key in candles else candle
                self._note_trade(taken, folded)
        for (symbol, opened), candle in candles.items():
            self.add(symbol, opened, candle)

    def _refusal(self, trade: Trade, ledger: Ledger | None) -> str:
        """Say why a trade cannot be taken, "" when it can."""
        if ledger is None:
            return "a symbol that was not asked for"
        last = ledger.coverage.last
        seconds = max(trade.traded_at - self.last_traded_at.get(trade.symbol, trade.traded_at), 0) // SECOND
        if not could_follow(last, trade.last_trade_id, seconds):
            return f"a trade id that jumps from {last} to {trade.last_trade_id} in {seconds} s"
        return ""

    def _take_ids(self, trade: Trade, ledger: Ledger, payload: bytes, folded: Folded) -> list[Trade]:
        """Hold the ids of a trade; return what of it is new: all, nothing, or the residue of an aggregate."""
        first, last = trade.first_trade_id, trade.last_trade_id
        new = ledger.coverage.held.missing(first, last)
        if not new:
            duplicate(trade.symbol).inc()
            return []
        if new == [(first, last)]:
            ledger.coverage.accept(first, last)
            accepted(trade.symbol).inc(last - first + 1)
            return [trade]
        held = folded.quantity(trade.symbol, first, last) + self._quantity_held(trade.symbol, first, last)
        rest = trade.quantity - held
        if rest <= 0:
            reason = "an aggregate no larger than the trades held of a part of it"
            folded.rejected.append(Rejected(TRADES_TOPIC, reason, payload, trade.received_at))
            return []
        ledger.coverage.accept(first, last)
        accepted(trade.symbol).inc(sum(b - a + 1 for a, b in new))
        return residues(trade, new, rest)

    def _note_trade(self, trade: Trade, folded: Folded) -> None:
        known = self.last.get(trade.symbol)
        if known is not None and trade.last_trade_id > known.last_trade_id:
            folded.times.setdefault((trade.symbol, known.last_trade_id), known.traded_at)
        self.note(trade)
        folded.times[trade.symbol, trade.first_trade_id] = trade.traded_at
        folded.times[trade.symbol, trade.last_trade_id] = trade.traded_at

    # As columns

    def _refuse(self, columns: pl.DataFrame, folded: Folded) -> None:
        reason = "a symbol that was not asked for"
        for payload, received_at in columns.select("payload", "received_at").iter_rows():
            folded.rejected.append(Rejected(TRADES_TOPIC, reason, payload, received_at))

    def _fresh(self, columns: pl.DataFrame, folded: Folded) -> pl.DataFrame:
        """Hold the ids of the columns and return the rows whose id was not held before."""
        trade_id = pl.col("first_trade_id")
        runs = columns.group_by("symbol").agg(
            trade_id.min().alias("first"),
            trade_id.max().alias("last"),
            trade_id.n_unique().alias("different"),
            pl.len().alias("rows"),
        )
        irregular = []
        for symbol, first, last, different, rows in runs.iter_rows():
            whole = different == rows == last - first + 1
            edges = partial(_edges, columns, symbol, first, last)
            if not (whole and self.hold_run(symbol, first, last, edges, folded)):
                irregular.append(symbol)
        if not irregular:
            return columns
        chosen = pl.col("symbol").is_in(irregular)
        parts = [columns.filter(~chosen)]
        for (symbol,), rows in columns.filter(chosen).group_by("symbol", maintain_order=True):
            parts.append(self._fresh_of_symbol(str(symbol), rows, folded))
        return pl.concat(parts)

    def hold_run(self, symbol: str, first: int, last: int, edges: Callable[[], dict[int, int]], folded: Folded) -> bool:
        """Hold a run of ids that is wholly new and plausible; False, and nothing held, when it is not.

        `edges` gives the trade times of its first and its last id.
        """
        ledger = self._ledgers[symbol]
        if not ledger.coverage.follows(first):
            if ledger.coverage.held.missing(first, last) != [(first, last)]:
                return False
            if 0 <= ledger.coverage.last < last - JUMP_ALLOWANCE:
                return False
            known = self.last.get(symbol)
            if known is not None:
                folded.times.setdefault((symbol, known.last_trade_id), known.traded_at)
            folded.times |= {(symbol, trade_id): traded_at for trade_id, traded_at in edges().items()}
        ledger.coverage.held.add(first, last)
        folded.held[symbol].add(first, last)
        accepted(symbol).inc(last - first + 1)
        return True

    def _fresh_of_symbol(self, symbol: str, rows: pl.DataFrame, folded: Folded) -> pl.DataFrame:
        """Do the same for one symbol whose ids do not simply go on: duplicates, holes, late ones, absurd jumps."""
        ledger = self._ledgers[symbol]
        keep = []
        known = self.last.get(symbol)
        newest = known.last_trade_id if known is not None else -1
        for place, (trade_id, traded_at) in enumerate(rows.select("first_trade_id", "traded_at").iter_rows()):
            if self._refusal_of_jump(ledger, trade_id, traded_at):
                trade, payload = to_trades(rows[place])[0], rows["payload"][place]
                reason = self._refusal(trade, ledger)
                folded.rejected.append(Rejected(TRADES_TOPIC, reason, payload, trade.received_at))
            elif ledger.coverage.accept(trade_id, trade_id):
                keep.append(place)
                folded.held[symbol].add(trade_id, trade_id)
                if known is not None:
                    folded.times.setdefault((symbol, known.last_trade_id), known.traded_at)
                folded.times[symbol, trade_id] = traded_at
                if trade_id > newest:
                    newest, self.last_traded_at[symbol] = trade_id, traded_at
        accepted(symbol).inc(len(keep))
        duplicate(symbol).inc(rows.height - len(keep))
        return rows[keep]

    def _refusal_of_jump(self, ledger: Ledger, trade_id: int, traded_at: int) -> bool:
        last = ledger.coverage.last
        if last < 0 or trade_id <= last + JUMP_ALLOWANCE:
            return False
        seconds = max(traded_at - self.last_traded_at.get(ledger.symbol, traded_at), 0) // SECOND
        return not could_follow(last, trade_id, seconds)

    def _candles_of(self, columns: pl.DataFrame) -> None:
        trades = columns.lazy().with_columns(minute=minute_of())
        reduced = reduce_frame(as_candles(trades), ["symbol", "minute"]).collect()
        for (symbol, opened), candle in zip(
            reduced.select("symbol", "minute").iter_rows(), to_candles(reduced), strict=True
        ):
            self.add(symbol, opened, candle)

    def _note(self, columns: pl.DataFrame) -> None:
        newest = columns.group_by("symbol").agg(pl.all().max_by("last_trade_id"))
        for trade in to_trades(newest):
            self.note(trade)

    # Reduced by whoever calls

    def add(self, symbol: str, opened: int, candle: Candle) -> None:
        """Merge trades whose ids were just held into their 1m window."""
        self.at_hand(symbol, opened).add(opened, candle)

    def at_hand(self, symbol: str, opened: int) -> Ledger:
        """Return a symbol's ledger with what was written of the 1m window that opened then."""
        ledger = self._ledgers[symbol]
        if ledger.lacks(opened):
            self._recall(symbol, opened)
        return ledger

    def note(self, trade: Trade) -> None:
        """Remember a trade that was just held, when it is the newest of its symbol."""
        known = self.last.get(trade.symbol)
        if known is None or trade.last_trade_id > known.last_trade_id:
            self.last[trade.symbol] = trade
            self.last_traded_at[trade.symbol] = trade.traded_at


def _edges(columns: pl.DataFrame, symbol: str, first: int, last: int) -> dict[int, int]:
    rows = columns.filter(pl.col("symbol") == symbol, pl.col("first_trade_id").is_in([first, last]))
    return dict(rows.select("first_trade_id", "traded_at").iter_rows())


def _gathered(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    """Cut batches into lists of about MANY messages."""
    together: list[Batch] = []
    messages = 0
    for batch in batches:
        together.append(batch)
        messages += len(batch.frames)
        if messages >= MANY:
            yield together
            together, messages = [], 0
    if together:
        yield together


def residues(trade: Trade, new: Sequence[Range], quantity: int) -> list[Trade]:
    """Return the part of an aggregate that is not held: `new` ranges of its ids, `quantity` in all.

    Its trades share price, side and time, so that every candle is exact whatever each of the ranges is given; the
    first is given all of it.
    """
    return [
        msgspec.structs.replace(trade, first_trade_id=first, last_trade_id=last, quantity=quantity if place == 0 else 0)
        for place, (first, last) in enumerate(new)
    ]
