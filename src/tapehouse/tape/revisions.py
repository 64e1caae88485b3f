"""The revisions of candles on Kafka, told by the process that commits them once they are in the lake.

Law: every revision is on the topic at least once, whatever is killed and when. How far it is told stands beside the
producers' positions, in the transaction of what it tells of; a start tells what the lake has besides.
"""

from collections.abc import Callable, Iterable

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES_TOPIC, POSITIONS
from tapehouse.settings import Settings
from tapehouse.tape.codec import key_of
from tapehouse.tape.messages import Message
from tapehouse.tape.reader import newest_by_key
from tapehouse.tape.transactions import Transactions

WRITER = "tapehouse-stream-candles"
"""Its name to the brokers."""
AT_ONCE = 10_000
"""Rows of one transaction at most."""
_PLACE = b"candles"
"""The key of how far the revisions are told."""


class RevisionsTopic:
    """Takes rows of `silver/candles`, in the order of `known_at`; what it raises is what `Transactions.commit` does."""

    def __init__(self, settings: Settings, may_wait: Callable[[], bool]) -> None:
        self._settings = settings
        self._may_wait = may_wait
        self._transactions = Transactions(settings, WRITER, (CANDLES_TOPIC, POSITIONS), may_wait)

    def told_to(self) -> int | None:
        """Return the `known_at` (microseconds) up to which revisions are told, None when none ever was."""
        stored = newest_by_key(self._settings, POSITIONS, self._transactions.broker, self._may_wait)
        value = stored.get(_PLACE, b"")
        return int(value) if value.isdigit() else None

    def tell(self, rows: pl.DataFrame) -> None:
        """Put committed rows on the topic, and with them that everything known up to the newest of them is told."""
        *first, last = rows.iter_slices(AT_ONCE)
        for each in first:
            self._transactions.commit(_messages(each))
        newest: int = rows["known_at"].to_physical().max()  # type: ignore[assignment]  # a column of times, not empty
        self._transactions.commit([*_messages(last), _place(newest)])

    def catch_up(self, parts: Iterable[pl.DataFrame], known_at: int) -> None:
        """Put rows on the topic, in any order, and then that everything known up to a time is told."""
        for part in parts:
            for rows in part.iter_slices(AT_ONCE) if part.height else ():
                self._transactions.commit(_messages(rows))
        self._transactions.commit([_place(known_at)])


def _place(known_at: int) -> Message:
    return Message(POSITIONS, _PLACE, b"%d" % known_at, [], 0)


def _messages(rows: pl.DataFrame) -> list[Message]:
    """Return revisions as their JSON Schema has them; decimals are text with every digit."""
    return [
        Message(
            CANDLES_TOPIC,
            key_of(row["symbol"]),
            msgspec.json.encode(row),
            [("interval", row["interval"].encode()), ("revision", b"%d" % row["revision"])],
            0,
        )
        for row in rows.iter_rows(named=True)
    ]
