"""A transactional producer of Kafka through all its faults: what is handed to `commit` is on the topics once.

Trouble that passes is waited for; a transaction that has to be aborted is tried again. A producer that the brokers
take no more from (fenced, or timed out while they were away) is over, and another life has to begin.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from tapehouse import telemetry
from tapehouse.errors import TapeError
from tapehouse.settings import Settings
from tapehouse.tape.kafka import LARGEST_RECORD, BrokerState, check_topics, client_configuration, error_of
from tapehouse.tape.messages import Message

TRY_FOR = 1.0
"""Seconds a call waits for the brokers before it looks whether we are to stop."""
LOOK_EVERY = 5.0
"""Seconds between two looks whether it is for want of a topic that nothing is taken."""
BUFFER_WAIT = 0.005
TIMES_OUT_AFTER = 60
"""Seconds after which the brokers abort a transaction whose producer is gone: so long its readers may stand still."""

log = structlog.get_logger(__name__)


class SessionOverError(Exception):
    """The brokers take nothing more from this producer; whether it wrote its last transaction is not known."""


class GaveUpError(Exception):
    """We are to stop, and the brokers are away."""


class Transactions:
    """Transactions under one name, in one session after the other: what `commit` returned from is there, perhaps twice.

    Twice it is where a session ended with an answer outstanding. For one thread at a time; `topics` have to be there.
    """

    def __init__(
        self, settings: Settings, transactional_id: str, topics: Sequence[str], may_wait: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._id = transactional_id
        self._topics = topics
        self._may_wait = may_wait
        self.broker = BrokerState(settings.kafka_bootstrap)
        self._session: Session | None = None

    def commit(self, messages: Sequence[Message]) -> None:
        """Write the messages as one transaction; wait for the brokers as long as `may_wait` says so.

        Raise GaveUpError where we are to stop, ConfigError for a missing topic, TapeError where trying is no use.
        """
        while True:
            try:
                self._session = self._session or self._begun()
                self._session.commit(messages)
            except SessionOverError as over:
                log.warning("written_again", writer=self._id, why=str(over), records=len(messages))
                self._session = None
            else:
                return

    def _begun(self) -> "Session":
        session = Session(self._settings, self._id, self.broker, self._may_wait)
        session.begin(self._topics)
        return session


class Session:
    """One life of a transactional producer; `may_wait` says whether to go on waiting for the brokers."""

    def __init__(
        self, settings: Settings, transactional_id: str, broker: BrokerState, may_wait: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._may_wait = may_wait
        self._topics: Sequence[str] = ()
        self._look_at = 0.0
        self._producer = Producer(
            {
                **client_configuration(settings, broker),
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TIMES_OUT_AFTER * 1000,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.max.bytes": LARGEST_RECORD,
                "queue.buffering.max.messages": 200_000,
                "queue.buffering.max.kbytes": 131_072,
                "partitioner": "murmur2_random",  # as Java's producers do
                "delivery.report.only.error": True,
            }
        )

    def begin(self, topics: Sequence[str]) -> None:
        """Wait for the brokers, look whether the topics are there, and become the one producer of our id."""
        self._topics = topics
        self._until_answered(self._check_topics, also={KafkaError._TRANSPORT, KafkaError._TIMED_OUT})  # noqa: SLF001  # the library's names
        try:
            self._until_answered(self._producer.init_transactions)
        except KafkaException as exception:
            raise self._over(error_of(exception)) from exception

    def commit(self, messages: Sequence[Message]) -> None:
        """Write the messages as one transaction, however often that has to be tried.

        Raise SessionOverError, GaveUpError, or TapeError where trying again is no use.
        """
        while True:
            try:
                with telemetry.tape_transaction_seconds.time():
                    self._write(messages)
            except KafkaException as exception:
                self._abort(error_of(exception))
            else:
                telemetry.tape_transactions.labels("committed").inc()
                return

    def _write(self, messages: Sequence[Message]) -> None:
        produce = self._producer.produce
        self._producer.begin_transaction()
        for topic, key, value, headers, timestamp in messages:
            while True:
                try:
                    produce(topic, value, key, timestamp=timestamp, headers=headers)  # type: ignore[arg-type]  # narrower pairs
                except BufferError:  # more than the client buffers: let it send some
                    self._producer.poll(BUFFER_WAIT)
                    if not self._may_wait():
                        raise GaveUpError("the client's buffer stays full") from None
                else:
                    break
        self._until_answered(self._producer.commit_transaction)

    def _abort(self, error: KafkaError) -> None:
        telemetry.tape_transactions.labels("aborted").inc()
        log.warning("transaction_aborted", why=error.str(), code=error.name())
        if error.fatal() or not error.txn_requires_abort():
            raise self._over(error)
        try:
            self._until_answered(self._producer.abort_transaction)
        except KafkaException as exception:
            raise self._over(error_of(exception)) from exception

    def _over(self, error: KafkaError) -> Exception:
        self._broker.on_error(error)
        if error.code() in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError._INVALID_ARG}:  # noqa: SLF001  # the library's name
            return TapeError(f"The broker at {self._settings.kafka_bootstrap} refused a message: {error.str()}.")
        return SessionOverError(f"{error.str()} ({error.name()})")

    def _check_topics(self, timeout: float = TRY_FOR) -> None:
        check_topics(self._producer.list_topics(timeout=timeout).topics, self._topics, self._settings)

    def _until_answered(self, call: Callable[[float], None], also: Iterable[int] = ()) -> None:
        """Call until the brokers answer; raise what waiting does not mend."""
        passing = frozenset(also)
        while True:
            try:
                call(TRY_FOR)
            except KafkaException as exception:
                error = error_of(exception)
                if not error.retriable() and error.code() not in passing:
                    raise
                self._wait(error.str())
            else:
                self._broker.answered()
                return

    def _wait(self, why: str) -> None:
        self._broker.lost(why)
        self._producer.poll(0.05)
        self._broker.check()
        if not self._may_wait():
            raise GaveUpError(why)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            with suppress(KafkaException):
                self._check_topics()
