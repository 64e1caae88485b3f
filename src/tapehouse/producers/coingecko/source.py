"""CoinGecko polled: the coins of the followed symbols, their prices in between, the whole market, and the past year."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import msgspec
import structlog

from tapehouse.ports import Shape
from tapehouse.producers.coingecko.coins import Coins
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

COINS_A_PAGE = 100
"""Coins of one question: their ids fit an address."""
PRO_URL = "https://pro-api.coingecko.com/api/v3"
DEMO_A_DAY, DEMO_INTERVAL = 320, 600.0
"""A demo key has 10,000 questions a month; so few a day, and so many seconds between two of a kind, keep within it."""
GLOBAL_INTERVAL = 600.0
HISTORY_DAYS = 365
"""What CoinGecko gives without a paid plan."""
HISTORY_PAUSE, HISTORY_INTERVAL = 30.0, 3600.0
"""Seconds between two coins' histories, and between two looks whether there is a new coin."""
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

    shape: Shape = "market_data"

    def __init__(self, door: Door, coins: Coins, interval: float) -> None:
        self.interval = interval
        self._door = door
        self._coins = coins

    async def _pages(self, ask: Ask, path: str, cut: Callable[[bytes], list[bytes]], **params: str) -> Found:
        await learn(self._door, ask, self._coins)
        frames: list[bytes] = []
        coins = self._coins.ids()
        for first in range(0, len(coins), COINS_A_PAGE):
            ids = ",".join(coins[first : first + COINS_A_PAGE])
            answer = await self._door.ask(ask, path, ids=ids, **params)
            found = _cut(answer, cut)
            if found.problem:
                return Found([*frames, *found.frames], problem=found.problem)
            frames += found.frames
        return Found(frames)


class Markets(_OfCoins):
    """`/coins/markets`: everything CoinGecko says of a coin."""

    name, source = "markets", MARKETS

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the followed coins."""
        return await self._pages(ask, "coins/markets", split_markets, vs_currency="usd", per_page=str(COINS_A_PAGE))


class Prices(_OfCoins):
    """`/simple/price`: the newest figures of the same coins, cheaper to ask for."""

    name, source = "prices", PRICES

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the followed coins."""
        wanted = ("market_cap", "24hr_vol", "24hr_change", "last_updated_at")
        more = {f"include_{name}": "true" for name in wanted}
        return await self._pages(ask, "simple/price", split_prices, vs_currencies="usd", precision="full", **more)


class Global:
    """`/global`: the market as a whole, and whose part of it is how large."""

    name, source = "global", GLOBAL
    shape: Shape = "market_data"

    def __init__(self, door: Door, interval: float) -> None:
        self.interval = interval
        self._door = door

    async def fetch(self, ask: Ask) -> Found:
        """Ask."""
        return _cut(await self._door.ask(ask, "global"), split_global)


class History:
    """`/market_chart`: the past year of each followed coin, one coin after the other, once; `held` have theirs."""

    name, source = "history", HISTORY
    shape: Shape = "market_data"
    interval = HISTORY_INTERVAL

    def __init__(self, door: Door, coins: Coins, held: Collection[str]) -> None:
        self._door = door
        self._coins = coins
        self._done = set(held)

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the next coin that lacks its past."""
        await learn(self._door, ask, self._coins)
        coin = next((coin for coin in self._coins.ids() if coin not in self._done), None)
        if coin is None:
            return Found()
        try:
            found = await chart(self._door, ask, coin, HISTORY_DAYS)
        except (RefusedError, GoneError) as error:  # this coin's past is not to be had: go on with the next
            log.warning("history_refused", source=self.source, coin=coin, why=str(error))
            found = Found()
        if not found.problem:
            self._done.add(coin)
        return msgspec.structs.replace(found, next_in=HISTORY_PAUSE)


async def chart(door: Door, ask: Ask, coin: str, days: int) -> Found:
    """Ask for the last days of a coin, a value a day; raise what `ask` raises."""
    params = {"vs_currency": "usd", "days": str(days), "interval": "daily"}
    answer = await door.ask(ask, f"coins/{coin}/market_chart", **params)
    return _cut(answer, lambda body: split_chart(coin, body))


def coingecko_source(
    settings: Settings, followed: Callable[[], Iterable[str]], history_held: Collection[str], clock: Clock
) -> PolledSource:
    """Return the source as it is set: for the symbols `followed` gives, whose coins `history_held` have their past."""
    plan, door = plan_of(settings), door_of(settings)
    least = DEMO_INTERVAL if plan == "demo" else 0.0
    coins = Coins(followed, settings.coingecko_pins())
    upstreams: list[Upstream] = [
        Markets(door, coins, max(settings.coingecko_interval, least)),
        Prices(door, coins, max(settings.coingecko_price_interval, least)),
        Global(door, max(GLOBAL_INTERVAL, least)),
        *([History(door, coins, history_held)] if settings.coingecko_history else []),
    ]
    return asked_source(settings, upstreams, coins, clock)


def asked_source(
    settings: Settings, upstreams: Sequence[Upstream], coins: Coins, clock: Clock, *, alone: bool = True
) -> PolledSource:
    """Return these questions as a source within what CoinGecko allows; see `PolledSource` for `alone`."""
    return PolledSource(
        MARKETS,
        upstreams,
        settings.state,
        clock=clock,
        per_minute=settings.coingecko_per_minute,
        per_day=DEMO_A_DAY if plan_of(settings) == "demo" else None,
        secrets=[_key(settings)],
        explain=explain,
        notes=coins.notes,
        alone=alone,
    )


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


async def learn(door: Door, ask: Ask, coins: Coins) -> None:
    """Ask for the list of all coins where only it can explain a ticker."""
    if coins.needs_list():
        answer = await door.ask(ask, "coins/list")
        try:
            coins.learn(answer.body)
        except UNREADABLE as error:
            log.warning("coins_not_listed", source=MARKETS, why=str(error)[:200])


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
