"""News feeds as publishers really write them: RSS and Atom, with and without dates and ids, HTML, odd time zones.

Any name below `/feeds/` is a feed; the four `OUTLETS` each have a manner of their own, others take one of these.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta, timezone
from email.utils import format_datetime
from itertools import islice
from xml.sax.saxutils import escape

from tapehouse.exchange.context.answers import Answer, http_date, to_time
from tapehouse.exchange.context.stories import OUTLETS, Stories, Story
from tapehouse.market.windows import DAY

ITEMS = 20
_LOOKED_AT = 200
_EAST = timezone(timedelta(hours=2))
_RSS = "application/rss+xml; charset=utf-8"
_ATOM = "application/atom+xml; charset=utf-8"


class Feeds:
    """Answers of `/feeds/<name>`."""

    name = "feeds"

    def __init__(self, stories: Stories) -> None:
        self._stories = stories

    def answer(self, path: str, _query: Mapping[str, str], _headers: Mapping[str, str]) -> Answer:
        """Give the newest stories this feed carries."""
        name = path.strip("/")
        if not name or "/" in name:
            return self.refusal(404)
        told = islice(self._stories.before(self._stories.now()), _LOOKED_AT)
        stories = list(islice((story for story in told if _carries(name, story)), ITEMS))
        write, media_type = _MANNERS[_manner(name)]
        return Answer(write(name, stories).encode(), media_type, changed_at=stories[0].published_at)

    def refusal(self, status: int) -> Answer:
        """Refuse with a page, as web servers do."""
        page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
        return Answer(page.encode(), "text/html; charset=utf-8", status)


def _carries(name: str, story: Story) -> bool:
    """Tell whether a feed carries a story: about two of three."""
    return hashlib.sha256(f"{name}/{story.number}".encode()).digest()[0] % 3 > 0


def _manner(name: str) -> str:
    return name if name in OUTLETS else OUTLETS[hashlib.sha256(name.encode()).digest()[0] % len(OUTLETS)]


def _title(name: str) -> str:
    return name.replace("-", " ").title()


def _link(host: str, story: Story) -> str:
    return f"https://{host}.example/{to_time(story.published_at):%Y/%m/%d}/{story.slug}"


def _ledger_daily(name: str, stories: list[Story]) -> str:
    """RSS with CDATA and ids that are no addresses."""
    return _rss(
        name,
        stories,
        lambda story: (
            f"<title><![CDATA[{story.title}]]></title><link>{_link('newswire', story)}</link>"
            f'<guid isPermaLink="false">{name}-{story.number}</guid>'
            f"<pubDate>{http_date(story.published_at)}</pubDate>"
            f"<description><![CDATA[{story.summary}]]></description><dc:creator>{escape(story.author)}</dc:creator>"
            f"<category>{story.coin}</category>"
        ),
    )


def _block_herald(name: str, stories: list[Story]) -> str:
    """RSS without ids: HTML in its summaries, links with tracking words, two hours east of UTC."""
    return _rss(
        name,
        stories,
        lambda story: (
            f"<title>{escape(story.title)}</title>"
            f"<link>{_link('newswire', story)}?utm_source=rss&amp;utm_medium=feed</link>"
            f"<pubDate>{format_datetime(to_time(story.published_at).astimezone(_EAST))}</pubDate>"
            f"<description>{escape(_as_html(story))}</description>"
        ),
    )


def _coin_wire(name: str, stories: list[Story]) -> str:
    """RSS with no id; every ninth item has no time, every thirteenth one of next year."""

    def dated(story: Story) -> str:
        if story.number % 9 == 0:
            return ""
        return f"<pubDate>{http_date(story.published_at + (365 * DAY if story.number % 13 == 0 else 0))}</pubDate>"

    return _rss(
        name,
        stories,
        lambda story: f"<title>{escape(story.retold)}</title><link>{_link(name, story)}</link>{dated(story)}",
    )


def _chain_gazette(name: str, stories: list[Story]) -> str:
    """Atom."""
    entries = "\n".join(
        f'<entry><id>tag:{name}.example,2026:{story.number}</id><title type="html">{escape(story.title)}</title>'
        f'<link rel="alternate" href="{_link(name, story)}"/>'
        f"<published>{to_time(story.published_at):%Y-%m-%dT%H:%M:%SZ}</published>"
        f"<updated>{to_time(story.published_at):%Y-%m-%dT%H:%M:%SZ}</updated>"
        f"<author><name>{escape(story.author or _title(name))}</name></author>"
        f'<summary type="html">{escape(_as_html(story))}</summary></entry>'
        for story in stories
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
        f"<id>tag:{name}.example,2026:feed</id><title>{_title(name)}</title>"
        f"<updated>{to_time(stories[0].published_at):%Y-%m-%dT%H:%M:%SZ}</updated>\n{entries}\n</feed>\n"
    )


def _rss(name: str, stories: list[Story], item: Callable[[Story], str]) -> str:
    items = "\n".join(f"<item>{item(story)}</item>" for story in stories)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>'
        f"<title>{_title(name)}</title><link>https://{name}.example/</link><description>Made-up news"
        f"</description><language>en</language><lastBuildDate>{http_date(stories[0].published_at)}</lastBuildDate>"
        f"<ttl>5</ttl>\n{items}\n</channel></rss>\n"
    )


def _as_html(story: Story) -> str:
    return (
        f'<p>{escape(story.summary)} <a href="https://newswire.example/?x=1">Read&nbsp;on</a></p>'
        '<script>alert("not for readers")</script><img src="https://newswire.example/pixel.gif" onerror="alert(1)">'
    )


_MANNERS: dict[str, tuple[Callable[[str, list[Story]], str], str]] = {
    "ledger-daily": (_ledger_daily, _RSS),
    "block-herald": (_block_herald, _RSS),
    "chain-gazette": (_chain_gazette, _ATOM),
    "coin-wire": (_coin_wire, _RSS),
}
