"""The tape on Kafka as a producer sees it: batches wait their turn, and go out in transactions with its position.

The event loop appends; one thread routes, drops what is on the topics already, and commits. While no broker answers,
what was appended waits, up to the tape's bound; then whoever appends waits, and the socket is not read. What is missed
that way the ids show, and the repair brings it.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import structlog

from tapehouse import telemetry
from tapehouse.catalog import POSITIONS, TOPICS
from tapehouse.errors import TapeError
from tapehouse.ports import Batch, Hole, Route, Routed
from tapehouse.settings import Settings
from tapehouse.tape.kafka import BrokerState
from tapehouse.tape.local import MOST_FRAMES, LocalTape
from tapehouse.tape.messages import Message, in_pieces, to_messages
from tapehouse.tape.positions import Positions, position_key, read_positions
from tapehouse.tape.reader import newest_by_key
from tapehouse.tape.status import Standing, WriterStatus
from tapehouse.tape.transactions import GaveUpError, Session, SessionOverError

TRANSACTION_FRAMES = 10_000
"""About so many frames go into one transaction."""
WAKE_EVERY = 0.1
PACE = 0.02
"""Least seconds from one transaction to the next: a commit takes 5 to 10 ms, however little is in it."""
BUSY_FRAMES = 500
"""A transaction of more frames than this means load: then they are made larger, which costs less a frame."""
BUSY_PACE = 0.05
"""Least seconds from one transaction to the next under load."""
TAKES_OVER_WITHIN = 3.0
"""Seconds a producer that ended another has to write that the name is its own."""
LOOK_EVERY = 0.25
STOPS_WITHIN = 5.0
"""Seconds after we are told to stop in which what waits may still go out."""

log = structlog.get_logger(__name__)
_accepted = cache(telemetry.trades_accepted.labels)
_missing = cache(telemetry.missing_trades.labels)
"""Finding a labelled metric costs more than using it; there are as many as symbols are followed."""


class FencedError(TapeError):
    """Another producer with our transactional id has taken over."""


class KafkaTapeWriter:
    """`append` belongs to the event loop, `write_forever` to a thread of its own; a tape that is closed takes no more.

    `producer_id` names this producer to the brokers: of two with one name the younger goes on, and the elder stops with
    FencedError. `gave_up` is set where it ended with something left uncommitted.
    """

    def __init__(self, settings: Settings, producer_id: str, route: Route, *, most_frames: int = MOST_FRAMES) -> None:
        self.broker = BrokerState(settings.kafka_bootstrap)
        self.gave_up = False
        self._settings = settings
        self._id = producer_id
        self._route = route
        self._bound = most_frames
        self._buffer = LocalTape(most_frames=most_frames, read_frames=TRANSACTION_FRAMES)
        self._owner_key = f"owner:{producer_id}".encode()
        self._token = uuid.uuid4().hex.encode()
        self._transactions = 0
        self._last_stored: bytes | None = None
        self._rightful: set[bytes] = set()
        self._positions = Positions()
        self._standings: dict[str, Standing] = {}
        self._committed_at = 0
        self._records = 0
        self._stopping = threading.Event()
        self._give_up_at = 0.0

    async def append(self, batch: Batch) -> None:
        """Add a batch to what goes out next; wait while the tape is full. Raise TapeClosedError once it is closed."""
        await self._buffer.append(batch)

    def close(self) -> None:
        """Take no more batches; what was appended still goes out."""
        self._buffer.close()

    def holes(self) -> list[Hole]:
        """Return the trades that are known to exist and are not on the topic; from any thread."""
        return [hole for standing in self.standings().values() for hole in standing.holes]

    def standings(self) -> dict[str, Standing]:
        """Return how far each symbol is on the tape; from any thread."""
        return dict(self._standings)

    def status(self) -> WriterStatus:
        """Return the state of everything, now; from any thread."""
        return WriterStatus(
            waiting=self._buffer.frames,
            bound=self._bound,
            committed_at=self._committed_at,
            records=self._records,
            broker_error=self.broker.error,
            broker_error_since=int(self.broker.since * 1e6) if self.broker.error else 0,
        )

    def write_forever(self, stopping: threading.Event) -> None:
        """Commit what is appended until told to stop; then the rest, as far as the brokers take it in time.

        Raise FencedError, ConfigError for a missing topic, TapeError where the brokers refuse.
        """
        self._stopping = stopping
        try:
            session = self._begin()
            while not stopping.is_set():
                batches = self._buffer.read(WAKE_EVERY)
                began = time.monotonic()
                if batches:
                    session = self._write_all(session, batches)
                    busy = sum(len(batch.frames) for batch in batches) > BUSY_FRAMES
                    stopping.wait(max(0.0, (BUSY_PACE if busy else PACE) - (time.monotonic() - began)))
            while batches := self._buffer.read(0):
                session = self._write_all(session, batches)
        except GaveUpError as error:
            self.gave_up = True
            log.warning("left_uncommitted", why=str(error), what_to_do="the next start fetches it by its ids")

    def _may_wait(self) -> bool:
        if not self._stopping.is_set():
            return True
        self._give_up_at = self._give_up_at or time.monotonic() + STOPS_WITHIN
        return time.monotonic() < self._give_up_at

    # One life of the producer

    def _begin(self) -> Session:
        """Become the one producer of our name and recall what is on the topics."""
        while True:
            session = Session(self._settings, self._id, self.broker, self._may_wait)
            try:
                session.begin(tuple(TOPICS))
                stored = self._stored()
                self._claim(session, self._owner(stored))
            except SessionOverError as over:
                self._check_fence(over)
            else:
                self._last_stored = stored.get(self._owner_key)
                self._positions = read_positions(stored)
                self._show(self._positions)
                log.info("producer_ready", producer=self._id, symbols=len(self._positions))
                return session

    def _claim(self, session: Session, owner: bytes) -> None:
        """Write that the name is ours: the brokers end a producer that was away too long as they do one in excess."""
        if owner == self._token:
            self._rightful = {self._token}
            return
        if self._rightful == {self._token}:
            raise self._fenced()
        self._rightful = {self._token, owner}
        session.commit([self._ownership()])
        self._rightful = {self._token}

    def _check_fence(self, over: SessionOverError) -> None:
        """Raise FencedError when another producer took our name, or does so now."""
        until = time.monotonic() + TAKES_OVER_WITHIN
        while self._rightful:
            if self._owner(self._stored()) not in self._rightful:
                raise self._fenced() from over
            if time.monotonic() > until or self._stopping.wait(LOOK_EVERY):
                break
        log.warning("producer_begins_anew", producer=self._id, why=str(over))

    def _fenced(self) -> FencedError:
        return FencedError(
            f"Another producer {self._id} has taken over at {self._settings.kafka_bootstrap}; this one stops. "
            "One is enough for the same symbols."
        )

    def _stored(self) -> dict[bytes, bytes]:
        return newest_by_key(self._settings, POSITIONS, self.broker, self._may_wait)

    def _owner(self, stored: Mapping[bytes, bytes]) -> bytes:
        """Return the process that owns our name, empty when there was none yet."""
        return stored.get(self._owner_key, b"").partition(b" ")[0]

    def _ownership(self) -> Message:
        """Return the message that says whose the name is, and how many transactions that process has written."""
        return Message(POSITIONS, self._owner_key, b"%s %d" % (self._token, self._transactions), [], 0)

    # Transactions

    def _write_all(self, session: Session, batches: Sequence[Batch]) -> Session:
        """Commit batches, in several transactions where one of them is too large for one."""
        for piece in in_pieces(batches, TRANSACTION_FRAMES):
            if not self._may_wait():
                raise GaveUpError("the time to stop is over")
            session = self._write(session, piece)
        return session

    def _write(self, session: Session, batches: Sequence[Batch]) -> Session:
        """Commit the batches and the position they lead to; return the session to go on with."""
        self._transactions += 1
        own = self._ownership()
        while True:
            taken = list(self._taken(batches))
            messages = list(to_messages(taken))
            try:
                if messages:
                    session.commit([*messages, *self._new_positions(routed for _, routed in taken), own])
            except SessionOverError as over:
                self._check_fence(over)
                session = self._begin()
                if self._last_stored != own.value:
                    continue
            self._note([routed for _, routed in taken], messages)
            return session

    def _new_positions(self, taken: Iterable[Routed]) -> list[Message]:
        symbols = {routed.symbol for routed in taken if routed.ids is not None and not routed.reason}
        values = ((position_key(symbol), self._positions[symbol].to_json()) for symbol in sorted(symbols))
        return [Message(POSITIONS, key, value, [], 0) for key, value in values]

    def _taken(self, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Routed]]:
        for batch in batches:
            for routed in self._route(batch):
                new = self._positions.take(routed)
                if new is not None:
                    yield batch, new

    def _note(self, taken: Sequence[Routed], messages: Sequence[Message]) -> None:
        """Tell what was committed."""
        self._show({routed.symbol for routed in taken if routed.symbol in self._positions})
        if not messages:
            return
        self._committed_at = time.time_ns() // 1000
        self._records += len(messages)
        oldest = min(routed.received_at for routed in taken)
        telemetry.tape_age.observe(max(0, self._committed_at - oldest) / 1e6)
        for topic, count in Counter(message.topic for message in messages).items():
            telemetry.tape_records.labels(topic).inc(count)
        accepted: Counter[str] = Counter()
        for routed in taken:
            if routed.ids is not None and not routed.reason:
                accepted[routed.symbol] += routed.ids[1] - routed.ids[0] + 1
        for symbol, count in accepted.items():
            _accepted(symbol).inc(count)

    def _show(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            at = self._positions[symbol]
            holes = at.holes()
            before = self._standings.get(symbol)
            self._standings[symbol] = Standing(at.last_trade_id, at.last_traded_at, at.last_received_at, holes)
            if before is None or before.holes != holes:
                missing = sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in holes)
                _missing(symbol).set(missing)
