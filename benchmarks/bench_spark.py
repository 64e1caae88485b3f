"""Spark: a backlog on Kafka to bronze and candles, beside bare queries that do as much and prove nothing."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession, functions as sql
from pyspark.sql.streaming.query import StreamingQuery

from benchmarks.measuring import Figure, at_most
from tapehouse.catalog import TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.settings import Settings, load_settings
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.spark import SparkEngine
from tapehouse.streaming.spark_session import MOST_RECORDS, start_query, start_session
from tapehouse.tape.codec import headers_of, key_of
from tapehouse.tape.topics import apply_topics

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
BEGAN = 1_700_000_000_000
MOST_TIMES = 1.25
FIELDS = "data struct<e:string,E:long,s:string,t:long,p:string,q:string,T:long,m:boolean>"

sys.path.append(str(Path(__file__).parents[1] / "deploy" / "local"))  # programs of the repository, not a package


def run(messages: int) -> Sequence[Figure]:
    """Measure records a second of our engine and of the bare queries, one after the other in one warm Spark."""
    import parts  # noqa: PLC0415  # found through the line above
    import servers  # noqa: PLC0415

    home = Path(tempfile.mkdtemp(prefix="tapehouse-spark-"))
    cache = Path.home() / ".cache" / "tapehouse" / "cluster"
    with servers.Broker(home / "broker", jars=parts.fetch_kafka(cache / "kafka-jars")) as broker:
        settings = load_settings(
            profile="cluster",
            symbols=SYMBOLS,
            lake=str(home / "lake"),
            kafka_bootstrap=broker.bootstrap,
            spark_jars=parts.fetch_spark_jars(cache / "spark-jars"),
            spark_master="local[2]",
            spark_memory="2g",
            spark_ui_port=0,
        )
        list(apply_topics(settings))
        session = start_session(settings)
        session.conf.set("spark.sql.caseSensitive", "true")  # the exchange tells a `t` and a `T`
        try:
            put(settings, 0, messages // 10)
            _rates(session, settings, home / "warm", messages // 10)
            put(settings, messages // 10, messages)
            rates = _rates(session, settings, home / "measured", messages)
        finally:
            session.stop()
    shutil.rmtree(home, ignore_errors=True)
    return _figures(rates)


def put(settings: Settings, first: int, until: int) -> None:
    """Put trades with the ids first..until on the tape, in turn of the symbols: a hundred a second of event time."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "linger.ms": 50, "compression.type": "zstd"})
    for number in range(first, until):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        at = BEGAN + number * 10
        fields = {"e": "trade", "E": at, "s": symbol, "t": number // len(SYMBOLS), "p": "61784.01000000"}
        data = {**fields, "q": "0.00045000", "T": at, "m": number % 2 == 0, "M": True}
        frame = json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()
        headers = headers_of("stream", at * 1000)
        while True:
            try:
                producer.produce("crypto-prices", frame, key_of(symbol), headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


def _rates(session: SparkSession, settings: Settings, home: Path, messages: int) -> dict[str, float]:
    rates = {}
    for name, start in (("ours", _ours), ("bare bronze", _bare_bronze), ("bare candles", _bare_candles)):
        began = time.perf_counter()
        query = start(session, settings.model_copy(update={"lake": str(home / name)}))
        _wait(query, lambda query=query: _taken(query) >= messages)
        rates[name] = messages / (time.perf_counter() - began)
        query.stop()
    held = DeltaLake(str(home / "ours")).scan(TRADES).select("symbol", "first_trade_id").unique().collect().height
    assert held == messages, f"{held} of {messages} trades are in bronze"
    return rates


def _ours(session: SparkSession, settings: Settings) -> StreamingQuery:
    lake = DeltaLake(settings.lake)
    lake.create()
    recovered = recover(lake, SYMBOLS)
    engine = SparkEngine(lake, recovered, now=lambda: time.time_ns() // 1000)
    query = start_query(session, settings, engine.take)
    engine.application.set_result(f"stream-{query.id}")
    return query


def _bare(session: SparkSession, settings: Settings) -> DataFrame:
    reader = session.readStream.format("kafka").option("kafka.bootstrap.servers", settings.kafka_bootstrap)
    records = (
        reader.option("subscribe", "crypto-prices")
        .option("startingOffsets", "earliest")
        .option("kafka.isolation.level", "read_committed")
        .option("maxOffsetsPerTrigger", MOST_RECORDS)
        .load()
    )
    told = sql.from_json(sql.col("value").cast("string"), FIELDS)["data"]
    return records.select(told.alias("told"), "value").select(
        sql.col("told.s").alias("symbol"),
        sql.col("told.t").alias("trade_id"),
        sql.col("told.p").cast("decimal(38,8)").alias("price"),
        sql.col("told.q").cast("decimal(38,8)").alias("quantity"),
        sql.timestamp_millis("told.T").alias("traded_at"),
        sql.col("value").alias("payload"),
        sql.to_date(sql.timestamp_millis("told.T")).alias("date"),
    )


def _bare_bronze(session: SparkSession, settings: Settings) -> StreamingQuery:
    writer = _bare(session, settings).writeStream.format("delta").partitionBy("date")
    return writer.option("checkpointLocation", f"{settings.lake}/_checkpoint").start(f"{settings.lake}/trades")


def _bare_candles(session: SparkSession, settings: Settings) -> StreamingQuery:
    place = f"{settings.lake}/candles"

    def merge(candles: DataFrame, _number: int) -> None:
        if not (Path(place) / "_delta_log").exists():
            candles.limit(0).write.format("delta").save(place)
        candles.createOrReplaceTempView("news")
        candles.sparkSession.sql(
            f"MERGE INTO delta.`{place}` AS ours USING news ON ours.minute = news.minute AND ours.symbol = news.symbol "
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )

    candles = (
        _bare(session, settings)
        .withWatermark("traded_at", "5 minutes")
        .groupBy(sql.window("traded_at", "1 minute").alias("minute"), "symbol")
        .agg(
            sql.min_by("price", "trade_id").alias("open"),
            sql.max("price").alias("high"),
            sql.min("price").alias("low"),
            sql.max_by("price", "trade_id").alias("close"),
            sql.sum("quantity").alias("volume"),
            sql.count("*").alias("trades"),
        )
    )
    writer = candles.writeStream.outputMode("update").foreachBatch(merge)
    return writer.option("checkpointLocation", f"{settings.lake}/_checkpoint").start()


def _taken(query: StreamingQuery) -> int:
    return sum(progress.numInputRows for progress in query.recentProgress)


def _wait(query: StreamingQuery, is_so: Callable[[], bool]) -> None:
    while not is_so():
        if not query.isActive:
            raise AssertionError("the query ended")
        time.sleep(0.1)


def _figures(rates: dict[str, float]) -> Sequence[Figure]:
    bronze, candles = rates["bare bronze"], rates["bare candles"]
    both = 1 / (1 / bronze + 1 / candles)
    return [
        Figure("a backlog to bronze and candles, ours", rates["ours"], "records/s"),
        Figure("a bare query to bronze", bronze, "records/s"),
        Figure("a bare query to candles", candles, "records/s"),
        at_most("the bare bronze query against ours", bronze / rates["ours"], "times", MOST_TIMES),
        at_most("the bare candles query against ours", candles / rates["ours"], "times", MOST_TIMES),
        at_most("both bare queries one after the other against ours", both / rates["ours"], "times", MOST_TIMES),
    ]
