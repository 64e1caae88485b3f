"""Where things stand, as messages of the live socket: for who has just come, and for who has fallen behind."""

from collections.abc import Iterable, Iterator, Mapping

from tapehouse.api import messages
from tapehouse.api.context_rows import by_symbol, coins, whole_market
from tapehouse.api.messages import Subscribe
from tapehouse.api.queries import CandleQuery, Queries
from tapehouse.market.events import Trade
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import WHOLE_MARKET
from tapehouse.streaming.view import LiveView

CANDLES = 500
TRADES = 60
"""Most rows of one symbol in a snapshot."""
STORIES = 100
DAYS = 90
SIGNALS = 200
"""Most stories, days of the index, and signals that are told at first."""


class Standing:
    """Makes the messages; `snapshot` reads the lake and belongs on a thread, the others read memory.

    `pins` name the coins of tickers.
    """

    def __init__(self, view: LiveView, queries: Queries, pins: Mapping[str, str]) -> None:
        self._view = view
        self._queries = queries
        self._pins = pins

    def snapshot(self, wanted: Subscribe) -> str:
        """Tell all that is asked for, history included."""
        sequence = self._view.sequence
        of = {symbol: (self._candles(symbol, wanted), self._trades(symbol, wanted)) for symbol in wanted.symbols}
        return messages.state("snapshot", sequence, wanted, of, self._view.horizon)

    def lately(self, kind: messages.StateKind, wanted: Subscribe, skipped: int = 0) -> str:
        """Tell what the memory holds, which has everything that changed lately."""
        of: dict[str, tuple[list[CandleRow], list[Trade]]] = {}
        for symbol in wanted.symbols:
            candles = self._view.recent_candles(symbol, wanted.interval) if "candles" in wanted.channels else []
            trades = self._view.recent_trades(symbol, TRADES) if "trades" in wanted.channels else []
            of[symbol] = (candles, trades)
        return messages.state(kind, self._view.sequence, wanted, of, self._view.horizon, skipped)

    def prices(self, symbols: Iterable[str]) -> str:
        """Tell the last price of each of the symbols that has one."""
        entries = []
        for symbol in symbols:
            trade = self._view.last_trade(symbol)
            if trade is not None:
                entries.append(messages.price(trade, self._day(symbol)))
        return messages.prices(self._view.sequence, entries)

    def context(self, wanted: Subscribe) -> Iterator[str]:
        """Tell what is known beside the trades, of the channels that are wanted."""
        sequence, context = self._view.sequence, self._view.context
        if "market" in wanted.channels:
            versions = context.newest("market_data")
            found = by_symbol(coins(versions).values(), wanted.symbols, self._pins)
            yield messages.market(sequence, found, whole_market(versions))
        if "sentiment" in wanted.channels:
            yield messages.sentiment(sequence, context.newest("sentiment")[-DAYS:])
        if "news" in wanted.channels:
            yield messages.news(sequence, context.newest("news")[-STORIES:])
        if "signals" in wanted.channels:
            told, about = self._view.signals, {*wanted.symbols, WHOLE_MARKET}
            known = [signal for signal in told.newest() if signal.symbol in about and signal.state != "retracted"]
            seen = [signal for signal in told.open() if signal.symbol in about]
            yield messages.signals(sequence, [*known[-SIGNALS:], *seen])

    def _day(self, symbol: str) -> CandleRow | None:
        """Return the day's open candle, which says how far the price has moved today."""
        days = self._view.recent_candles(symbol, "1d")
        return days[-1] if days and days[-1].state == "open" else None

    def _candles(self, symbol: str, wanted: Subscribe) -> list[CandleRow]:
        if "candles" not in wanted.channels:
            return []
        return self._queries.candles(CandleQuery(symbol, wanted.interval, CANDLES))

    def _trades(self, symbol: str, wanted: Subscribe) -> list[Trade]:
        return self._queries.trades(symbol, TRADES) if "trades" in wanted.channels else []
