"""How often CoinGecko is asked for each thing: as often as is wanted, as seldom as its plan makes it for many coins."""

from collections.abc import Mapping

from tapehouse.producers.allowance import DAY
from tapehouse.producers.coingecko.coins import Coins

COINS_A_PAGE = 100
"""Coins of one question: their ids fit an address."""
STEADY = 0.9
"""The part of a day's questions for what is asked again and again; the rest is for the past, starts and failures."""
WORTH_A_NOTE = 2.0
HISTORY_PAUSE, HISTORY_INTERVAL = 30.0, 3600.0
"""Seconds between two coins' histories, and between two looks whether there is a new coin."""


class Pace:
    """The intervals of the questions, in seconds, so that all of them together keep within `a_day`.

    `by_page` and `whole` are the intervals that are wanted: of what is asked page by page, and of what is asked whole.
    """

    def __init__(self, coins: Coins, a_day: float, *, by_page: Mapping[str, float], whole: Mapping[str, float]) -> None:
        self._coins = coins
        self._a_day = a_day
        self._by_page = by_page
        self._whole = whole

    def coins(self) -> list[str]:
        """Return the ids of the coins that are asked for."""
        return self._coins.ids()

    def pages(self) -> list[list[str]]:
        """Return the same coins as many at a time as are asked for together."""
        coins = self.coins()
        return [coins[first : first + COINS_A_PAGE] for first in range(0, len(coins), COINS_A_PAGE)]

    def is_complete(self) -> bool:
        """Tell whether every followed ticker has been looked up."""
        return not self._coins.needs_list()

    def interval(self, name: str) -> float:
        """Return the seconds in which all pages of a question are asked once."""
        return (self._by_page.get(name) or self._whole[name]) * self._stretched()

    def notes(self) -> tuple[str, ...]:
        """Say how much more seldom coins are asked for than is wanted, where it is half as often or less."""
        if (times := self._stretched()) < WORTH_A_NOTE:
            return ()
        few = f"The {self._a_day:.0f} questions a day that CoinGecko allows are few for {len(self.coins())} coins"
        return (f"{few}: they are asked for {times:.0f} times as seldom as is set.",)

    def _stretched(self) -> float:
        pages = len(self.pages())
        asked = sum(pages * DAY / wanted for wanted in self._by_page.values())
        asked += sum(DAY / wanted for wanted in self._whole.values())
        return max(1.0, asked / (self._a_day * STEADY))

    def history_pause(self, left: int) -> float:
        """Return the seconds between two coins' histories while so many coins have none."""
        spare = self._a_day * (1 - STEADY)
        return HISTORY_PAUSE if left <= spare else max(HISTORY_PAUSE, DAY / spare)
