"""What feeds and NewsAPI have in common: an item of news, from a publisher's words to an observation."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import msgspec

from tapehouse.market.context import Observation, Value
from tapehouse.market.mentions import Find, mentions
from tapehouse.market.stories import publisher_of
from tapehouse.market.windows import MINUTE
from tapehouse.producers.headlines import sentiment_of, tone_of
from tapehouse.producers.plain_text import plain

LONGEST_TITLE = 300
LONGEST_SUMMARY = 1_000
LONGEST_KEY = 500
LONGEST_LINK = 2_000
"""Characters kept; a link longer than that is none."""
TITLE_OF_SUMMARY = 120
"""Characters of the summary that stand in for a title that is missing."""
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
"""No news is older than the web."""
CLOCKS_DIFFER = 15 * MINUTE
"""Microseconds a publisher's clock may be ahead; what was published later than that was not."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NewsItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as a source told it, markup and all.

    `told_by` is the source and, for a feed, which; `identity` is the publisher's own id, empty when there is none.
    `published` is what is claimed, as text, and `published_at` the moment it means, None when it means none.
    """

    told_by: str
    identity: str
    title: str
    link: str
    summary: str
    published: str
    published_at: datetime | None
    publisher: str = ""

    def to_observation(self, received_at: int, find: Find = mentions, **more: Value) -> Observation:
        """Return the item cleaned, tagged by `find` and scored; raise ValueError when there is nothing to read in it.

        What depends on when it was received is no field, so that the same item is the same fields at every poll.
        """
        summary = plain(self.summary, LONGEST_SUMMARY)
        title = plain(self.title, LONGEST_TITLE) or plain(summary, TITLE_OF_SUMMARY)
        if not title:
            raise ValueError("an item with neither a title nor a summary")
        link = _safe_link(self.link)
        meant = find(f"{title}\n{summary}")
        sentiment = sentiment_of(title)
        fields: dict[str, Value] = {
            "title": title,
            "link": link,
            "summary": summary,
            "publisher": plain(self.publisher, LONGEST_TITLE) or publisher_of(link),
            "published": self.published_at.isoformat() if self.published_at else plain(self.published, LONGEST_TITLE),
            "tickers": meant.tickers,
            "coins": meant.coins,
            "sentiment": sentiment,
            "tone": tone_of(sentiment),
            **more,
        }
        return Observation("news", self.told_by, self._key(link, title), self._when(received_at), received_at, fields)

    def _key(self, link: str, title: str) -> str:
        key = plain(self.identity, LONGEST_LINK) or link
        return (
            key if key and len(key) <= LONGEST_KEY else sha256(f"{key or title}\n{self.told_by}".encode()).hexdigest()
        )

    def _when(self, received_at: int) -> int:
        """Return when it was published, or received when what is claimed is missing or cannot be."""
        if self.published_at is None or self.published_at < EARLIEST:
            return received_at
        at = (self.published_at - _EPOCH) // timedelta(microseconds=1)
        return received_at if at > received_at + CLOCKS_DIFFER else at


def _safe_link(link: str) -> str:
    """Return a link that leads to a page of the web, empty for anything else (`javascript:`, an e-mail, a path)."""
    link = plain(link, LONGEST_LINK + 1).replace(" ", "%20")
    is_web = link.lower().startswith(("https://", "http://")) and publisher_of(link)
    return link if is_web and len(link) <= LONGEST_LINK else ""
