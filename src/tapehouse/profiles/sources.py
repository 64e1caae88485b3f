"""The sources that are polled, as the settings name them: the same in every profile."""

from collections.abc import Callable, Collection, Iterable

from tapehouse.market.windows import DAY
from tapehouse.producers.coingecko.source import coingecko_source
from tapehouse.producers.fear_greed import fear_greed_source
from tapehouse.producers.news_sources import newsapi_source, rss_source
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Clock
from tapehouse.settings import Settings
from tapehouse.streaming.context import Context

HISTORY_OLD_AFTER = 2 * DAY
"""A coin's daily past that ends longer ago than this (microseconds) is fetched anew."""


def polled_sources(
    settings: Settings,
    names: Iterable[str],
    clock: Clock,
    followed: Callable[[], Iterable[str]],
    history_held: Collection[str] = (),
) -> list[PolledSource]:
    """Return those of the named sources that are polled.

    `followed` gives the symbols that are followed now; the coins in `history_held` have their past already.
    """
    makers: dict[str, Callable[[], PolledSource]] = {
        "coingecko": lambda: coingecko_source(settings, followed, history_held, clock),
        "fear_greed": lambda: fear_greed_source(settings, clock),
        "rss": lambda: rss_source(settings, clock),
        "newsapi": lambda: newsapi_source(settings, clock),
    }
    return [makers[name]() for name in dict.fromkeys(names) if name in makers]


def coins_with_history(context: Context, now: int) -> set[str]:
    """Return the coins whose daily past is known up to a day or two before `now` (microseconds)."""
    return {coin for coin, until in context.past_until().items() if until > now - HISTORY_OLD_AFTER}
