"""RSS and Atom: a feed is cut into its entries, whatever is wrong with it, and an entry becomes an observation.

An entry travels as the fields feedparser gave, before any cleaning:

{"feed":"https://www.coindesk.com/arc/outboundfeeds/rss","id":"a0b4a6ba-...","link":"https://...",
 "title":"Circle and ...","summary":"The stablecoin issuer ...","published":"Fri, 25 Sep 2026 14:41:53 +0000",
 "published_parsed":[2026,9,25,14,41,53,4,268,0]}
"""

import codecs
import io
import re
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from tapehouse.market.context import Observation
from tapehouse.market.mentions import Find, mentions
from tapehouse.market.stories import publisher_of
from tapehouse.producers.news_item import NewsItem

SOURCE = "rss"
NO_FEED = "not a feed: no entry could be read in this answer"
MOST_ENTRIES = 500
"""Entries taken of one answer, the first; feeds give the newest first, and some tens of them."""
LONGEST_PROLOG = 1_000
"""Bytes within which an XML declaration must end."""
LONGEST_FIELD = 20_000
"""Characters of one field of an entry that travel."""


class FeedEntry(msgspec.Struct):
    """An entry of a feed, by feedparser's names."""

    feed: str  # the feed's address, without user, query and fragment
    id: str = ""
    link: str = ""
    title: str = ""
    summary: str = ""
    published: str = ""
    published_parsed: list[int] | None = None  # year, month, day, hour, minute, second, ... in UTC

    def to_observation(self, received_at: int, find: Find = mentions) -> Observation:
        """Return the item; raise ValueError when there is nothing to read in it."""
        return NewsItem(
            told_by=f"{SOURCE}:{feed_name(self.feed)}",
            identity=self.id,
            title=self.title,
            link=self.link,
            summary=self.summary,
            published=self.published,
            published_at=_moment(self.published_parsed),
        ).to_observation(received_at, find)


_ENTRY = msgspec.json.Decoder(FeedEntry)
_EMPTY = re.compile(rb"<\w{1,20}:(?:description|encoded)\s*(?:/>|></\w{1,20}:\w{1,20}>)")
"""Empty twins of a description, such as CoinDesk's `<dc:description/>`: feedparser lets the last of them win."""
_REFERENCE = re.compile(rb"&#(?:[xX]0*([0-9a-fA-F]+)|0*([0-9]+))")
"""A character by its number; feedparser gives up the whole feed for a number that is none, such as half of an emoji."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0?\0", "utf-16-le"),
    (b"\0<\0?", "utf-16-be"),
)
"""How a feed begins that is not in bytes of ASCII."""


def feed_entry(frame: bytes, received_at: int, find: Find = mentions) -> Observation:
    """Read an entry; raise msgspec.MsgspecError or ValueError when it is none, such as an answer that is no feed."""
    try:
        entry = _ENTRY.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(NO_FEED) from error
    return entry.to_observation(received_at, find)


class Cut(msgspec.Struct, frozen=True):
    """The entries of an answer as frames, oldest first, and how many more there were than are taken."""

    frames: list[bytes]
    left_out: int = 0


def split(body: bytes, address: str, content_type: str = "", base: str = "") -> list[bytes]:
    """Return the frames of `cut`."""
    return cut(body, address, content_type, base).frames


def cut(body: bytes, address: str, content_type: str = "", base: str = "") -> Cut:
    """Return the bytes of each entry of a feed.

    A feed that is broken gives the entries that can be read; an answer that is none, or is broken so that none can,
    comes back whole. `address` is that of the feed, `base` where it came from in the end: links may be relative to it.
    """
    parsed = _parse(body, content_type)
    entries = parsed.get("entries") or []
    frames = [_frame(entry, address, base or address) for entry in entries[:MOST_ENTRIES]]
    if not frames and (parsed.get("bozo") or not parsed.get("version")):
        return Cut([body])
    return Cut(list(reversed(frames)), len(entries) - len(frames))


def shown_address(address: str) -> str:
    """Return a feed's address without what may be secret in it: user, query, fragment."""
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def feed_name(address: str) -> str:
    """Return what a feed is called: its host, without `www.`, and its path."""
    return f"{publisher_of(address)}{urlsplit(address).path.rstrip('/')}"


def _parse(body: bytes, content_type: str) -> dict[str, Any]:
    text, charset = _as_utf8(body, content_type)
    prolog, end, rest = text[:LONGEST_PROLOG].partition(b"?>")
    if prolog.startswith(b"<?") and not end:
        return {"bozo": True}
    # feedparser looks for the declaration on the whole first line, in cubic time: the line has to end with it.
    text = _EMPTY.sub(b"", prolog + end + b"\n" + rest + text[LONGEST_PROLOG:] if prolog.startswith(b"<?") else text)
    text = _REFERENCE.sub(_a_character, text)
    import feedparser  # type: ignore[import-untyped]  # noqa: PLC0415  # no stubs; imported with the first feed

    headers = {"content-type": f"application/xml; charset={charset}" if charset else "application/xml"}
    try:
        parsed = feedparser.parse(
            io.BytesIO(text), response_headers=headers, sanitize_html=False, resolve_relative_uris=False
        )
    except Exception:  # noqa: BLE001  # a parser of twenty years of broken feeds fails in as many ways: bad data, a value
        return {"bozo": True}
    return dict(parsed)


def _a_character(reference: re.Match[bytes]) -> bytes:
    """Return a reference as it is where it names a character, else the character for what is unknown."""
    in_hex, in_tens = reference.groups()
    number = int(in_hex or in_tens, 16 if in_hex else 10) if len(in_hex or in_tens) < 8 else sys.maxunicode + 1
    is_one = number <= sys.maxunicode and not 0xD800 <= number <= 0xDFFF  # the halves of UTF-16 are none
    return reference.group() if is_one else b"&#xFFFD"


def _as_utf8(body: bytes, content_type: str) -> tuple[bytes, str]:
    """Return a feed and the charset to read it by, "" for what it declares itself or else looks like.

    Bytes that are UTF-8 and not ASCII are UTF-8, whatever is declared; what says by its first bytes that it is UTF-16
    or UTF-32 is made UTF-8.
    """
    for mark, charset in _MARKS:
        if body.startswith(mark):
            return body.decode(charset, "replace").lstrip("\ufeff").encode(), "utf-8"
    try:
        is_utf8 = not body.isascii() and bool(body.decode())
    except UnicodeDecodeError:
        is_utf8 = False
    told = content_type.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    return body, "utf-8" if is_utf8 else told


def _frame(entry: dict[str, Any], address: str, base: str) -> bytes:
    told: dict[str, Any] = {name: entry[name][:LONGEST_FIELD] for name in _TEXTS if isinstance(entry.get(name), str)}
    if link := told.pop("link", ""):
        told |= _link(link, told.get("id", ""), base)
    for name in ("published", "updated"):
        if isinstance(entry.get(name), str) and entry[name].strip():
            told["published"] = entry[name][:LONGEST_FIELD]
            if when := entry.get(f"{name}_parsed"):
                told["published_parsed"] = list(when)
            break
    return msgspec.json.encode({"feed": shown_address(address), **told})


def _link(link: str, identity: str, base: str) -> dict[str, str]:
    """Return the link as an address; feedparser takes an id for a link where the publisher does not deny it."""
    try:
        absolute = urljoin(shown_address(base), link)
    except ValueError:
        return {}
    return {} if link == identity and absolute != link else {"link": absolute}


_TEXTS = ("id", "link", "title", "summary")


def _moment(parsed: list[int] | None) -> datetime | None:
    """Return the moment of feedparser's nine numbers, None when there is no such moment."""
    try:
        year, month, day, hour, minute, second = (parsed or [])[:6]
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
