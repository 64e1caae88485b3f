"""The seams. A seam exists because two implementations stand behind it; its law is in its docstring."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal, Protocol

import msgspec
import polars as pl

Shape = Literal[
    "stream", "trades", "aggTrades", "klines", "archive", "market_data", "sentiment", "news", "symbols", "status"
]
"""What the frames of a batch look like: the WebSocket's messages; the rows of one REST answer; for the four before the
last, the items of an answer about the market's context; for the last, what a polled source says of itself."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Messages of one upstream exactly as they came off the wire, in order of arrival.

    `received_at` has one entry a frame: microseconds since 1970 UTC on our clock.
    `symbol` is given where the frames do not carry it (rows of a REST answer); for the market's context and a
    status it is the source, such as `coingecko`. `binary` are the places in `frames` of those that came as binary
    messages.
    """

    frames: list[bytes]
    received_at: list[int]
    shape: Shape = "stream"
    symbol: str = ""
    binary: tuple[int, ...] = ()


class Routed(msgspec.Struct, frozen=True, gc=False):
    """A frame and the topic it belongs on; with a `reason`, one that is refused and would have belonged there.

    `ids` are the first and last id of the trades it tells of, None where it tells of none; `told_to` is an id up to
    which the exchange says it has numbered trades, -1 where it does not say. `traded_at` is the time of those trades,
    or the end of the window that told (microseconds UTC).
    """

    topic: str
    frame: bytes
    received_at: int
    symbol: str = ""
    ids: tuple[int, int] | None = None
    traded_at: int = 0
    told_to: int = -1
    reason: str = ""
    binary: bool = False


Route = Callable[[Batch], Iterable[Routed]]
"""Tells of every frame of a batch where it belongs; nothing raises."""


class Hole(msgspec.Struct, frozen=True, order=True):
    """Trade ids known to exist and not held: `first_trade_id..last_trade_id`, both missing.

    `after` is the trade time (microseconds UTC) of the last held trade before the hole, `before` of the first after it
    (or the end of the window that told of it): the missing trades lie between them.
    """

    symbol: str
    first_trade_id: int
    last_trade_id: int
    after: int
    before: int


class Tape(Protocol):
    """The ordered, bounded record between producers and streaming, as producers see it.

    Law: batches are read in the order they were appended, each once; `append` waits when the tape is full
    (the wait is felt by the producer), and nothing is dropped.
    """

    async def append(self, batch: Batch) -> None:
        """Add a batch; wait while the tape is full."""


class TapeReader(Protocol):
    """The tape as streaming sees it; the law is that of `Tape`."""

    def read(self, timeout: float) -> list[Batch]:
        """Take the oldest batches, waiting up to `timeout` seconds for the first; empty when none came."""


class Source(Protocol):
    """An upstream.

    Law: `run` delivers every message it receives to the tape, in order, as the bytes it received, and comes back
    after any fault of the network; it ends when cancelled. `repair` delivers what the upstream still has of a hole.
    """

    name: str

    async def run(self, tape: Tape) -> None:
        """Deliver until cancelled."""

    async def repair(self, hole: Hole, tape: Tape) -> bool | None:
        """Deliver the trades of a hole; True when the upstream gave all of them.

        False when it answered and does not have all, None when it could not be asked now.
        """


class Lake(Protocol):
    """The Delta tables of the catalog.

    Law: `append` is idempotent per (table, writer, batch): a batch number not above the last committed one of that
    writer changes nothing. What `append` returned from is durable and seen by every later `scan`.
    """

    def append(self, table: str, frame: pl.DataFrame, *, writer: str, batch: int) -> bool:
        """Commit the rows as one transaction; False when this batch was there already."""

    def last_batch(self, table: str, writer: str) -> int:
        """Return the last batch number committed by this writer, -1 when there is none."""

    def scan(self, table: str, *, dates: Sequence[str] | None = None) -> pl.LazyFrame:
        """Return the table as it is now, columns as in the catalog; `dates` (ISO days) prunes partitions."""

    def dates(self, table: str, *, symbol: str | None = None, known_since: datetime | None = None) -> list[str]:
        """Return the ISO days the table has rows of, oldest first.

        With `symbol` no fewer than have rows of it, with `known_since` no fewer than have rows known then or later.
        """
