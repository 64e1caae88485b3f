"""How Spark is set up, and the query that reads the tape: what the settings say, in Spark's words."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from tapehouse.catalog import CONTEXT_TOPICS, DEAD_LETTERS, KLINES_TOPIC, TRADES_TOPIC
from tapehouse.errors import ConfigError
from tapehouse.settings import Settings

SUBSCRIBED = (TRADES_TOPIC, KLINES_TOPIC, DEAD_LETTERS, *CONTEXT_TOPICS.values())
MOST_RECORDS = 300_000
"""Records of one micro-batch at most: enough to be cheap a record, few enough for a gigabyte of memory."""
QUERY = "tapehouse"
_CORES = 2

Take = Callable[[DataFrame, int], None]


def start_session(settings: Settings) -> SparkSession:
    """Start Spark, or join the one that `spark-submit` started; raise ConfigError where it cannot start."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if settings.spark_master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")  # Spark's page listens to nobody else
    builder = SparkSession.builder.appName(QUERY)
    for name, value in configuration(settings):
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkException, OSError) as error:
        raise ConfigError(f"Spark does not start: {error}. It needs Java 17 or newer (JAVA_HOME).") from error
    session.sparkContext.setLogLevel("ERROR")
    hadoop = session.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001  # PySpark's own way to it
    for name, value in bucket_keys(settings):
        hadoop.set(name, value)
    return session


def bucket_keys(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give the keys of the bucket: told to Spark once it runs, since its command line is for every user to see."""
    secret, token = settings.aws_secret_access_key, settings.aws_session_token
    given = {
        "access.key": settings.aws_access_key_id,
        "secret.key": secret.get_secret_value() if secret else None,
        "session.token": token.get_secret_value() if token else None,
    }
    for name, value in given.items():
        if value and _uses_bucket(settings):
            yield f"fs.s3a.{name}", value


def configuration(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give Spark's configuration."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # spark-submit says these itself
        yield "spark.master", settings.spark_master
        yield "spark.driver.memory", settings.spark_memory
        yield "spark.jars", ",".join(jars(settings.spark_jars))
        if settings.spark_master.startswith("local"):
            yield "spark.driver.host", "127.0.0.1"
            yield "spark.driver.bindAddress", "127.0.0.1"
    yield "spark.ui.showConsoleProgress", "false"
    yield "spark.ui.port", str(settings.spark_ui_port)
    yield "spark.executorEnv.POLARS_MAX_THREADS", "1"
    yield "spark.sql.session.timeZone", "UTC"
    yield "spark.sql.shuffle.partitions", str(_CORES)
    yield "spark.sql.adaptive.enabled", "false"  # it plans a small job in several, each of which costs time
    yield "spark.sql.parquet.compression.codec", "zstd"
    yield "spark.hadoop.parquet.compression.codec.zstd.level", "1"
    yield "spark.sql.inMemoryColumnarStorage.compressed", "false"  # what is kept for one batch is not worth packing
    yield "spark.sql.streaming.noDataMicroBatches.enabled", "false"
    yield "spark.sql.streaming.stopTimeout", "10s"
    yield "spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension"
    yield "spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog"
    yield "spark.databricks.delta.snapshotPartitions", "1"
    yield "spark.hadoop.parquet.enable.dictionary#payload", "false"  # no two are alike
    if _uses_bucket(settings):
        yield from _bucket(settings)


def jars(folder: Path) -> list[str]:
    """Return the jars of a folder; raise ConfigError where there are none."""
    found = sorted(str(jar.absolute()) for jar in folder.glob("*.jar"))
    if not found:
        raise ConfigError(
            f"No jars for Spark in {folder}. `make cluster-up` fetches them; TAPEHOUSE_SPARK_JARS says where."
        )
    return found


def address(place: str) -> str:
    """Return a folder or `s3://` address as Spark writes it."""
    return place.replace("s3://", "s3a://", 1) if "://" in place else str(Path(place).absolute())


def checkpoints(settings: Settings) -> str:
    """Return where Spark keeps how far it has come."""
    return settings.checkpoints or f"{settings.lake.rstrip('/')}/_checkpoints"


def start_query(session: SparkSession, settings: Settings, take: Take) -> StreamingQuery:
    """Read the tape from where the checkpoint says, else from its beginning, and hand each micro-batch to `take`."""
    reader = session.readStream.format("kafka").option("subscribe", ",".join(SUBSCRIBED))
    for name, value in kafka_options(settings):
        reader = reader.option(f"kafka.{name}", value)
    records = (
        reader.option("kafka.isolation.level", "read_committed")
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", MOST_RECORDS)
        .option("includeHeaders", "true")
        .load()
    )
    writer = records.writeStream.queryName(QUERY).option("checkpointLocation", address(checkpoints(settings)))
    return writer.trigger(processingTime=f"{settings.trigger_interval} seconds").foreachBatch(take).start()


def kafka_options(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give how to reach the brokers, in the names of Kafka's Java client."""
    yield "bootstrap.servers", settings.kafka_bootstrap
    yield "security.protocol", settings.kafka_security_protocol.upper()
    if settings.kafka_ssl_ca is not None:
        yield "ssl.truststore.type", "PEM"
        yield "ssl.truststore.location", str(settings.kafka_ssl_ca.absolute())
    if settings.kafka_ssl_certificate is not None:
        yield "ssl.keystore.type", "PEM"
        yield "ssl.keystore.location", str(settings.kafka_ssl_certificate.absolute())
    if settings.kafka_sasl_mechanism:
        secret = settings.kafka_sasl_password
        account = {"username": settings.kafka_sasl_username, "password": secret.get_secret_value() if secret else ""}
        said = " ".join(f'{name}="{_quoted(value)}"' for name, value in account.items())
        yield "sasl.mechanism", settings.kafka_sasl_mechanism
        yield "sasl.jaas.config", f"{_LOGINS[settings.kafka_sasl_mechanism.partition('-')[0]]} required {said};"


_LOGINS = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _uses_bucket(settings: Settings) -> bool:
    return settings.lake.startswith("s3://") or (settings.checkpoints or "").startswith("s3://")


def _bucket(settings: Settings) -> Iterator[tuple[str, str]]:
    given = {
        "endpoint": settings.aws_endpoint_url,
        "endpoint.region": settings.aws_region or ("us-east-1" if settings.aws_endpoint_url else None),
    }
    for name, value in given.items():
        if value:
            yield f"spark.hadoop.fs.s3a.{name}", value
    if settings.aws_endpoint_url:
        yield "spark.hadoop.fs.s3a.connection.ssl.enabled", str(settings.aws_endpoint_url.startswith("https")).lower()
    path_style = settings.s3_path_style
    chosen = settings.aws_endpoint_url is not None if path_style is None else path_style
    yield "spark.hadoop.fs.s3a.path.style.access", str(chosen).lower()
