"""The whole profile, its lake in a bucket, while producer, broker and Spark driver (Python and JVM) are killed with -9.

Every id is there once, and every candle is the exchange's.
"""

import contextlib
import os
import signal
import time
from decimal import Decimal
from random import Random

import httpx
import polars as pl
import pytest

from tapehouse.catalog import TRADES, TRADES_TOPIC
from tapehouse.producers.binance.decode import decode_rest, decode_stream
from tapehouse.settings import Settings
from tapehouse.tape.codec import Record, to_batches

pytestmark = pytest.mark.timeout(900)

SYMBOLS = ("BTCUSDT", "ETHUSDT")
SEED = 11
VICTIMS = ("producer", "broker", "driver", "jvm")
FIRST = ("driver", "jvm")
"""Who is killed first in each round: that one finds a stream at work, those after it may find one that starts."""
SPEED = 20
"""Event time runs so many times as fast as ours: a minute is over in three seconds."""
WITHIN = 240.0


class Profile:
    """An exchange that goes on, and those that are killed; each is started again as its supervisor would."""

    def __init__(self, run_in, environment, broker, lake, jvm_of):
        self._run_in, self.environment, self.broker, self.lake, self._jvm_of = run_in, environment, broker, lake, jvm_of
        told = "--symbols", ",".join(SYMBOLS), "--rate", "3", "--speed", str(SPEED), "--history", "60"
        self.exchange = self.run("exchange", "--port", "0", *told)
        self.rest = self.exchange.until(lambda: self.exchange.address("http"))
        self.environment |= {
            "TAPEHOUSE_BINANCE_WS_URL": self.exchange.until(lambda: self.exchange.address("ws")),
            "TAPEHOUSE_BINANCE_REST_URL": self.rest,
        }
        assert self.run("topics", "apply").ends() == 0
        self.start_producer()
        self.start_driver()

    def run(self, *arguments):
        return self._run_in(self.environment, *arguments)

    def start_producer(self):
        self.producer = self.run("produce", "binance", "--port", "0")

    def start_driver(self):
        self.driver = self.run("stream", "--port", "0")

    def kill(self, victim):
        """Kill one of them and start it again."""
        match victim:
            case "broker":
                self.broker.kill()
                self.broker.start()
            case "producer":
                self.producer.kill()
                self.start_producer()
            case "driver":
                self.driver.kill()
                self.start_driver()
            case "jvm":
                os.kill(self.driver.until(lambda: self._jvm_of(self.driver.process.pid), "a JVM"), signal.SIGKILL)
                assert self.driver.ends() != 0
                self.start_driver()

    def trades(self):
        """Return the trades in bronze; none before there is a table."""
        rows = self.lake.scan(TRADES).select("symbol", "first_trade_id", "last_trade_id").collect()
        return rows.rows()

    def until_it_goes_on(self):
        """Wait until trades are committed that were not there before."""
        before = len(self.trades())
        self.driver.until(lambda: len(self.trades()) > before, "bronze goes on", WITHIN)


@pytest.fixture
def profile(run_in, own_broker, environment, bucket_lake, jvm_of):
    broker = own_broker()
    environment |= {"TAPEHOUSE_KAFKA_BOOTSTRAP": broker.bootstrap, "TAPEHOUSE_SYMBOLS": ",".join(SYMBOLS)}
    return Profile(run_in, environment, broker, bucket_lake, jvm_of)


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


class ExchangeTape:
    """The exchange's own trades, as it tells them over REST."""

    def __init__(self, rest):
        self._rest = rest

    def trades(self, symbol, first, last):
        """Return the trades first..last."""
        rows = []
        while (asked := first + len(rows)) <= last:
            wanted = {"symbol": symbol, "fromId": asked, "limit": min(last - asked + 1, 1000)}
            answer = httpx.get(f"{self._rest}/api/v3/historicalTrades", params=wanted, timeout=20)
            rows += answer.raise_for_status().json()
        return pl.DataFrame(
            {
                "first_trade_id": [row["id"] for row in rows],
                "last_trade_id": [row["id"] for row in rows],
                "price": [int(Decimal(row["price"]) * 10**8) for row in rows],
                "quantity": [int(Decimal(row["qty"]) * 10**8) for row in rows],
                "buyer_is_maker": [row["isBuyerMaker"] for row in rows],
                "traded_at": [row["time"] * 1000 for row in rows],
            }
        )


def test_whatever_is_killed_in_whatever_order_every_id_is_there_once_and_every_candle_right(
    profile, raw_records, audit
):
    random = Random(SEED)
    profile.until_it_goes_on()
    for first in FIRST:
        others = [victim for victim in VICTIMS if victim != first]
        for victim in (first, *random.sample(others, len(others))):
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
    audited = audit(profile.lake, ExchangeTape(profile.rest))
    theirs = {symbol: audited.trades(symbol) for symbol in SYMBOLS}

    def candles_agree():
        """Every window of every interval that must be there by the trades, and no other; in every digit."""
        for symbol in SYMBOLS:
            audited.candles(symbol, theirs[symbol])

    with contextlib.suppress(AssertionError):  # what is wrong is told below
        profile.driver.until(lambda: passes(candles_agree), "the candles follow from bronze")
    assert profile.driver.stop() == 0
    assert each_once(profile.trades()) == last
    candles_agree()
    for symbol in SYMBOLS:
        audited.revisions(symbol)


def passes(check):
    """Tell whether a check finds nothing to complain of."""
    with contextlib.suppress(AssertionError):
        check()
        return True
    return False
