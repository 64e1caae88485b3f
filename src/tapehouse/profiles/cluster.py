"""The cluster profile's API: history from the lake that `tapehouse stream` writes, the present from the same tape."""

import asyncio
import contextlib
import queue
import sys
import threading
import time
from typing import NamedTuple

import msgspec
import uvloop

from tapehouse.api.main import create_app, serve
from tapehouse.catalog import CONTEXT_TOPICS, KLINES_TOPIC, SOURCE_STATUS, TRADES_TOPIC
from tapehouse.errors import LakeAwayError, LakeError
from tapehouse.lake.outage import Outage, SparedLake
from tapehouse.lake.snapshot import Snapshot
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.pipeline import SWITCH_EVERY, Stage
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.status import ConnectionStatus, SourceStatus
from tapehouse.producers.poll_status import PolledStatus
from tapehouse.producers.telling import Heard
from tapehouse.profiles.process import announce, first_error, keep_memory_together, leave_within, say, when_told_to_stop
from tapehouse.profiles.signals import detection
from tapehouse.profiles.storage import open_lake_to_read, reading
from tapehouse.settings import Settings
from tapehouse.streaming.comparisons import tally
from tapehouse.streaming.followed_view import FollowedView
from tapehouse.streaming.follower import Follower
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.settled import Settled
from tapehouse.tape.reader import KafkaTapeReader

TOPICS = (TRADES_TOPIC, KLINES_TOPIC, *CONTEXT_TOPICS.values(), SOURCE_STATUS)
MARGIN = MINUTE
"""How long before the newest message in the lake the tape is read from: arrivals are that much out of order at most."""
WAKE_EVERY = 0.1
"""Seconds the follower waits for messages before it looks at what the lake has settled."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the lake; each costs it two small requests."""
LEAVE_WITHIN = 5.0
"""Seconds from being told to stop to the end of the process, whatever a look at the lake or a client waits for."""
MOST_LOOKS = 60
"""Looks whose findings may wait for the follower; then the lake is looked at no further."""


_UNTOLD = SourceStatus(
    name="binance",
    connections=(),
    symbols=0,
    stalled=(),
    stream_endpoint="",
    rest_endpoint="",
    clock_offset=None,
    weight_used=0,
    weight_limit=0,
    repairs_wait_for=0.0,
    last_error="",
    notes=("no producer tells of the exchange",),
)


class Begun(NamedTuple):
    """What goes on from what the lake holds."""

    follower: Follower
    settled: Settled
    tape: KafkaTapeReader


class Following:
    """The parts of the profile, and what they do until they are stopped.

    A lake whose server is away at the start is waited for, and health says so.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lake = open_lake_to_read(settings)
        self.view = FollowedView()
        self.sources = Heard(name for name in settings.chosen_sources() if name != "binance")
        self._outage, self._over = Outage(), threading.Event()
        self._found: queue.Queue[tuple[list[CandleRow], list[Signal]]] = queue.Queue(MOST_LOOKS)
        self.view.since = time.time_ns() // 1000
        self._begun: Begun | None = None

    async def run(self) -> None:
        """Serve until cancelled; raise what ends it otherwise."""
        sys.setswitchinterval(SWITCH_EVERY)
        await asyncio.to_thread(self._begin)
        app = create_app(self.view, SparedLake(self._lake, self._outage), self.statuses, self._settings)
        following, looking = Stage("follow", self._follow), Stage("look", self._look)
        try:
            async with asyncio.TaskGroup() as group:
                at = self._settings.api_host, self._settings.api_port
                group.create_task(serve(app, *at, announce(self._settings)))
                group.create_task(following.watch())
                group.create_task(looking.watch())
        finally:
            self._over.set()
            if self._begun is not None:
                self._begun.tape.close()
            await asyncio.gather(asyncio.to_thread(looking.stop), asyncio.to_thread(following.stop))

    def statuses(self) -> list[SourceStatus | PolledStatus]:
        """Return what every source says of itself, and of the exchange what the tape tells as well."""
        now = time.time_ns() // 1000
        return [self._exchange_status(self.sources.followed(now) or _UNTOLD), *self.sources.statuses(now)]

    def _exchange_status(self, told: SourceStatus) -> SourceStatus:
        """Return what the exchange's producers say of it, with the tape as one more connection that has to be open."""
        symbols = self.view.health().values()
        error = self._begun.tape.error if self._begun is not None else ""
        tape = ConnectionStatus(
            name="tape",
            symbols=len(symbols),
            state="connecting" if self._begun is None else "backing_off" if error else "open",
            endpoint=self._settings.kafka_bootstrap,
            since=self.view.since,
            last_message_at=max((symbol.last_received_at for symbol in symbols), default=0),
            attempts=1,
            last_error=f"the broker at {self._settings.kafka_bootstrap}: {error}" if error else "",
            stalled=(),
        )
        return msgspec.structs.replace(
            told,
            connections=(tape, *told.connections),
            symbols=len(symbols),
            last_error=tape.last_error or told.last_error,
        )

    def _begin(self) -> Begun | None:
        """Take up what the lake holds, and the tape where that ends; None while the lake's server is away."""
        settings = self._settings
        try:
            with reading(settings):
                snapshot = Snapshot(self._lake)
                recovered = recover(snapshot, settings.symbols, detection(settings), settings.coingecko_pins())
                clock = ArrivalClock(recovered.known_at)
                verified = tally(snapshot, clock.now() - DAY)
                self.view.context.recall(snapshot)
                self.view.signals.recall(snapshot)
        except LakeAwayError as error:
            self._is_away(error)
            return None
        self._outage.ended()
        waited_for = SparedLake(self._lake, self._outage, lambda: not self._over.wait(LOOK_EVERY))
        follower = Follower(waited_for, self.view, recovered, now=clock.now)
        for symbol, (compared, agreeing) in verified.items():
            follower.count_verified(symbol, compared, agreeing)
        tape = KafkaTapeReader(settings, since=max(0, recovered.known_at - MARGIN), topics=TOPICS)
        self._begun = Begun(follower, Settled(self._lake, snapshot), tape)
        self.view.lake_error = ""
        return self._begun

    def _follow(self, stopping: threading.Event) -> None:
        while (begun := self._begun or self._begin()) is None:
            if stopping.wait(LOOK_EVERY):
                return
        while not stopping.is_set():
            batches = self.sources.take(begun.tape.read(WAKE_EVERY))
            if batches:
                begun.follower.fold(batches)
            while not self._found.empty():
                begun.follower.take_over(*self._found.get())

    def _look(self, stopping: threading.Event) -> None:
        while not stopping.wait(LOOK_EVERY):
            if self._begun is None or self._found.full():
                continue
            try:
                with reading(self._settings):
                    rows, signals, committed = self._begun.settled.look()
            except LakeError as error:
                self._is_away(error)
                continue
            self._outage.ended()
            self.view.lake_error = ""
            if committed:
                self.view.committed_at = time.time_ns() // 1000
            if rows or signals:
                self._found.put((rows, signals))

    def _is_away(self, error: LakeError) -> None:
        self._outage.began(error)
        self.view.lake_error = self._outage.error


def run_up(settings: Settings) -> None:
    """Serve what the tape and the lake tell until told to stop; raise what ended it otherwise."""
    keep_memory_together()
    with contextlib.suppress(KeyboardInterrupt), reading(settings):
        uvloop.run(_up(settings))


async def _up(settings: Settings) -> None:
    stopped = when_told_to_stop()
    running = asyncio.create_task(Following(settings).run())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        leave_within(LEAVE_WITHIN)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        say("Stopped; the tape and the lake keep everything.")
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
