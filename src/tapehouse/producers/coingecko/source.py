"""CoinGecko polled: the coins of the followed symbols, their prices in between, the whole market, and the past year.

A question is about one page of coins; what it brings is told before the next page is asked for.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec
import structlog

from tapehouse.ports import Shape
from tapehouse.producers.allowance import DAY, MINUTE
from tapehouse.producers.coingecko.coins import Coins
from tapehouse.producers.coingecko.pace import COINS_A_PAGE, HISTORY_INTERVAL, Pace
from tapehouse.producers.coingecko.wire import (
    GLOBAL,
    HISTORY,
    MARKETS,
    PRICES,
    split_chart,
    split_global,
    split_markets,
    split_prices,
)
from tapehouse.producers.fetching import Answer, GoneError, RefusedError
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Ask, Clock, Found, Upstream
from tapehouse.settings import Settings

PRO_URL = "https://pro-api.coingecko.com/api/v3"
DEMO_A_DAY = 320
"""A demo key has 10,000 questions a month; so many a day keep within it."""
GLOBAL_INTERVAL = 600.0
LIST_INTERVAL = 3600.0
"""Seconds between two looks whether a ticker is followed that only the list of all coins can explain."""
EARLY_LOOKS, EARLY_PAUSE = 3, 20.0
"""How often, and after how many seconds, a question looks anew at the start: the list may have named more coins."""
HISTORY_DAYS = 365
"""What CoinGecko gives without a paid plan."""
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)

log = structlog.get_logger(__name__)


class Door:
    """CoinGecko's address, and the key that is shown there, for all of its upstreams."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        self._address = address.rstrip("/")
        self._headers = headers

    async def ask(self, ask: Ask, path: str, **params: str) -> Answer:
        """Ask for a path."""
        return await ask(f"{self._address}/{path}", params=params, secret_headers=self._headers)


class _OfCoins:
    """A question about the followed coins, as many at a time as fit."""

    name: str
    shape: Shape = "market_data"
    can_end = False

    def __init__(self, door: Door, pace: Pace) -> None:
        self._door = door
        self._pace = pace
        self._told: set[str] = set()
        self._next_page = 0
        self._early_looks = EARLY_LOOKS

    @property
    def interval(self) -> float:
        """The seconds in which each coin is asked for once."""
        return self._pace.interval(self.name)

    async def _page(self, ask: Ask, path: str, cut: Callable[[bytes], list[bytes]], **params: str) -> Found:
        """Ask for a page: the first with a coin that was never told, else the one after the last."""
        pages = self._pace.pages()
        if not pages:
            return Found(next_in=self._pause(1))
        self._told.intersection_update(coin for page in pages for coin in page)
        in_turn = self._next_page % len(pages)
        number = next((n for n, page in enumerate(pages) if not self._told.issuperset(page)), in_turn)
        found = _cut(await self._door.ask(ask, path, ids=",".join(pages[number]), **params), cut)
        if found.problem:
            return found
        self._told.update(pages[number])
        self._next_page = number + 1
        is_told = all(self._told.issuperset(page) for page in pages)
        return msgspec.structs.replace(found, next_in=self._pause(len(pages)) if is_told else 0.0)

    def _pause(self, pages: int) -> float:
        pause = self.interval / pages
        if self._pace.is_complete() or not self._early_looks:
            return pause
        self._early_looks -= 1
        return min(pause, EARLY_PAUSE)


class Markets(_OfCoins):
    """`/coins/markets`: everything CoinGecko says of a coin."""

    name, source = "markets", MARKETS

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the followed coins."""
        return await self._page(ask, "coins/markets", split_markets, vs_currency="usd", per_page=str(COINS_A_PAGE))


class Prices(_OfCoins):
    """`/simple/price`: the newest figures of the same coins, cheaper to ask for."""

    name, source = "prices", PRICES

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the followed coins."""
        wanted = ("market_cap", "24hr_vol", "24hr_change", "last_updated_at")
        more = {f"include_{name}": "true" for name in wanted}
        return await self._page(ask, "simple/price", split_prices, vs_currencies="usd", precision="full", **more)


class Global:
    """`/global`: the market as a whole, and whose part of it is how large."""

    name, source = "global", GLOBAL
    shape: Shape = "market_data"
    can_end = False

    def __init__(self, door: Door, pace: Pace) -> None:
        self._door = door
        self._pace = pace

    @property
    def interval(self) -> float:
        """The seconds between two questions."""
        return self._pace.interval(self.name)

    async def fetch(self, ask: Ask) -> Found:
        """Ask."""
        return _cut(await self._door.ask(ask, "global"), split_global)


class CoinsList:
    """`/coins/list`: what names the coins of tickers that are not well known; asked for when needed, until it came."""

    name, source = "list", MARKETS
    shape: Shape = "market_data"
    can_end = False
    interval = LIST_INTERVAL

    def __init__(self, door: Door, coins: Coins) -> None:
        self._door = door
        self._coins = coins

    async def fetch(self, ask: Ask) -> Found:
        """Ask where only the list can explain a ticker; a list that cannot be read is told whole, to be refused."""
        if not self._coins.needs_list():
            return Found()
        return _cut(await self._door.ask(ask, "coins/list"), self._learn)

    def _learn(self, body: bytes) -> list[bytes]:
        self._coins.learn(body)
        return []


class History:
    """`/market_chart`: the past year of each followed coin, one coin after the other, once; `held` have theirs."""

    name, source = "history", HISTORY
    shape: Shape = "market_data"
    can_end = False

    def __init__(self, door: Door, pace: Pace, held: Collection[str]) -> None:
        self._door = door
        self._pace = pace
        self._done = set(held)

    @property
    def interval(self) -> float:
        """The seconds to the next coin's, or to the next look whether there is a new coin."""
        left = len(self._left())
        return self._pace.history_pause(left) if left else HISTORY_INTERVAL

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the next coin that lacks its past."""
        left = self._left()
        if not left:
            return Found()
        try:
            found = await chart(self._door, ask, left[0], HISTORY_DAYS)
        except (RefusedError, GoneError) as error:  # this coin's past is not to be had: go on with the next
            log.warning("history_refused", source=self.source, coin=left[0], why=str(error))
            found = Found()
        if not found.problem:
            self._done.add(left[0])
        return found

    def _left(self) -> list[str]:
        return [coin for coin in self._pace.coins() if coin not in self._done]


async def chart(door: Door, ask: Ask, coin: str, days: int) -> Found:
    """Ask for the last days of a coin, a value a day; raise what `ask` raises."""
    params = {"vs_currency": "usd", "days": str(days), "interval": "daily"}
    answer = await door.ask(ask, f"coins/{coin}/market_chart", **params)
    return _cut(answer, lambda body: split_chart(coin, body))


def coingecko_source(
    settings: Settings, followed: Callable[[], Iterable[str]], history_held: Collection[str], clock: Clock
) -> PolledSource:
    """Return the source as it is set: for the symbols `followed` gives, whose coins `history_held` have their past."""
    door, coins = door_of(settings), Coins(followed, settings.coingecko_pins())
    a_minute_all_day = settings.coingecko_per_minute * DAY / MINUTE
    pace = Pace(
        coins,
        min(a_minute_all_day, a_day_of(settings) or a_minute_all_day),
        by_page={Markets.name: settings.coingecko_interval, Prices.name: settings.coingecko_price_interval},
        whole={Global.name: GLOBAL_INTERVAL},
    )
    upstreams: list[Upstream] = [
        CoinsList(door, coins),
        Markets(door, pace),
        Prices(door, pace),
        Global(door, pace),
        *([History(door, pace, history_held)] if settings.coingecko_history else []),
    ]
    return asked_source(settings, upstreams, clock, notes=lambda: (*coins.notes(), *pace.notes()))


def asked_source(
    settings: Settings,
    upstreams: Sequence[Upstream],
    clock: Clock,
    *,
    notes: Callable[[], tuple[str, ...]],
    alone: bool = True,
) -> PolledSource:
    """Return these questions as a source within what CoinGecko allows; see `PolledSource` for `notes` and `alone`."""
    return PolledSource(
        MARKETS,
        upstreams,
        settings.state,
        clock=clock,
        per_minute=settings.coingecko_per_minute,
        per_day=a_day_of(settings),
        secrets=[_key(settings)],
        explain=explain,
        notes=notes,
        alone=alone,
    )


def a_day_of(settings: Settings) -> int | None:
    """Return how many questions a day the plan allows, None where it counts none."""
    return DEMO_A_DAY if plan_of(settings) == "demo" else None


def plan_of(settings: Settings) -> str:
    """Return the plan that CoinGecko is asked under."""
    if settings.coingecko_plan != "auto":
        return settings.coingecko_plan
    return "demo" if _key(settings) else "none"


def door_of(settings: Settings) -> Door:
    """Return where CoinGecko is asked, and the key for it."""
    plan = plan_of(settings)
    return Door(_address(settings.coingecko_url, plan), _headers(plan, _key(settings)))


def explain(body: bytes) -> str:
    """Return what a refusal of CoinGecko says, in whichever of its three shapes; "" when it says nothing readable."""
    try:
        return next(_messages(msgspec.json.decode(body)), "")
    except (*UNREADABLE, RecursionError):
        return ""


def _messages(told: object) -> Iterator[str]:
    """Find {"error": text}, {"status": {"error_message": text}}, or the latter under "error"."""
    if not isinstance(told, dict):
        return
    for name in ("error", "error_message", "status"):
        inner = told.get(name)
        if isinstance(inner, str):
            yield inner
        else:
            yield from _messages(inner)


def _cut(answer: Answer, cut: Callable[[bytes], list[bytes]]) -> Found:
    if answer.not_modified:
        return Found()
    problem = explain(answer.body)[:200]  # it may be told with status 200
    try:
        return Found([answer.body], problem=problem) if problem else Found(cut(answer.body))
    except (*UNREADABLE, RecursionError):
        return Found([answer.body], problem="the answer is not what CoinGecko documents")


def _key(settings: Settings) -> str:
    return settings.coingecko_api_key.get_secret_value() if settings.coingecko_api_key else ""


def _address(address: str, plan: str) -> str:
    is_default = address == Settings.model_fields["coingecko_url"].default
    return PRO_URL if plan == "pro" and is_default else address


def _headers(plan: str, key: str) -> dict[str, str]:
    return {f"x-cg-{plan}-api-key": key} if key and plan != "none" else {}
