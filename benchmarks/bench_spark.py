"""Spark: a backlog on Kafka to bronze and candles, beside bare queries that do as much and prove nothing.

All run in one Spark, each once over the whole tape to be warm and once measured, in turn; few and many symbols twice.
A rate is that of the median micro-batch, without the first of a query, which makes its tables and checkpoint.
Afterwards ours must hold every trade once.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from pyspark.sql import DataFrame, SparkSession, functions as sql
from pyspark.sql.streaming.query import StreamingQuery

from benchmarks.measuring import Figure, at_most, check
from tapehouse.catalog import CANDLES, TRADES, TRADES_TOPIC
from tapehouse.lake.delta import DeltaLake
from tapehouse.settings import Settings, load_settings
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.spark import SparkEngine
from tapehouse.streaming.spark_session import MOST_RECORDS, start_query, start_session
from tapehouse.tape.codec import headers_of, key_of
from tapehouse.tape.topics import apply_topics

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
MANY_SYMBOLS = tuple(f"S{number:03}USDT" for number in range(300))
BEGAN = 1_700_000_000_000
TAPE_RATE = 3_000
"""Trades a second of event time, over all symbols."""
MOST_TIMES = 1.25
MOST_TIMES_OF_MANY = 1.2
TURNS = 2
"""How often few and many symbols are measured."""
FIELDS = "data struct<e:string,E:long,s:string,t:long,p:string,q:string,T:long,m:boolean>"

Start = Callable[[SparkSession, Settings], StreamingQuery]

sys.path.append(str(Path(__file__).parents[1] / "deploy" / "local"))  # programs of the repository, not a package


def run(messages: int) -> Sequence[Figure]:
    """Measure records a second of our engine and of the bare queries, then of our engine with many symbols."""
    with running_broker(SYMBOLS) as few, running_broker(MANY_SYMBOLS) as many:
        put(few, messages)
        put(many, messages)
        session = start_session(few)
        session.conf.set("spark.sql.caseSensitive", "true")  # the exchange tells a `t` and a `T`
        starts = {"ours": _ours, "bare bronze": _bare_bronze, "bare candles": _bare_candles}
        try:
            for name, start in starts.items():
                _rate(session, few, f"warm {name}", start, messages)
            rates = {name: _rate(session, few, name, start, messages) for name, start in starts.items()}
            _check(few, messages, "ours")
            _rate(session, many, "warm ours", _ours, messages)
            turns = [
                (
                    _rate(session, few, f"few {turn}", _ours, messages),
                    _rate(session, many, f"many {turn}", _ours, messages),
                )
                for turn in range(TURNS)
            ]
            rates["again"], rates["many symbols"] = map(statistics.median, zip(*turns, strict=True))
            _check(many, messages, f"many {TURNS - 1}")
        finally:
            session.stop()
    return _figures(rates)


@contextmanager
def running_broker(symbols: Sequence[str]) -> Iterator[Settings]:
    """Give the settings of a broker of its own, topics made, and of a lake that is not there yet."""
    import parts  # noqa: PLC0415  # found through the line above
    import servers  # noqa: PLC0415

    home = Path(tempfile.mkdtemp(prefix="tapehouse-spark-"))
    cache = Path.home() / ".cache" / "tapehouse" / "cluster"
    with servers.Broker(home / "broker", jars=parts.fetch_kafka(cache / "kafka-jars")) as broker:
        settings = load_settings(
            profile="cluster",
            symbols=symbols,
            lake=str(home / "lake"),
            kafka_bootstrap=broker.bootstrap,
            spark_jars=parts.fetch_spark_jars(cache / "spark-jars"),
            spark_master="local[2]",
            spark_memory="2g",
            spark_ui_port=0,
        )
        list(apply_topics(settings))
        yield settings
    shutil.rmtree(home, ignore_errors=True)


def put(settings: Settings, messages: int) -> None:
    """Put trades on the tape, in turn of the symbols."""
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "linger.ms": 50, "compression.type": "zstd"})
    for number in range(messages):
        symbol = settings.symbols[number % len(settings.symbols)]
        at = BEGAN + number * 1000 // TAPE_RATE
        fields = {"e": "trade", "E": at, "s": symbol, "t": number // len(settings.symbols), "p": "61784.01000000"}
        data = {**fields, "q": "0.00045000", "T": at, "m": number % 2 == 0, "M": True}
        frame = json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}).encode()
        headers = headers_of("stream", at * 1000)
        while True:
            try:
                producer.produce(TRADES_TOPIC, frame, key_of(symbol), headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


def _rate(session: SparkSession, settings: Settings, name: str, start: Start, messages: int) -> float:
    """Take the whole tape with a query; return the records a second of the median micro-batch from the second on."""
    query = start(session, settings.model_copy(update={"lake": f"{settings.lake}/{name}"}))
    _wait(query, lambda: _taken(query) >= messages)
    batches = [progress for progress in query.recentProgress if progress.numInputRows][1:]
    query.stop()
    rate = statistics.median(1000 * batch.numInputRows / batch.durationMs["triggerExecution"] for batch in batches)
    print(f"{name}, {len(settings.symbols)} symbols: {rate:,.0f} records/s", flush=True)
    return rate


def _check(settings: Settings, messages: int, name: str) -> None:
    lake = DeltaLake(f"{settings.lake}/{name}", writer=None)
    held = lake.scan(TRADES).select("symbol", "first_trade_id").collect()
    check(held.height == messages == held.unique().height, f"{held.height} trades are in bronze, of {messages}")
    windows = lake.scan(CANDLES).filter(interval="1m").select("symbol", "opened_at").collect()
    over = (messages - 1) // TAPE_RATE // 60 * len(settings.symbols)
    check(windows.height >= over - len(settings.symbols), f"{windows.height} minutes are in silver, of {over}")


def _ours(session: SparkSession, settings: Settings) -> StreamingQuery:
    lake = DeltaLake(settings.lake)
    lake.create()
    recovered = recover(lake, settings.symbols)
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
    bronze, candles, ours, again = (rates[name] for name in ("bare bronze", "bare candles", "ours", "again"))
    both = 1 / (1 / bronze + 1 / candles)
    many = rates["many symbols"]
    return [
        Figure("a backlog to bronze and candles, ours", ours, "records/s"),
        Figure("a bare query to bronze", bronze, "records/s"),
        Figure("a bare query to candles", candles, "records/s"),
        at_most("the bare bronze query against ours", bronze / ours, "times", MOST_TIMES),
        at_most("the bare candles query against ours", candles / ours, "times", MOST_TIMES),
        Figure("both bare queries one after the other against ours", both / ours, "times"),
        Figure("ours with 300 symbols", many, "records/s"),
        at_most("3 symbols (measured beside it) against 300", again / many, "times", MOST_TIMES_OF_MANY),
    ]
