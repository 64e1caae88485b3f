"""Everyone who listens to the streams, and what each is sent of a step."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import polars as pl

from tapehouse.exchange.faults import Faults
from tapehouse.exchange.messages import TradeWriter, combined_text, frames_of, frames_of_all, kline_text
from tapehouse.exchange.playback import KlineUpdate, Step
from tapehouse.exchange.streams import View


class Listener(Protocol):
    """A connection as the audience sees it."""

    @property
    def view(self) -> View:
        """What it is sent."""

    def send(self, frames: bytes) -> None:
        """Send whole frames."""

    def send_spoiled(self, messages: Sequence[str]) -> None:
        """Send messages with the faults in force."""


class Audience:
    """The connections; each step is written once for all that have the same view."""

    def __init__(self, symbols: Sequence[str], faults: Faults, *, on_follow: Callable[[], None]) -> None:
        self._symbols = tuple(symbols)
        self._on_follow = on_follow
        self._faults = faults
        self._listeners: dict[Listener, None] = {}
        self._writer = lru_cache(maxsize=4)(self._new_writer)

    def __len__(self) -> int:
        return len(self._listeners)

    def __iter__(self) -> Iterator[Listener]:
        return iter(list(self._listeners))

    def join(self, listener: Listener) -> None:
        """Send the steps to this one too."""
        self._listeners[listener] = None
        self.look(listener)

    def look(self, listener: Listener) -> None:
        """Take note that a listener may have begun to follow a stream."""
        view = listener.view
        if view.trades or view.aggregates or view.klines:
            self._on_follow()

    def leave(self, listener: Listener) -> None:
        """Send it no more."""
        self._listeners.pop(listener, None)

    @property
    def klines_wanted(self) -> set[tuple[str, str]]:
        """The (symbol, interval) somebody follows."""
        known = set(self._symbols)
        return {kline for listener in self._listeners for kline in listener.view.klines if kline[0] in known}

    def tell(self, step: Step) -> None:
        """Send everyone what of the step is theirs."""
        by_view: dict[View, list[Listener]] = {}
        for listener in self._listeners:
            by_view.setdefault(listener.view, []).append(listener)
        for view, listeners in by_view.items():
            if self._faults.spoils_messages:
                messages = self._messages(view, step)
                for listener in listeners:
                    listener.send_spoiled(messages)
            elif frames := self._frames(view, step):
                for listener in listeners:
                    listener.send(frames)

    def _frames(self, view: View, step: Step) -> bytes:
        columns = b"".join(frames_of(column) for column in self._columns(view, step))
        return columns + frames_of_all(self._klines(view, step))

    def _messages(self, view: View, step: Step) -> list[str]:
        columns = [message for column in self._columns(view, step) for message in column]
        return columns + self._klines(view, step)

    def _columns(self, view: View, step: Step) -> list[pl.Series]:
        if not step.trades.height:
            return []
        writer = self._writer(view.combined, view.microseconds)
        skew = self._faults.settings.skew_ms * 1000
        written = (
            writer.trades(self._of(step.trades, view.trades), skew) if view.trades else None,
            writer.aggregates(self._of(step.trades, view.aggregates), skew) if view.aggregates else None,
        )
        return [column for column in written if column is not None and len(column)]

    def _of(self, trades: pl.DataFrame, symbols: frozenset[str]) -> pl.DataFrame:
        if symbols.issuperset(self._symbols):
            return trades
        wanted = [symbol in symbols for symbol in self._symbols]
        return trades.filter(pl.lit(pl.Series(wanted)).gather(pl.col("symbol").to_physical()))

    def _klines(self, view: View, step: Step) -> list[str]:
        theirs = (update for update in step.klines if (update.symbol, update.interval) in view.klines)
        return [self._kline(view, update) for update in theirs]

    def _kline(self, view: View, update: KlineUpdate) -> str:
        message = kline_text(
            update.symbol,
            update.interval,
            update.opened_at,
            update.candle,
            update.close,
            event=update.event_at + self._faults.settings.skew_ms * 1000,
            closed=update.closed,
            divisor=1 if view.microseconds else 1000,
        )
        stream = f"{update.symbol.lower()}@kline_{update.interval}"
        return combined_text(stream, message) if view.combined else message

    def _new_writer(self, combined: bool, microseconds: bool) -> TradeWriter:
        return TradeWriter(self._symbols, combined=combined, microseconds=microseconds)
