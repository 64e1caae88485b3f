"""The whole profile while producer, broker and Spark driver are killed with -9: every id once, every candle right."""

import time
from decimal import Decimal
from random import Random

import httpx
import polars as pl
import pytest

from tapehouse.catalog import CANDLES, TRADES, TRADES_TOPIC
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.producers.binance.decode import decode_rest, decode_stream
from tapehouse.settings import Settings
from tapehouse.tape.codec import Record, to_batches

pytestmark = pytest.mark.timeout(900)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
SEED = 11
ROUNDS = 3
SPEED = 20
"""Event time runs so many times as fast as ours: a minute is over in three seconds."""
WITHIN = 240.0


class Profile:
    """An exchange that goes on, and the three that are killed; each is started again as its supervisor would."""

    def __init__(self, run_in, environment, broker):
        self._run_in, self.environment, self.broker = run_in, environment, broker
        told = "--symbols", ",".join(SYMBOLS), "--rate", "3", "--speed", str(SPEED), "--history", "60"
        self.exchange = self.run("exchange", "--port", "0", *told)
        self.rest = self.exchange.until(lambda: self.exchange.address("http"))
        self.environment |= {
            "TAPEHOUSE_BINANCE_WS_URL": self.exchange.until(lambda: self.exchange.address("ws")),
            "TAPEHOUSE_BINANCE_REST_URL": self.rest,
        }
        assert self.run("topics", "apply").ends() == 0
        self.lake = DeltaLake(environment["TAPEHOUSE_LAKE"])
        self.start_producer()
        self.start_driver()

    def run(self, *arguments):
        return self._run_in(self.environment, *arguments)

    def start_producer(self):
        self.producer = self.run("produce", "binance", "--port", "0")

    def start_driver(self):
        self.driver = self.run("stream", "--port", "0")

    def kill(self, victim):
        """Kill one of the three and start it again."""
        if victim == "broker":
            self.broker.kill()
            self.broker.start()
        else:
            getattr(self, victim).kill()
            getattr(self, f"start_{victim}")()

    def trades(self):
        """Return the trades in bronze; none before there is a table."""
        rows = self.lake.scan(TRADES).select("symbol", "first_trade_id", "last_trade_id").collect()
        return rows.rows()

    def until_it_goes_on(self):
        """Wait until trades are committed that were not there before."""
        before = len(self.trades())
        self.driver.until(lambda: len(self.trades()) > before, "bronze goes on", WITHIN)


@pytest.fixture
def profile(run_in, own_broker, spark_jars, tmp_path):
    broker = own_broker()
    environment = {
        "TAPEHOUSE_PROFILE": "cluster",
        "TAPEHOUSE_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TAPEHOUSE_KAFKA_PARTITIONS": "2",
        "TAPEHOUSE_LAKE": str(tmp_path / "lake"),
        "TAPEHOUSE_STATE": str(tmp_path / "state"),
        "TAPEHOUSE_SYMBOLS": ",".join(SYMBOLS),
        "TAPEHOUSE_SPARK_JARS": str(spark_jars),
        "TAPEHOUSE_SPARK_MASTER": "local[2]",
        "TAPEHOUSE_SPARK_UI_PORT": "0",
    }
    DeltaLake(environment["TAPEHOUSE_LAKE"]).create()
    return Profile(run_in, environment, broker)


def each_once(ranges):
    """Check that every id from the first to the last of each symbol is there once; return the last of each."""
    ids = {symbol: [] for symbol in SYMBOLS}
    for symbol, first, last in ranges:
        ids[symbol] += range(first, last + 1)
    for found in ids.values():
        assert sorted(found) == list(range(min(found), max(found) + 1))
    return {symbol: max(found) for symbol, found in ids.items()}


def told(records):
    """Give the symbol and the ids of each record on the topic."""
    for batch in to_batches(Record(each.value(), each.headers(), each.timestamp()[1]) for each in records):
        if batch.shape == "stream":
            yield from ((trade.s, trade.t, trade.t) for trade in decode_stream(batch).trades)
        else:
            yield from ((each.symbol, each.first_trade_id, each.last_trade_id) for each, _ in decode_rest(batch)[0])


def oracle(rest, symbol, first, last):
    """Return what the exchange itself says of the minutes of a symbol: by when they opened, columns by our names."""
    asked = {"symbol": symbol, "interval": "1m", "startTime": millis(first), "endTime": millis(last), "limit": 1000}
    rows = httpx.get(f"{rest}/api/v3/klines", params=asked, timeout=20).raise_for_status().json()
    names = "open", "high", "low", "close", "volume", None, "quote_volume", "trades"
    names += "taker_buy_volume", "taker_buy_quote_volume"
    return {at: {name: Decimal(value) for name, value in zip(names, row, strict=False) if name} for at, *row in rows}


def millis(time):
    return int(time.timestamp() * 1000)


def test_whatever_is_killed_in_whatever_order_every_id_is_there_once_and_every_candle_right(profile, raw_records):
    random = Random(SEED)
    profile.until_it_goes_on()
    for _ in range(ROUNDS):
        victims = random.sample(["producer", "broker", "driver"], 3)
        for victim in victims:
            moment = time.monotonic() + random.uniform(0.0, 2.0)
            profile.exchange.until(lambda moment=moment: time.monotonic() > moment)
            profile.kill(victim)
        profile.until_it_goes_on()
    profile.producer.until_whole()
    assert profile.producer.stop() == 0

    settings = Settings(_env_file=None, kafka_bootstrap=profile.broker.bootstrap)
    last = each_once(told(raw_records(settings, TRADES_TOPIC)))
    profile.driver.until(
        lambda: {symbol: max(ends for of, _, ends in profile.trades() if of == symbol) for symbol in SYMBOLS} == last,
        "bronze holds the whole topic",
        WITHIN,
    )
    assert profile.driver.stop() == 0
    assert each_once(profile.trades()) == last

    minutes = highest_revisions(profile.lake.scan(CANDLES)).filter(pl.col("interval") == "1m").collect()
    assert minutes["state"].to_list().count("gap") <= len(SYMBOLS)  # the minute in which it first started
    closed = minutes.filter(pl.col("state") == "closed")
    assert closed.height > 20
    for (symbol,), rows in closed.group_by("symbol"):
        expected = oracle(profile.rest, symbol, rows["opened_at"].min(), rows["opened_at"].max())
        for row in rows.iter_rows(named=True):
            theirs = expected[millis(row["opened_at"])]
            assert {name: Decimal(row[name]) for name in theirs} == theirs
