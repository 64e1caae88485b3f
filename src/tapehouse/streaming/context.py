"""Frames about the market's context become versions: each is read, and kept when it tells something new (law 1).

What is told is the same whoever polled it and however often: the same key with the same fields is one row.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import polars as pl

from tapehouse import telemetry
from tapehouse.catalog import CONTEXT_TABLES, MARKET_DATA
from tapehouse.market.context import MOST_KEYS, Known, KnownPast, Version
from tapehouse.market.events import Rejected
from tapehouse.market.mentions import Find, mentions
from tapehouse.ports import Batch, Lake
from tapehouse.producers.coingecko import wire as coingecko
from tapehouse.producers.context import read, readers
from tapehouse.streaming.story_links import StoryLinks

MOST_REFUSED = 1_000
"""So many refused frames are remembered: an upstream tells the same fault at every poll."""


class Context:
    """What is known of the market's context; one a process, used from the engine's thread.

    `find` finds the coins that an item of news mentions.
    """

    def __init__(self, find: Find = mentions) -> None:
        self._readers = readers(find)
        self._known: dict[str, Known] = {kind: Known() for kind in CONTEXT_TABLES}
        self._past = KnownPast()
        self._refused: dict[bytes, None] = {}
        self._links = StoryLinks()

    def recall(self, kind: str, rows: Iterable[tuple[str, str, str, int, int]]) -> None:
        """Remember stored versions as (source, key, fields, observed_at, known_at), oldest first."""
        for source, key, fields, observed_at, known_at in rows:
            if source == coingecko.HISTORY:
                self._past.recall(key, fields, observed_at, known_at)
                continue
            told = self._links.recall(source, key, fields, observed_at) if kind == "news" else fields
            self._known[kind].recall(source, key, told, observed_at, known_at)

    def past_until(self) -> dict[str, int]:
        """Return of each coin whose past is known the time of its newest day (microseconds)."""
        return self._past.newest()

    def days_held(self, coin: str, start: int, end: int) -> int:
        """Return how many days of the past of a coin are known of [start, end) (microseconds)."""
        return self._past.points(coin, start, end)

    def take(self, batch: Batch) -> tuple[list[Version], list[Rejected]]:
        """Read a batch; return what is new in it, and what is refused for the first time."""
        versions, rejected = [], []
        for frame, received_at in zip(batch.frames, batch.received_at, strict=True):
            observation = read(batch, frame, received_at, self._readers)
            if isinstance(observation, Rejected):
                rejected += self._refuse(observation)
                continue
            known = self._past if observation.source == coingecko.HISTORY else self._known[observation.kind]
            known_at = known.take(observation)
            outcome = "known" if known_at is None else "new"
            telemetry.observations.labels(batch.symbol, outcome).inc()
            if known_at is not None:
                observation = self._links.link(observation) if observation.kind == "news" else observation
                versions.append(Version(observation, known_at, frame))
        return versions, rejected

    def _refuse(self, refused: Rejected) -> list[Rejected]:
        digest = blake2b(refused.payload, digest_size=16).digest()
        if digest in self._refused:
            return []
        self._refused[digest] = None
        if len(self._refused) > MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        return [refused]


def recall_context(lake: Lake, find: Find = mentions) -> Context:
    """Return what the lake holds: of each kind the newest version of the keys told last, and the past of coins."""
    context = Context(find)
    for kind, table in CONTEXT_TABLES.items():
        stored = lake.scan(table).filter(pl.col("source") != coingecko.HISTORY)
        newest_of_each = stored.select("source", "key", "known_at", "date").group_by("source", "key")
        newest = newest_of_each.agg(pl.all().max_by("known_at")).sort("known_at").tail(MOST_KEYS).collect()
        dates = [day.isoformat() for day in newest["date"].unique().sort()]
        rows = lake.scan(table, dates=dates).join(newest.lazy(), on=["source", "key", "known_at"], how="semi")
        context.recall(kind, _told(rows))
    for day in lake.dates(MARKET_DATA):
        context.recall("market_data", _told(lake.scan(MARKET_DATA, dates=[day]).filter(source=coingecko.HISTORY)))
    return context


def _told(rows: pl.LazyFrame) -> Iterator[tuple[str, str, str, int, int]]:
    times = [pl.col(name).to_physical() for name in ("observed_at", "known_at")]
    return rows.sort("known_at").select("source", "key", "fields", *times).collect().iter_rows()
