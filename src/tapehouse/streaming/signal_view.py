"""The newest signals in memory, and those that open windows would make if they ended now; read from any thread.

Written by the engine as soon as they are derived, before the lake has them.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from tapehouse.catalog import SIGNALS
from tapehouse.market.signals import Signal
from tapehouse.market.windows import is_over
from tapehouse.ports import Lake
from tapehouse.streaming.rows import signals_of
from tapehouse.streaming.signal_reads import newest_signals

MOST = 2_000
"""Signals that are remembered: those of the newest windows."""
SPARE = 1.25
"""How many times MOST there may be before the oldest are let go."""
CHANGES_KEPT = 1_000
"""Changes that a reader may lag behind."""
RECALLED_DAYS = 7

Key = tuple[str, str, str, int]
"""Kind, symbol, interval, opening."""


class SignalView:
    """The newest revision of each signal by what it is about."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[Key, Signal] = {}
        self._foreseen: dict[str, dict[Key, Signal]] = {}
        self._ended: dict[Key, Signal] = {}
        self._changes: deque[tuple[int, Signal]] = deque(maxlen=CHANGES_KEPT)
        self._sequence = 0

    def recall(self, lake: Lake) -> None:
        """Remember what the lake holds of the last days."""
        found: list[Signal] = []
        for day in reversed(lake.dates(SIGNALS)[-RECALLED_DAYS:]):
            found += signals_of(newest_signals(lake.scan(SIGNALS, dates=[day])).sort("opened_at").tail(MOST).collect())
            if len(found) >= MOST:
                break
        with self._lock:
            for signal in found:
                self._keep(signal)

    def publish(self, signals: Iterable[Signal]) -> None:
        """Show revisions; one that is older than what is shown is passed over."""
        with self._lock:
            for signal in signals:
                if self._keep(signal):
                    self._tell(signal)
            for key in self._ended.keys() - self._newest.keys():
                self._tell(msgspec.structs.replace(self._ended[key], state="retracted"))
            self._ended.clear()
            if len(self._newest) > MOST * SPARE:
                kept = sorted(self._newest.items(), key=lambda item: item[1].opened_at)[-MOST:]
                self._newest = dict(kept)

    def foresee(self, symbol: str, signals: Sequence[Signal], horizon: int) -> None:
        """Show what a symbol's open windows would say if they ended now, in place of what they would have said before.

        What they would say no more is told as retracted; of a window that is over by `horizon` (event time reached),
        once what its candle says has been published.
        """
        with self._lock:
            before, now = self._foreseen.get(symbol, {}), {_key(signal): signal for signal in signals}
            self._foreseen[symbol] = now
            for key, signal in now.items():
                if key not in before or before[key].score != signal.score:
                    self._tell(signal)
            for key in before.keys() - now.keys():
                if is_over(before[key].opened_at, before[key].interval, horizon):
                    self._ended[key] = before[key]
                else:
                    self._tell(msgspec.structs.replace(before[key], state="retracted"))

    @property
    def sequence(self) -> int:
        """The number of the last change."""
        return self._sequence

    def since(self, sequence: int) -> tuple[list[Signal], int, int]:
        """Return the changes after a number, oldest first, the number of the last, and how many are held no longer."""
        with self._lock:
            changes = [signal for number, signal in self._changes if number > sequence]
            return changes, self._sequence, self._sequence - sequence - len(changes)

    def newest(self) -> list[Signal]:
        """Return the newest revisions, retracted ones with them, by the opening of their window."""
        with self._lock:
            signals = list(self._newest.values())
        return sorted(signals, key=lambda signal: (signal.opened_at, signal.symbol, signal.kind, signal.interval))

    def open(self) -> list[Signal]:
        """Return what open windows would say if they ended now."""
        with self._lock:
            return list(chain.from_iterable(of.values() for of in self._foreseen.values()))

    def _keep(self, signal: Signal) -> bool:
        known = self._newest.get(_key(signal))
        if known is not None and (known.revision, known.known_at) >= (signal.revision, signal.known_at):
            return False
        self._newest[_key(signal)] = signal
        return known is None or (known.state, known.score, known.evidence) != (
            signal.state,
            signal.score,
            signal.evidence,
        )

    def _tell(self, signal: Signal) -> None:
        self._sequence += 1
        self._changes.append((self._sequence, signal))


def _key(signal: Signal) -> Key:
    return signal.kind, signal.symbol, signal.interval, signal.opened_at
