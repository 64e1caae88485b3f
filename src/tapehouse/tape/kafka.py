"""How to reach the brokers, and what their errors mean to a person."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException

from tapehouse import telemetry
from tapehouse.errors import ConfigError, TapeError
from tapehouse.settings import Settings

LARGEST_RECORD = 2 * 1024 * 1024
"""Bytes of a record; a frame of the exchange has half as many at most."""
TOLD_AFTER = 1.0
"""Seconds a broker may be away before the log says so: at a start and a change of leaders it is, for a moment."""
NOT_LET_IN = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # the library's name of its own errors
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
    }
)
"""Errors that waiting does not mend."""

Configuration = dict[str, Any]

log = structlog.get_logger(__name__)
_library_log = logging.getLogger("librdkafka")


def client_configuration(settings: Settings, broker: "BrokerState") -> Configuration:
    """Return what every client of the brokers needs, by the names of librdkafka; its errors go to `broker`.

    Raise ConfigError where a file of certificates is missing.
    """
    secret = settings.kafka_sasl_password
    trusted = _named_file("TAPEHOUSE_KAFKA_SSL_CA", settings.kafka_ssl_ca)
    own = _named_file("TAPEHOUSE_KAFKA_SSL_CERTIFICATE", settings.kafka_ssl_certificate)
    given = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "security.protocol": settings.kafka_security_protocol,
        "sasl.mechanism": settings.kafka_sasl_mechanism,
        "sasl.username": settings.kafka_sasl_username,
        "sasl.password": secret.get_secret_value() if secret else "",
        "ssl.ca.location": trusted,
        "ssl.certificate.location": own,
        "ssl.key.location": own,
    }
    return {
        **{name: value for name, value in given.items() if value},
        "client.id": "tapehouse",
        "error_cb": broker.on_error,
        "log_level": 2,  # a broker that is away is told of once, by BrokerState
        "logger": _library_log,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 30_000,
    }


def _named_file(setting: str, path: Path | None) -> str:
    if path is not None and not path.is_file():
        raise ConfigError(f"{setting} names {path}, and there is no such file.")
    return str(path or "")


def error_of(exception: KafkaException) -> KafkaError:
    """Return the error an exception carries."""
    error = exception.args[0]
    assert isinstance(error, KafkaError)  # noqa: S101  # the library puts nothing else there
    return error


def check_topics(present: Iterable[str], wanted: Iterable[str], settings: Settings) -> None:
    """Raise ConfigError when a topic is not there: nothing creates one by the way."""
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise ConfigError(
            f"The broker at {settings.kafka_bootstrap} has no topic {', '.join(missing)}. "
            "`tapehouse topics apply` creates what is missing."
        )


class BrokerState:
    """Whether the brokers answer, as their client last saw it; log, metric and health are told when it changes.

    `refusal` is set when they answer and waiting is no use: they do not let us in, or are not who they should be.
    """

    def __init__(self, bootstrap: str) -> None:
        self.error = ""
        self.since = 0.0
        self.refusal = ""
        self._bootstrap = bootstrap
        self._told = False

    def on_error(self, error: KafkaError) -> None:
        """Take note of an error the client met by itself (librdkafka's `error_cb`)."""
        if error.code() in NOT_LET_IN:
            self.refusal = (
                f"The broker at {self._bootstrap} does not let us in: {error.str()}. "
                "See TAPEHOUSE_KAFKA_SECURITY_PROTOCOL and TAPEHOUSE_KAFKA_SASL_*."
            )
        elif error.code() == KafkaError._SSL and "verif" in error.str():  # noqa: SLF001  # the library's name
            self.refusal = (
                f"The certificate of the broker at {self._bootstrap} is not to be trusted: {error.str()}. "
                "TAPEHOUSE_KAFKA_SSL_CA names the file of the authorities that are."
            )
        elif "alert" in error.str() and "certificate" in error.str():  # what the broker said in the TLS handshake
            self.refusal = (
                f"The broker at {self._bootstrap} asks for a certificate that it trusts: {error.str()}. "
                "TAPEHOUSE_KAFKA_SSL_CERTIFICATE names the file of ours."
            )
        else:
            self.lost(error.str())

    def lost(self, why: str) -> None:
        """Take note that a request was not answered."""
        if not self.error:
            self.since, self._told = time.time(), False
        if not self._told and time.time() - self.since >= TOLD_AFTER:
            self._told = True
            log.warning("broker_away", bootstrap=self._bootstrap, why=why, what_to_do="messages wait until it is back")
        self.error = why
        telemetry.broker_answers.set(0)

    def answered(self) -> None:
        """Take note that a request was answered."""
        if self.error and self._told:
            log.info("broker_back", bootstrap=self._bootstrap, after=round(time.time() - self.since, 1))
        self.error = ""
        telemetry.broker_answers.set(1)

    def check(self) -> None:
        """Raise TapeError when the brokers do not let us in."""
        if self.refusal:
            raise TapeError(self.refusal)
