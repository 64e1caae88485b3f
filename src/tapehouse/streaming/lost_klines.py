"""Klines that the stream did not bring are asked for over REST, so that every closed candle is compared.

A cut, a restart or the exchange itself can lose the one message that tells a closed kline. The candle is no worse for
it, but nobody has held it against the exchange's own.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from tapehouse.errors import RateLimitedError, UpstreamError
from tapehouse.market.windows import MINUTE
from tapehouse.ports import Batch, Tape
from tapehouse.producers.binance.wire import rest_kline
from tapehouse.streaming.verification import Oracle

LOOK_EVERY = 2.0
"""Seconds between two looks at which klines are wanted."""
PACE = 0.2
"""Seconds between two requests: 600 of the weight of a minute at most, so that repairs are not held up."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 600.0
"""Seconds before klines that did not come are asked for again, doubled each time."""

log = structlog.get_logger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """Up to which window a symbol's klines were asked for, and when those that did not come may be asked for again."""

    to: int
    not_before: float
    tries: int


class KlineDesk:
    """Asks the exchange for klines that are wanted; they come back over the tape, like those of the stream.

    `unheard` gives the openings of the 1m windows by symbol, in order; `now` microseconds UTC.
    """

    def __init__(
        self, unheard: Callable[[], Mapping[str, Sequence[int]]], oracle: Oracle, tape: Tape, now: Callable[[], int]
    ) -> None:
        self._unheard = unheard
        self._oracle = oracle
        self._tape = tape
        self._now = now
        self._asked: dict[str, Asked] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                for symbol, windows in self._due(time.monotonic()):
                    await self._ask(symbol, windows)
                    await asyncio.sleep(PACE)
            except UpstreamError as error:
                wait = error.retry_after if isinstance(error, RateLimitedError) else FIRST_WAIT
                log.warning("klines_wait", why=str(error), seconds=round(wait))
                await asyncio.sleep(wait)

    def _due(self, now: float) -> list[tuple[str, Sequence[int]]]:
        """Return the windows to ask for now, the symbol with the newest first."""
        unheard = self._unheard()
        self._asked = {symbol: asked for symbol, asked in self._asked.items() if symbol in unheard}
        due = []
        for symbol, windows in unheard.items():
            asked = self._asked.get(symbol)
            if asked is not None and asked.not_before > now:
                windows = [opened for opened in windows if opened > asked.to]  # noqa: PLW2901  # the rest waits
            if windows:
                due.append((symbol, windows))
        return sorted(due, key=lambda each: -each[1][-1])

    async def _ask(self, symbol: str, windows: Sequence[int]) -> None:
        self._note(symbol, windows[-1], time.monotonic())
        rows = await self._oracle.klines(symbol, windows[0], windows[-1] + MINUTE)
        wanted = set(windows)
        frames = [row for row in rows if _opened_at(symbol, row) in wanted | {None}]
        log.info("klines_asked_for", symbol=symbol, wanted=len(wanted), told=len(frames))
        if frames:
            await self._tape.append(Batch(frames, [self._now()] * len(frames), "klines", symbol))

    def _note(self, symbol: str, to: int, now: float) -> None:
        asked = self._asked.get(symbol)
        if asked is not None and asked.not_before > now:  # none of those that wait are among these
            self._asked[symbol] = Asked(to, asked.not_before, asked.tries)
            return
        tries = asked.tries + 1 if asked is not None else 0
        self._asked[symbol] = Asked(to, now + min(FIRST_WAIT * 2**tries, LONGEST_WAIT), tries)


def _opened_at(symbol: str, row: bytes) -> int | None:
    """Return when a kline's window opened, None where it cannot be read: then the fold refuses it, and keeps it."""
    try:
        return rest_kline(symbol, "1m", row, 0).opened_at
    except ValueError:
        return None
