"""Made-up news of a seeded market: one story every few minutes of the playhead, some corrected after a while.

All names, firms and words are invented. Several outlets tell the same story in their own words.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from tapehouse.exchange.context.coins import coins_of
from tapehouse.exchange.market_view import MarketView
from tapehouse.market.windows import MINUTE, SECOND

OUTLETS = ("ledger-daily", "block-herald", "chain-gazette", "coin-wire")
"""Who tells the stories: the names of feeds."""
STORY_EVERY = 4 * MINUTE
CORRECTED_AFTER = 6 * MINUTE
_CORRECTED = 6
"""One story of so many is corrected."""

_HEADLINES = (
    "{name} climbs {percent}% as buyers return to the book",
    "{name} reserves at {firm} reach a record",
    "Developers ship the {upgrade} upgrade to {name} without a hitch",
    "{firm} approves {symbol} for its clients, shares surge",
    "{name} slides {percent}% after {firm} halts withdrawals",
    "Hackers drain ${amount} million from a bridge to {name}",
    "Regulator sues {firm} over {symbol} losses",
    "What the {upgrade} vote means for holders of {symbol}",
    "{firm} sees no one near a screen: a link to its {name} desk is enough",
    "Café chain {firm} tries payments in {symbol}… for one week",
    "Markets wait for the minutes; {name} and {other} hold still",
)
_FIRMS = ("Halden Custody", "Norwyn Bank", "Brücke Exchange", "Tern & Sons", "Aldous Pay", "Quay Street Capital")
_UPGRADES = ("Lantern", "Ostrava", "Meridian", "Juniper")
_AUTHORS = ("Ines Varga", "Tobias Rø", "Mae Okafor", "")
_SUMMARY = (
    "Volume in {symbol} was {amount} million over the hour, {firm} said. Nobody at the {upgrade} working group would "
    "comment. Traders called it an ordinary day in an invented market."
)


class Story(NamedTuple):
    """A story as it reads now; `published_at` in microseconds UTC."""

    number: int
    published_at: int
    title: str
    retold: str
    summary: str
    author: str
    slug: str
    coin: str


class Stories:
    """The stories up to the playhead, newest first."""

    def __init__(self, market: MarketView, seed: int) -> None:
        self._market = market
        self._seed = seed
        self._coins = coins_of(market.tape.pairs.values())

    def now(self) -> int:
        """Return the time of the playhead."""
        return self._market.now()

    def before(self, time: int) -> Iterator[Story]:
        """Give the stories published before a time, newest first; they do not end."""
        for number in range(time // STORY_EVERY, 0, -1):
            story = self.story(number)
            if story.published_at < time:
                yield story

    def story(self, number: int) -> Story:
        """Return a story as it reads at the playhead."""
        chance = random.Random(f"{self._seed}/story/{number}")  # noqa: S311  # must repeat
        coin, other = chance.choice(self._coins), chance.choice(self._coins)
        words = {
            "name": coin.name,
            "symbol": coin.symbol,
            "other": other.name,
            "percent": f"{chance.uniform(0.4, 9):.1f}",
            "amount": chance.randint(3, 480),
            "firm": chance.choice(_FIRMS),
            "upgrade": chance.choice(_UPGRADES),
        }
        published_at = number * STORY_EVERY + chance.randint(0, 180) * SECOND
        title = chance.choice(_HEADLINES).format(**words)
        slug = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in title.lower())
        if chance.randrange(_CORRECTED) == 0 and self.now() >= published_at + CORRECTED_AFTER:
            title += " (corrected)"
        return Story(
            number,
            published_at,
            title,
            f"{words['firm']} watch: {title}",
            _SUMMARY.format(**words),
            chance.choice(_AUTHORS),
            f"{'-'.join(slug.split('-')[:8])}-{number}",
            coin.symbol,
        )
