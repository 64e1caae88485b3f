"""Which items of news tell one story: the same link, or nearly the same title from another publisher.

Nothing is merged: every item stays, and names the story by the source and the key of the item that told it first: two
feeds may use one key for two items.
"""

import re
from array import array
from collections.abc import Collection, Iterable
from hashlib import blake2b
from itertools import islice
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from tapehouse.market.windows import DAY

MOST_ITEMS = 8_000
"""Items remembered; the one told longest ago is forgotten first, and a story it began can begin again."""
ALIKE = 0.7
"""The part of the words of two titles, taken together, that both must have."""
FEWEST_SHARED = 4
"""Words two titles must share at least: short titles are alike by chance."""
MOST_COMPARED = 300
"""Items a title is compared with at most: titles made from a template share their words with thousands."""
TOLD_WITHIN = 3 * DAY
"""Microseconds between two items of one story; a title that comes again later is a new story."""

_TRACKING = re.compile(
    r"utm_.*|mc_.*|_ga|_gl|fbclid|gclid|dclid|msclkid|igshid|ref|ref_src|referrer|cmp|cmpid|ncid|guccounter"
    r"|source|src|outputtype|at_medium|at_campaign"
)
_FRONTS = ("www.", "m.", "mobile.", "amp.")
_WORD = re.compile(r"\d[\d.,]*|\w+")
_EMPTY = frozenset(
    (
        *("a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "could", "for", "from", "has", "have", "how"),
        *("in", "into", "is", "it", "its", "may", "might", "of", "on", "or", "said", "say", "says", "than", "that"),
        *("the", "this", "to", "was", "were", "what", "who", "why", "will", "with", "would"),
    )
)
"""Words that are left out of the comparison."""


class Told(msgspec.Struct, frozen=True):
    """An item as it is remembered: its source and key, the story it belongs to, the words of its title, and when.

    `publisher` and `link` are digests, 0 where there is none.
    """

    item: tuple[str, str]
    story: str
    publisher: int
    link: int
    words: tuple[str, ...]
    told_at: int


class Stories:
    """The newest items and the story of each.

    Items have numbers in the order they are told; a word is held once, whatever number of titles has it.
    """

    def __init__(self, most: int = MOST_ITEMS) -> None:
        self._most = most
        self._told = 0
        self._numbers: dict[tuple[str, str], int] = {}
        self._items: dict[int, Told] = {}
        self._by_link: dict[int, int] = {}
        self._by_word: dict[str, array[int]] = {}
        self._words: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._items)

    def story_of(self, item: tuple[str, str], title: str, link: str, told_at: int) -> str:
        """Return the story of an item, named by (source, key), and remember it; its own name when it is the first.

        An item that is known keeps its story whatever its title has become.
        """
        number = self._numbers.get(item)
        known = None if number is None else self._items[number].story
        story = known or self._same(link, words_of(title), told_at) or name_of(item)
        self.remember(item, story, title, link, told_at)
        return story

    def remember(self, item: tuple[str, str], story: str, title: str, link: str, told_at: int) -> None:
        """Remember an item whose story is known already. `told_at` is in microseconds since 1970 UTC."""
        if item in self._numbers:
            self._forget(self._numbers[item])
        self._told += 1
        number, page = self._told, _digest(canonical_link(link))
        words = tuple(self._words.setdefault(word, word) for word in words_of(title))
        self._numbers[item] = number
        self._items[number] = Told(item, story, _digest(publisher_of(link)), page, words, told_at)
        if page:
            self._by_link.setdefault(page, number)
        for word in words:
            self._by_word.setdefault(word, array("q")).append(number)
        if len(self._items) > self._most:
            self._forget(next(iter(self._items)))

    def _same(self, link: str, words: frozenset[str], told_at: int) -> str | None:
        linked = self._by_link.get(_digest(canonical_link(link)))
        if linked is not None:
            return self._items[linked].story
        publisher = _digest(publisher_of(link))
        for number in self._sharing(words):
            told = self._items[number]
            if (
                told.publisher != publisher
                and abs(told_at - told.told_at) <= TOLD_WITHIN
                and are_alike(words, told.words)
            ):
                return told.story
        return None

    def _sharing(self, words: frozenset[str]) -> Iterable[int]:
        """Return items that could be alike: those with the rarest of the words, newest first, a bounded number.

        A title that is alike lacks fewer words than are looked at here, so it has at least one of them.
        """
        lacking = len(words) - int(ALIKE * len(words)) + 1
        rarest = sorted(words, key=lambda word: (len(self._by_word.get(word, ())), word))[:lacking]
        sharing = (number for word in rarest for number in reversed(self._by_word.get(word, ())))
        return dict.fromkeys(islice(sharing, MOST_COMPARED))

    def _forget(self, number: int) -> None:
        told = self._items.pop(number)
        del self._numbers[told.item]
        if self._by_link.get(told.link) == number:
            del self._by_link[told.link]
        for word in told.words:
            holding = self._by_word[word]
            holding.remove(number)
            if not holding:
                del self._by_word[word], self._words[word]


def name_of(item: tuple[str, str]) -> str:
    """Return the name of the story that an item, a source and its key, is the first to tell."""
    return " ".join(item)


def canonical_link(link: str) -> str:
    """Return the address two links of one page have in common: no scheme, tracking, fragment, `www.` or `/amp`.

    Empty for what is no link, and for a link to a whole site, which says nothing of the page.
    """
    try:
        parts = urlsplit(link.strip())
        host = _host(parts.hostname or "")
    except ValueError:
        return ""
    path = re.sub(r"/(?:amp|amp\.html)$", "", parts.path.rstrip("/")).rstrip("/")
    query = sorted((name, value) for name, value in parse_qsl(parts.query) if not _TRACKING.fullmatch(name.lower()))
    if not host or not (path or query):
        return ""
    return host + path + ("?" + urlencode(query) if query else "")


def publisher_of(link: str) -> str:
    """Return the host a link leads to, without `www.`; of a canonical link as well."""
    try:
        return _host(urlsplit(link if "://" in link else f"https://{link}").hostname or "")
    except ValueError:
        return ""


def words_of(title: str) -> frozenset[str]:
    """Return the words of a title that say something, in lower case; numbers without their separators."""
    found = (word.replace(",", "").rstrip(".") for word in _WORD.findall(title.casefold()))
    return frozenset(word for word in found if word and word not in _EMPTY)


def are_alike(one: frozenset[str], other: Collection[str]) -> bool:
    """Tell whether two titles say the same: most of their words, and every number. No word is in `other` twice."""
    shared = sum(word in one for word in other)
    if shared < max(FEWEST_SHARED, ALIKE * (len(one) + len(other) - shared)):
        return False
    return not any(word[0].isdigit() for word in one.symmetric_difference(other))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") if text else 0


def _host(host: str) -> str:
    front = next((front for front in _FRONTS if host.startswith(front)), "")
    return host.removeprefix(front).lower()
