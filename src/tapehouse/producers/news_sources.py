"""The sources of news as they are polled: each feed by itself, and NewsAPI's search where there is a key."""

import asyncio
import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from urllib.parse import unquote, urlsplit

import structlog

from tapehouse.errors import ConfigError, RateLimitedError
from tapehouse.ports import Shape
from tapehouse.producers import newsapi, rss
from tapehouse.producers.allowance import SpentError
from tapehouse.producers.poll_status import MOST_NAMED
from tapehouse.producers.polled_source import PolledSource
from tapehouse.producers.polling import Ask, Clock, Found
from tapehouse.settings import Settings

LARGEST_FEED = 2 * 1024 * 1024
"""Bytes; a feed seldom has half of one million, and the reading of a hostile one takes seconds for each."""
SPENT_FOR = 3600.0
"""Seconds to wait after NewsAPI has said that the day's requests are spent: it does not say for how long."""
ARTICLES_AT_ONCE = 100
"""Articles of one answer at most; the free plan has no more of a search."""
SECRET_NAMES = re.compile(r"(\w+[_-]?)?(key|token)|secret|sig|signature|auth|pass|password", re.IGNORECASE)
SHORTEST_SECRET, LONG_AS_A_SECRET = 8, 16
"""Characters from which a value is hidden that is called a secret, or that has letters and digits and looks like one.
A shorter one would be found, and hidden, in any text."""


log = structlog.get_logger(__name__)


class Delivered:
    """The frames of the last answer, so that the next one brings what is new in it and no more.

    Only in memory: after a restart everything that is still served is told again, and known ones are dropped then.
    """

    def __init__(self) -> None:
        self._last: frozenset[bytes] = frozenset()

    def take(self, frames: Sequence[bytes]) -> list[bytes]:
        """Return the frames that were not in the answer before."""
        digests = [blake2b(frame, digest_size=16).digest() for frame in frames]
        fresh = [frame for frame, digest in zip(frames, digests, strict=True) if digest not in self._last]
        self._last = frozenset(digests)
        return fresh


class Feed:
    """One feed. `reading` lets one feed at a time be taken apart, whatever number arrives together."""

    source = rss.SOURCE
    shape: Shape = "news"
    can_end = True

    def __init__(self, address: str, name: str, interval: float, reading: asyncio.Lock) -> None:
        self.name = name
        self.interval = interval
        self._address = address
        self._reading = reading
        self._delivered = Delivered()
        self.left_out = 0
        """Entries of the last answer that were not taken."""

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the feed, and return its new entries."""
        answer = await ask(self._address)
        if answer.not_modified:
            return Found()
        if len(answer.body) > LARGEST_FEED:
            return Found(problem=f"{self.name}: a feed larger than {LARGEST_FEED} bytes")
        async with self._reading:
            cut = await asyncio.to_thread(rss.cut, answer.body, self._address, answer.content_type, answer.address)
        if cut.left_out and not self.left_out:
            log.warning("entries_left_out", feed=self.name, taken=len(cut.frames), left_out=cut.left_out)
        self.left_out = cut.left_out
        broken = cut.frames == [answer.body]
        return Found(self._delivered.take(cut.frames), problem=f"{self.name}: {rss.NO_FEED}" if broken else "")


class Search:
    """NewsAPI's `/v2/everything` for one question, newest first."""

    name = "everything"
    source = newsapi.SOURCE
    shape: Shape = "news"
    can_end = False

    def __init__(self, url: str, key: str, query: str, interval: float, *, delay_hours: int) -> None:
        self.interval = interval
        self._address = f"{url}/everything"
        self._params = {"q": query, "language": "en", "sortBy": "publishedAt", "pageSize": str(ARTICLES_AT_ONCE)}
        self._headers = {"X-Api-Key": key}
        self._delay_hours = delay_hours
        self._delivered = Delivered()
        self._has_asked = self._may_miss = False

    def notes(self) -> tuple[str, ...]:
        """Say how late articles are, and whether more came at once than an answer holds."""
        late = f"NewsAPI's free plan tells articles {self._delay_hours} hours after they are published."
        missed = (
            f"All {ARTICLES_AT_ONCE} articles of the last answer were new, there may be more: narrow "
            "TAPEHOUSE_NEWSAPI_QUERY, or lower TAPEHOUSE_NEWSAPI_INTERVAL."
        )
        return (*([late] if self._delay_hours else []), *([missed] if self._may_miss else []))

    async def fetch(self, ask: Ask) -> Found:
        """Ask for the newest articles, and return those that were not among the last."""
        try:
            answer = await ask(self._address, params=self._params, secret_headers=self._headers)
        except SpentError:
            raise
        except RateLimitedError as error:
            raise RateLimitedError(str(error), retry_after=max(error.retry_after, SPENT_FOR)) from error
        if answer.not_modified:
            return Found()
        frames = newsapi.split(answer.body, self._delay_hours)
        problem = newsapi.refusal(answer.body) or "NewsAPI: not an answer" if frames == [answer.body] else ""
        fresh = self._delivered.take(frames)
        self._may_miss = self._has_asked and len(fresh) >= ARTICLES_AT_ONCE
        self._has_asked = not problem
        return Found(fresh, problem=problem)


def rss_source(settings: Settings, clock: Clock) -> PolledSource:
    """Return the feeds of the settings as one source, each polled by itself."""
    polled = feeds(settings.rss_feeds, settings.rss_interval)
    return PolledSource(
        rss.SOURCE,
        polled,
        settings.state,
        clock=clock,
        secrets=secrets_of(settings.rss_feeds),
        notes=lambda: left_out_notes(polled),
    )


def newsapi_source(settings: Settings, clock: Clock) -> PolledSource:
    """Return NewsAPI as a source; raise ConfigError when there is no key."""
    if settings.newsapi_key is None:
        raise ConfigError("TAPEHOUSE_SOURCES names newsapi, which needs a key: set NEWSAPI_KEY, or leave it out")
    key = settings.newsapi_key.get_secret_value()
    is_free = settings.newsapi_plan == "developer"
    delay = newsapi.DEVELOPER_DELAY if is_free else 0
    query, interval = settings.newsapi_query, settings.newsapi_interval
    search = Search(settings.newsapi_url, key, query, interval, delay_hours=delay)
    return PolledSource(
        newsapi.SOURCE,
        [search],
        settings.state,
        clock=clock,
        per_day=newsapi.DAY_OF_REQUESTS if is_free else None,
        secrets=[key],
        explain=newsapi.refusal,
        notes=search.notes,
    )


def left_out_notes(polled: Iterable[Feed]) -> tuple[str, ...]:
    """Say which feeds, the first of them by name, tell more entries at once than are taken."""
    cut = [f"{feed.name} ({feed.left_out} more)" for feed in polled if feed.left_out]
    if not cut:
        return ()
    more = f" and {len(cut) - MOST_NAMED} more" if len(cut) > MOST_NAMED else ""
    return (f"only the first {rss.MOST_ENTRIES} entries are taken of {', '.join(cut[:MOST_NAMED])}{more}",)


def secrets_of(addresses: Iterable[str]) -> list[str]:
    """Return what looks secret in addresses, as it is written there and as it is meant: passwords, keys, tokens.

    A publisher may repeat it in a page or in an entry. A word that is searched for is no secret, and stays.
    """
    found: set[str] = set()
    for parts in map(urlsplit, addresses):
        pairs = [pair.partition("=")[::2] for pair in parts.query.split("&")]
        found |= {value for name, value in pairs if SECRET_NAMES.fullmatch(name) or _looks_secret(value)}
        found.add(parts.password or "")
    written = found | {unquote(value) for value in found}
    return sorted((value for value in written if len(value) >= SHORTEST_SECRET), key=len, reverse=True)


def _looks_secret(value: str) -> bool:
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdigit, value))
    return len(value) >= LONG_AS_A_SECRET and letters and digits


def feeds(addresses: Iterable[str], interval: float) -> list[Feed]:
    """Return a poll for each address, under names that tell them apart and nothing secret."""
    reading = asyncio.Lock()
    named: dict[str, str] = {}
    for address in dict.fromkeys(addresses):
        name = rss.feed_name(address)
        if name in named:
            name = f"{name} {blake2b(address.encode(), digest_size=4).hexdigest()}"
        named[name] = address
    return [Feed(address, name, interval, reading) for name, address in named.items()]
