"""The command that takes the tape on Kafka to the lake: Spark, the engine on its driver, and a word on its health."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping

import polars as pl
import uvloop
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from tapehouse.api.main import serve
from tapehouse.api.status import create_app
from tapehouse.catalog import CANDLES
from tapehouse.errors import StreamError, TapehouseError
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.maintenance import Maintenance
from tapehouse.pipeline import Stage, maintain_forever, settle_disputes
from tapehouse.ports import Hole
from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.routing import binance_route
from tapehouse.producers.binance.source import BinanceSource
from tapehouse.profiles.process import first_error, give_memory_back, leave_within, say, when_told_to_stop
from tapehouse.profiles.signals import detection
from tapehouse.profiles.storage import open_lake, writing
from tapehouse.settings import Settings
from tapehouse.streaming.bookkeeping import Bookkeeping
from tapehouse.streaming.holes import Lasting
from tapehouse.streaming.lost_klines import KlineDesk
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.repairs import RepairDesk
from tapehouse.streaming.rows import to_time
from tapehouse.streaming.spark import SparkEngine
from tapehouse.streaming.spark_progress import Progress
from tapehouse.streaming.spark_session import SUBSCRIBED, start_query, start_session
from tapehouse.tape.fetched import FetchedTape
from tapehouse.tape.revisions import RevisionsTopic
from tapehouse.tape.topics import require_topics
from tapehouse.tape.transactions import GaveUpError

LOOK_EVERY = 1
"""Seconds between two looks at whether the query still runs."""
LEAVE_WITHIN = 5.0
"""Seconds from being told to stop to the end of the process, whatever Spark, upkeep or a client still waits for."""
DAYS_TOLD = 8
"""UTC days of candles that a start may tell of: what lies further back is no news on a topic that keeps a week."""
REPAIR_AFTER = 10.0
"""Seconds a hole must last, with nothing on the tape left to read, before it is asked for here: its producer asks at
once for those it knows of."""
BATCH_ENDS_WITHIN = 2.0
"""Seconds a micro-batch under way has to end when told to stop; else it is cut short, and the next start replays it."""


def run_stream(settings: Settings) -> None:
    """Take the tape to the lake until told to stop; raise what ended it otherwise."""
    settings = settings.model_copy(update={"profile": "cluster"})
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_stream(settings))


async def _stream(settings: Settings) -> None:
    stopped = when_told_to_stop()
    with writing(settings):
        running = asyncio.create_task(_run(settings, lambda: not stopped.done()))
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            leave_within(LEAVE_WITHIN)
        running.cancel()
        try:
            await running
        except (asyncio.CancelledError, GaveUpError):
            say("Stopped; the next start goes on from what is committed.")
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors


async def _run(settings: Settings, may_wait: Callable[[], bool]) -> None:
    await asyncio.to_thread(require_topics, settings, SUBSCRIBED, may_wait)
    stream = await asyncio.to_thread(Stream, settings, may_wait)
    maintaining = Stage(
        "maintain", lambda stopping: maintain_forever(stream.maintenance, stream.clock.now, give_memory_back, stopping)
    )
    exchange = BinanceSource(settings) if "binance" in settings.chosen_sources() else None
    app, over = create_app("Tapehouse stream", stream.report, settings), threading.Event()
    tape = FetchedTape(settings, binance_route(settings.symbols), lambda: may_wait() and not over.is_set())
    try:
        async with asyncio.TaskGroup() as group:
            for work in (
                serve(app, settings.api_host, settings.api_port, stream.announce),
                stream.watch(),
                maintaining.watch(),
            ):
                group.create_task(work)
            if exchange is not None:
                group.create_task(settle_disputes(stream.books, stream.lake, exchange, stream.clock.now))
                group.create_task(RepairDesk(stream.lasting_holes, exchange, tape).run())
                group.create_task(KlineDesk(stream.books.unheard, exchange, tape, stream.clock.now).run())
    finally:
        over.set()
        if exchange is not None:
            await exchange.close()
        await asyncio.gather(asyncio.to_thread(maintaining.stop), asyncio.to_thread(stream.stop))


class Stream:
    """The running query over a lake that was recovered; it waits for the brokers as long as `may_wait` says so."""

    def __init__(self, settings: Settings, may_wait: Callable[[], bool]) -> None:
        self._settings = settings
        self.lake: DeltaLake = open_lake(settings)
        self.maintenance = Maintenance(self.lake)
        recovered = recover(self.lake, settings.symbols, detection(settings), settings.coingecko_pins())
        self.clock = ArrivalClock(recovered.known_at)
        revisions = RevisionsTopic(settings, may_wait)
        tell_what_is_not_told(self.lake, revisions, recovered.known_at)
        self._engine = SparkEngine(
            self.lake,
            recovered,
            now=self.clock.now,
            keep_payload=settings.keep_payload,
            tell=revisions.tell,
        )
        self._session: SparkSession = start_session(settings)
        self._progress, self._lasting = Progress(), Lasting(REPAIR_AFTER)
        self._session.streams.addListener(self._progress)
        self._query: StreamingQuery = start_query(self._session, settings, self._engine.take)
        self._engine.application.set_result(f"stream-{self._query.id}")

    @property
    def books(self) -> Bookkeeping:
        """What the engine knows of candles that differ from the exchange's."""
        return self._engine.books

    async def watch(self) -> None:
        """Return never; raise what ended the query."""
        while await asyncio.to_thread(self._runs_on):
            pass
        raise self._ended()

    def stop(self) -> None:
        """End the query, after the micro-batch under way where that is soon, and Spark."""
        self._engine.stop(BATCH_ENDS_WITHIN)
        with contextlib.suppress(Py4JError, PySparkException, OSError):  # the JVM may be gone already
            self._query.stop()
            self._session.stop()

    def announce(self, host: str, port: int) -> None:
        """Tell the person at the terminal that it runs."""
        settings, shown = self._settings, f"[{host}]" if ":" in host else host
        say(f"Tapehouse takes the tape at {settings.kafka_bootstrap} to the lake at {settings.lake}")
        say(f"Spark's page is {self._session.sparkContext.uiWebUrl}")
        say(f"Health at http://{shown}:{port}/health   (Ctrl-C stops)")

    def lasting_holes(self) -> list[Hole]:
        """Return the holes that nobody but us knows of: those that last although all of the tape is read."""
        return self._lasting.of(self.books.holes.all() if self._progress.caught_up else [])

    def report(self) -> Mapping[str, object]:
        """Tell how far it has come."""
        progress, holes = self._progress, self._engine.books.holes.all()
        return {
            "status": "ok" if not holes else "degraded",
            "batch": progress.batch,
            "rows": progress.rows,
            "seconds": progress.seconds,
            "behind": progress.behind,
            "holes": len(holes),
            "missing_trades": sum(hole.last_trade_id - hole.first_trade_id + 1 for hole in holes),
        }

    def _runs_on(self) -> bool:
        try:
            return not self._query.awaitTermination(LOOK_EVERY)
        except PySparkException:
            return False
        except (Py4JError, OSError) as error:
            raise StreamError("Spark's JVM is gone. The next start goes on from what is committed.") from error

    def _ended(self) -> Exception:
        if isinstance(self._engine.error, TapehouseError):
            return self._engine.error
        return StreamError(f"Spark ended the stream: {_reason(self._query)}")


def tell_what_is_not_told(lake: DeltaLake, revisions: RevisionsTopic, known_at: int) -> None:
    """Tell the revisions that came into the lake since the last one told; the first start tells none of the past."""
    told_to = revisions.told_to()
    days = lake.dates(CANDLES)[-DAYS_TOLD:] if told_to is not None else []
    since = pl.col("known_at") >= to_time(told_to or 0)
    revisions.catch_up((lake.scan(CANDLES, dates=[day]).filter(since).collect() for day in days), known_at)


def _reason(query: StreamingQuery) -> str:
    error = query.exception()
    lines = str(error or "it was stopped").splitlines()
    return " ".join(lines[:3])[:1000]
