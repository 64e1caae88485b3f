"""Spark before a broker with accounts and TLS: it is told to Kafka's Java client as the settings say it."""

import pytest
from confluent_kafka import Producer

from tapehouse.catalog import TRADES_TOPIC
from tapehouse.settings import Settings
from tapehouse.streaming.spark_session import kafka_options
from tapehouse.tape.topics import apply_topics


@pytest.mark.parametrize("proof", ["PLAIN", "SCRAM-SHA-512", "certificate"])
def test_spark_reads_with_an_account_or_a_certificate_and_over_tls(spark, secure_broker, proof):
    settings = Settings(_env_file=None, **secure_broker.settings(proof))
    list(apply_topics(settings))
    producer = Producer({"bootstrap.servers": secure_broker.inner})
    producer.produce(TRADES_TOPIC, proof)
    assert producer.flush(20) == 0
    reader = spark.read.format("kafka").option("subscribe", TRADES_TOPIC)
    for name, value in kafka_options(settings):
        reader = reader.option(f"kafka.{name}", value)
    assert proof in {bytes(row.value).decode() for row in reader.load().select("value").collect()}
