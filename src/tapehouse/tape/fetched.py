"""The tape on Kafka as an engine sees it that fetches what it lacks: what no producer knows to be missing.

A producer's position says what was put on the topic, not that it could still be read: records deleted before they
were, or a lake older than its topics, lack trades that no producer asks for. What an engine fetches therefore passes by
the positions; of what is held already its readers take nothing.
"""

import asyncio
from collections.abc import Callable

import structlog

from tapehouse.catalog import DEAD_LETTERS, TRADES_TOPIC
from tapehouse.ports import Batch, Route
from tapehouse.settings import Settings
from tapehouse.tape.kafka import BrokerState
from tapehouse.tape.messages import to_messages
from tapehouse.tape.transactions import Session, SessionOverError

log = structlog.get_logger(__name__)


class FetchedTape:
    """`append` returns when the brokers have the batch; it waits for them as long as `may_wait` says so.

    `writer_id` names it to the brokers. Raise GaveUpError where we are to stop, ConfigError for a missing topic,
    TapeError where the brokers refuse.
    """

    def __init__(self, settings: Settings, writer_id: str, route: Route, may_wait: Callable[[], bool]) -> None:
        self._settings = settings
        self._id = writer_id
        self._route = route
        self._may_wait = may_wait
        self._broker = BrokerState(settings.kafka_bootstrap)
        self._turn = asyncio.Lock()
        self._session: Session | None = None

    async def append(self, batch: Batch) -> None:
        """Commit the rows of an answer as one transaction."""
        async with self._turn:
            await asyncio.to_thread(self._write, batch)

    def _write(self, batch: Batch) -> None:
        messages = list(to_messages((batch, routed) for routed in self._route(batch)))
        while messages:
            self._session = self._session or self._begin()
            try:
                self._session.commit(messages)
            except SessionOverError as over:  # they may be there: their readers drop what they hold
                log.warning("fetched_again", why=str(over), records=len(messages))
                self._session = None
            else:
                return

    def _begin(self) -> Session:
        session = Session(self._settings, self._id, self._broker, self._may_wait)
        session.begin((TRADES_TOPIC, DEAD_LETTERS))
        return session
