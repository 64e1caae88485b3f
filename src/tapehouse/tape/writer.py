"""The tape on Kafka as a producer sees it: batches wait their turn, and go out in transactions with its position.

The event loop appends; one thread routes, drops what is on the topics already, and commits. While no broker answers,
what was appended waits, up to the tape's bound; then whoever appends waits, and the socket is not read. What is missed
that way the ids show, and the repair brings it.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import structlog

from tapehouse import telemetry
from tapehouse.catalog import DEAD_LETTERS, POSITIONS, TOPICS
from tapehouse.errors import TapeError
from tapehouse.ports import Batch, Hole, Route, Routed
from tapehouse.settings import Settings
from tapehouse.tape.codec import headers_of, key_of
from tapehouse.tape.kafka import BrokerState
from tapehouse.tape.local import MOST_FRAMES, LocalTape
from tapehouse.tape.positions import Positions, position_key, read_positions
from tapehouse.tape.reader import newest_by_key
from tapehouse.tape.status import Standing, WriterStatus
from tapehouse.tape.transactions import GaveUpError, Message, Session, SessionOverError

TRANSACTION_FRAMES = 10_000
"""About so many frames go into one transaction."""
WAKE_EVERY = 0.1
PACE = 0.05
"""Least seconds from one transaction to the next: a commit takes 5 to 10 ms, however little is in it."""
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
        self._token = uuid.uuid4().bytes
        self._rightful: set[bytes | None] = set()
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
                    stopping.wait(max(0.0, PACE - (time.monotonic() - began)))
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
                self._claim(session, stored.get(self._owner_key))
            except SessionOverError as over:
                self._check_fence(over)
            else:
                self._positions = read_positions(stored)
                self._show(self._positions)
                log.info("producer_ready", producer=self._id, symbols=len(self._positions))
                return session

    def _claim(self, session: Session, owner: bytes | None) -> None:
        """Write that the name is ours: the brokers end a producer that was away too long as they do one in excess."""
        if owner == self._token:
            self._rightful = {self._token}
            return
        if self._rightful == {self._token}:
            raise self._fenced()
        self._rightful = {self._token, owner}
        session.commit([Message(POSITIONS, self._owner_key, self._token, [], 0)])
        self._rightful = {self._token}

    def _check_fence(self, over: SessionOverError) -> None:
        """Raise FencedError when another producer took our name, or does so now."""
        until = time.monotonic() + TAKES_OVER_WITHIN
        while self._rightful:
            if self._stored().get(self._owner_key) not in self._rightful:
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

    @property
    def _owner_key(self) -> bytes:
        return f"owner:{self._id}".encode()

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
        while True:
            taken = list(self._taken(batches))
            messages = list(to_messages(taken))
            symbols = {routed.symbol for _, routed in taken if routed.ids is not None and not routed.reason}
            positions = [
                Message(POSITIONS, position_key(symbol), self._positions[symbol].to_json(), [], 0)
                for symbol in sorted(symbols)
            ]
            try:
                if messages:
                    session.commit([*messages, *positions])
            except SessionOverError as over:
                self._check_fence(over)
                session = self._begin()
            else:
                self._note([routed for _, routed in taken], messages)
                return session

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
            self._standings[symbol] = Standing(at.last_trade_id, at.last_traded_at, at.last_received_at, holes)
            missing = sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in holes)
            _missing(symbol).set(missing)


def to_messages(taken: Iterable[tuple[Batch, Routed]]) -> Iterator[Message]:
    """Give the message of each frame; those that came together share their headers."""
    headers: list[tuple[str, bytes]] = []
    beside: Batch | None = None
    received_at = -1
    for batch, routed in taken:
        if routed.reason or routed.binary:
            yield _unusual(batch, routed)
            continue
        if batch is not beside or routed.received_at != received_at:
            beside, received_at = batch, routed.received_at
            headers = headers_of(batch.shape, received_at, symbol=batch.symbol)
        yield Message(routed.topic, _key(batch, routed), routed.frame, headers, received_at // 1000)


def _unusual(batch: Batch, routed: Routed) -> Message:
    refusal = (routed.reason, routed.topic) if routed.reason else None
    headers = headers_of(batch.shape, routed.received_at, symbol=batch.symbol, binary=routed.binary, refusal=refusal)
    topic = DEAD_LETTERS if refusal else routed.topic
    return Message(topic, _key(batch, routed), routed.frame, headers, routed.received_at // 1000)


def _key(batch: Batch, routed: Routed) -> bytes | None:
    return key_of(routed.symbol) if routed.symbol else batch.symbol.encode() or None


def in_pieces(batches: Sequence[Batch], most_frames: int) -> Iterator[list[Batch]]:
    """Cut batches into lists of at most so many frames, in order."""
    piece: list[Batch] = []
    room = most_frames
    for batch in batches:
        for start in range(0, len(batch.frames), most_frames):
            part = _part(batch, start, start + most_frames)
            if len(part.frames) > room:
                yield piece
                piece, room = [], most_frames
            piece.append(part)
            room -= len(part.frames)
    if piece:
        yield piece


def _part(batch: Batch, start: int, end: int) -> Batch:
    if start == 0 and end >= len(batch.frames):
        return batch
    binary = tuple(place - start for place in batch.binary if start <= place < end)
    return Batch(batch.frames[start:end], batch.received_at[start:end], batch.shape, batch.symbol, binary)
