"""The daily past of coins, asked for once: what a back-fill brings. CoinGecko tells it from any day to now."""

from collections.abc import Callable, Iterable

import msgspec
import structlog

from tapehouse.market.windows import DAY
from tapehouse.ports import Shape
from tapehouse.producers.coingecko.coins import Coins
from tapehouse.producers.coingecko.pace import HISTORY_PAUSE
from tapehouse.producers.coingecko.source import (
    HISTORY_DAYS,
    CoinsList,
    asked_source,
    chart,
    door_of,
    plan_of,
)
from tapehouse.producers.coingecko.wire import HISTORY
from tapehouse.producers.fetching import GoneError, RefusedError
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Ask, Clock, Found
from tapehouse.settings import Settings

log = structlog.get_logger(__name__)


class CoinsPast:
    """The days of [start, end) (microseconds) of the coins of symbols, one coin after the other, until `is_told`.

    `lacks` says of a coin whether any of them is not held; the others are not asked for. `tell` is told each coin that
    is done. `refused` has the coins whose past CoinGecko does not give, and why.
    """

    name, source = "backfill", HISTORY
    shape: Shape = "market_data"
    can_end = False
    interval = HISTORY_PAUSE

    def __init__(
        self,
        settings: Settings,
        symbols: Iterable[str],
        span: tuple[int, int],
        clock: Clock,
        *,
        lacks: Callable[[str], bool],
        tell: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._coins = Coins(lambda: symbols, settings.coingecko_pins())
        self._door = door_of(settings)
        self._list = CoinsList(self._door, self._coins)
        self._span = span
        self._clock = clock
        self._lacks = lacks
        self._tell = tell
        self._done: set[str] = set()
        self.is_told = False
        self.refused: dict[str, str] = {}

    def polled(self) -> PolledSource:
        """Return the source that asks for it, within what CoinGecko allows."""
        return asked_source(self._settings, [self], self._clock, notes=self._coins.notes, alone=False)

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the next coin that lacks a day; for the list of coins once the well-known ones are done."""
        coin = next((coin for coin in self._coins.ids() if self._is_left(coin)), None)
        if coin is None and self._coins.needs_list():
            return msgspec.structs.replace(await self._list.fetch(ask), next_in=0.0)
        if coin is None:
            self.is_told = True
            return Found()
        try:
            found = await chart(self._door, ask, coin, self._days())
        except (RefusedError, GoneError) as error:
            self.refused[coin] = str(error)
            found = Found()
        if not found.problem:
            self._done.add(coin)
            self._tell(coin)
        within = [frame for frame in found.frames if found.problem or self._is_within(frame)]
        return Found(within, problem=found.problem, next_in=0.0)

    def _is_left(self, coin: str) -> bool:
        return coin not in self._done and self._lacks(coin)

    def _days(self) -> int:
        """Return how many days back to ask for; without a paid plan CoinGecko refuses more than a year."""
        days = -(-(self._clock.now() - self._span[0]) // DAY)
        return days if plan_of(self._settings) == "pro" else min(days, HISTORY_DAYS)

    def _is_within(self, frame: bytes) -> bool:
        return self._span[0] <= _POINT.decode(frame).at * 1000 < self._span[1]


class _Point(msgspec.Struct):
    at: int  # milliseconds


_POINT = msgspec.json.Decoder(_Point)
