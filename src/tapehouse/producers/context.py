"""How the frames of each source about the market's context are read, and where they belong.

Producers and engines read by the same, so that what one of them refuses no other takes (law 5).
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec

from tapehouse.catalog import CONTEXT_TOPICS, VENUE
from tapehouse.market.context import Observation
from tapehouse.market.events import Rejected
from tapehouse.market.mentions import Find
from tapehouse.ports import Batch, Routed
from tapehouse.producers import fear_greed, newsapi, rss
from tapehouse.producers.binance import listing
from tapehouse.producers.coingecko import wire as coingecko

MODELS: Mapping[str, type] = {
    VENUE: listing.ListedPair,
    coingecko.MARKETS: coingecko.MarketCoin,
    coingecko.PRICES: coingecko.CoinPrice,
    coingecko.GLOBAL: coingecko.GlobalMarket,
    coingecko.HISTORY: coingecko.HistoryPoint,
    fear_greed.SOURCE: fear_greed.IndexDay,
    rss.SOURCE: rss.FeedEntry,
    newsapi.SOURCE: newsapi.Article,
}
"""What a frame of each source holds; the published schemas are read off these."""

Reader = Callable[[bytes, int], Observation]
"""From a frame and when it was received; raises ValueError or msgspec.MsgspecError when it cannot be read."""

READERS: Mapping[str, Reader] = {
    VENUE: listing.listed_symbol,
    coingecko.MARKETS: coingecko.market_coin,
    coingecko.PRICES: coingecko.coin_price,
    coingecko.GLOBAL: coingecko.global_market,
    coingecko.HISTORY: coingecko.history_point,
    fear_greed.SOURCE: fear_greed.index_day,
    rss.SOURCE: rss.feed_entry,
    newsapi.SOURCE: newsapi.article,
}
"""How the frames of each source are read: by its model, and the step from it to an observation."""


def readers(find: Find) -> Mapping[str, Reader]:
    """Return the same for an engine: items of news are tagged with the coins that `find` finds."""
    return {
        **READERS,
        rss.SOURCE: partial(rss.feed_entry, find=find),
        newsapi.SOURCE: partial(newsapi.article, find=find),
    }


UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)
LONGEST_REASON = 200


def read(batch: Batch, frame: bytes, received_at: int, by: Mapping[str, Reader] = READERS) -> Observation | Rejected:
    """Return what a frame of a batch tells, or why it is refused; nothing raises."""
    try:
        return _read(batch, frame, received_at, by)
    except UNREADABLE as error:
        return Rejected(CONTEXT_TOPICS[batch.shape], _reason(error), frame, received_at)


def context_route(batch: Batch) -> Iterator[Routed]:
    """Tell where each frame of a batch about the market's context belongs; what cannot be read is refused."""
    topic = CONTEXT_TOPICS[batch.shape]
    for frame, received_at in zip(batch.frames, batch.received_at, strict=True):
        told = read(batch, frame, received_at)
        yield Routed(topic, frame, received_at, reason=told.reason if isinstance(told, Rejected) else "")


def _read(batch: Batch, frame: bytes, received_at: int, by: Mapping[str, Reader]) -> Observation:
    reader = by.get(batch.symbol)
    if reader is None:
        raise ValueError(f"a source that is not known: {batch.symbol}")
    observation = reader(frame, received_at)
    if observation.kind != batch.shape:
        raise ValueError(f"{batch.symbol} tells {observation.kind}, not {batch.shape}")
    return observation


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (str(error) or type(error).__name__)[:LONGEST_REASON]
