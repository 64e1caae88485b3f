"""Accounts and TLS, before a broker that has both: whoever is let in works, whoever is not is told why."""

from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tapehouse.catalog import TOPICS, TRADES_TOPIC
from tapehouse.errors import ConfigError, TapeError
from tapehouse.settings import Settings
from tapehouse.tape.reader import KafkaTapeReader
from tapehouse.tape.topics import apply_topics

PROOFS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "certificate")
"""Of who we are: a password by one of the mechanisms, or a certificate."""


@pytest.fixture
def environment(secure_broker, tmp_path) -> dict[str, str]:
    """The variables of a process that is let in."""
    return variables(secure_broker.settings("PLAIN")) | {
        "TAPEHOUSE_SYMBOLS": "BTCUSDT",
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
    }


def variables(settings: dict[str, Any]) -> dict[str, str]:
    """Return settings as a process is given them."""
    return {f"TAPEHOUSE_{name.upper()}": str(value) for name, value in settings.items()}


@pytest.mark.parametrize("proof", PROOFS)
def test_topics_producer_and_reader_are_let_in(secure_broker, proof, run_in, environment):
    settings = Settings(_env_file=None, **secure_broker.settings(proof))
    assert [line.partition(":")[0] for line in apply_topics(settings)] == list(TOPICS)
    reader = KafkaTapeReader(settings, topics=[TRADES_TOPIC])
    own = environment | variables(secure_broker.settings(proof))
    exchange = run_in(own, "exchange", "--port", "0", "--symbols", "BTCUSDT", "--rate", "50")
    ws, rest = (exchange.until(lambda kind=kind: exchange.address(kind)) for kind in ("ws", "http"))
    at = {"TAPEHOUSE_BINANCE_WS_URL": ws, "TAPEHOUSE_BINANCE_REST_URL": rest}
    producing = run_in(own | at, "produce", "binance", "--port", "0")
    producing.until_records(10)
    assert producing.until(lambda: reader.read(1.0))
    assert producing.stop() == 0


def test_who_shows_no_certificate_where_one_is_asked_for_is_told_which_setting_names_it(secure_broker):
    given = secure_broker.settings("certificate") | {"kafka_ssl_certificate": None}
    refused = rf"{secure_broker.mutual} asks for a certificate .*TAPEHOUSE_KAFKA_SSL_CERTIFICATE"
    settings = Settings(_env_file=None, **given)
    with pytest.raises(TapeError, match=refused):
        list(apply_topics(settings))
    with pytest.raises(TapeError, match=refused):
        KafkaTapeReader(settings)


def test_a_wrong_password_is_told_to_whoever_applies_reads_and_produces(secure_broker, run_in, environment):
    given = secure_broker.settings("SCRAM-SHA-512") | {"kafka_sasl_password": "not the password"}
    settings = Settings(_env_file=None, **given)
    refused = rf"{secure_broker.bootstrap} does not let us in: .*uthentication.*TAPEHOUSE_KAFKA_SASL"
    with pytest.raises(TapeError, match=refused):
        list(apply_topics(settings))
    with pytest.raises(TapeError, match=refused):
        KafkaTapeReader(settings)
    producing = run_in(environment | {"TAPEHOUSE_KAFKA_SASL_PASSWORD": "wrong"}, "produce", "binance", "--port", "0")
    assert producing.ends() == 6
    assert "does not let us in" in producing.said()
    assert "wrong" not in producing.said()


def test_a_certificate_of_an_unknown_authority_is_told_to_whoever_applies_reads_and_produces(
    secure_broker, run_in, environment
):
    given = secure_broker.settings("PLAIN") | {"kafka_ssl_ca": secure_broker.other_ca}
    settings = Settings(_env_file=None, **given)
    refused = rf"certificate of the broker at {secure_broker.bootstrap} .*TAPEHOUSE_KAFKA_SSL_CA"
    with pytest.raises(TapeError, match=refused):
        list(apply_topics(settings))
    with pytest.raises(TapeError, match=refused):
        KafkaTapeReader(settings)
    own = environment | {"TAPEHOUSE_KAFKA_SSL_CA": str(secure_broker.other_ca)}
    producing = run_in(own, "produce", "binance", "--port", "0")
    assert producing.ends() == 6
    assert "TAPEHOUSE_KAFKA_SSL_CA" in producing.said()


@pytest.mark.parametrize("setting", ["kafka_ssl_ca", "kafka_ssl_certificate"])
def test_a_file_of_certificates_that_is_not_there_is_named(secure_broker, tmp_path, setting):
    given = secure_broker.settings("PLAIN") | {setting: tmp_path / "nowhere.pem"}
    with pytest.raises(ConfigError, match=rf"TAPEHOUSE_{setting.upper()} .*nowhere\.pem"):
        list(apply_topics(Settings(_env_file=None, **given)))


def test_an_account_without_its_rights_is_told_so(secure_broker):
    stranger = secure_broker.settings("PLAIN") | {"kafka_sasl_username": "stranger"}
    with pytest.raises(TapeError, match=r"refused: .*AUTHORIZATION_FAILED"):
        list(apply_topics(Settings(_env_file=None, **stranger)))


def test_without_tls_nobody_is_let_in(secure_broker):
    admin = AdminClient({"bootstrap.servers": secure_broker.bootstrap, "log_level": 0, "error_cb": lambda _: None})
    with pytest.raises(Exception, match="Failed to get metadata"):
        admin.list_topics(timeout=3)
