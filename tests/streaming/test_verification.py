"""Candles against the exchange's klines: counted, named, looked into, and recorded where they stay apart."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from msgspec import structs

from tapehouse import telemetry
from tapehouse.catalog import CANDLES, DISCREPANCIES
from tapehouse.errors import UpstreamError
from tapehouse.market.ledger import Check
from tapehouse.ports import Batch
from tapehouse.producers.binance.decode import decode_stream
from tapehouse.streaming import bookkeeping
from tapehouse.streaming.comparisons import tally
from tapehouse.streaming.rebuild import rebuild
from tapehouse.streaming.rows import to_microseconds
from tapehouse.streaming.verification import bronze_candle, klines_between, look_into, shown, verify

SYMBOL = "BTCUSDT"
MINUTE = 60_000_000
BEGUN = to_microseconds(datetime(2024, 8, 8, 23, 50, tzinfo=UTC))
ENDED = BEGUN + 20 * MINUTE
KNOWN_AT = ENDED + 60 * MINUTE


class Rest:
    """The exchange's REST klines and, by their ids, its trades."""

    def __init__(self, rows: dict[int, bytes], trades: dict[int, bytes] | None = None) -> None:
        self.rows = rows
        self.trades = trades or {}
        self.asked: list[tuple[int, int]] = []

    async def klines(self, _symbol: str, start: int, end: int) -> list[bytes]:
        self.asked.append((start, end))
        return [row for opened, row in sorted(self.rows.items()) if start <= opened * 1000 < end]

    async def repair(self, hole, tape) -> bool:
        ids = range(hole.first_trade_id, hole.last_trade_id + 1)
        rows = [self.trades[each] for each in ids if each in self.trades]
        await tape.append(Batch(rows, [KNOWN_AT] * len(rows), "trades", hole.symbol))
        return len(rows) == len(ids)


@pytest.fixture
def klines(exchanges_klines, market) -> dict[int, dict]:
    return exchanges_klines(market, SYMBOL)


@pytest.fixture
def filled(lake, start_engine, market, as_batch, as_message):
    """Fill the lake with the market and with klines told of it; return the engine, ended."""

    def fill(klines, rest=()):
        engine = start_engine(lake)
        engine.fold([as_batch([*market, *map(as_message, klines)])])
        rows = list(rest)
        engine.fold([Batch(rows, [KNOWN_AT] * len(rows), "klines", SYMBOL)])
        engine.close()
        return engine

    return fill


def wrong(kline: dict) -> dict:
    """A kline whose highest price and count are not those of its trades."""
    return kline | {"h": "99.25", "n": kline["n"]}


def busy(klines: dict[int, dict]) -> int:
    """Return the opening of a window with trades in the middle."""
    return [opened for opened, kline in klines.items() if kline["n"]][3]


def quiet(klines: dict[int, dict]) -> int:
    """Return the opening of a window without trades."""
    return next(opened for opened, kline in klines.items() if not kline["n"])


@pytest.fixture
def told(as_batch, as_message):
    """Read klines as the stream tells them."""

    def reading(klines):
        messages = decode_stream(as_batch([*map(as_message, klines)])).klines
        return [message.to_kline(received_at) for message, _, received_at in messages]

    return reading


def test_every_candle_that_was_told_agrees_in_every_column(lake, filled, klines):
    engine = filled(klines.values())
    found = verify(lake, SYMBOL, BEGUN, ENDED)
    assert (found.windows, found.agreeing) == (20, len(klines))
    assert (list(found.differing), found.unproved, found.without_kline) == ([], 0, 0)
    assert found.not_held == 20 - len(klines)
    around = verify(lake, SYMBOL, BEGUN - 30 * MINUTE + 1, ENDED + 10 * MINUTE)  # the first of these opened before it
    assert (around.windows, around.compared, around.not_held) == (59, len(klines), 59 - len(klines))
    assert verify(lake, SYMBOL, ENDED, BEGUN).windows == 0
    health = engine._view.health()[SYMBOL]
    assert (health.checked_candles, health.agreeing_candles) == (len(klines), len(klines))


def test_what_differs_is_named_by_column_and_bounds_are_kept(lake, filled, klines, told):
    opened = busy(klines)
    filled(klines.values())
    high = int(float(klines[opened]["h"]) * 10**8)
    found = verify(lake, SYMBOL, BEGUN, ENDED, told([klines[busy(klines)] | {"h": "99.25"}]))
    assert list(found.differing) == [Check(SYMBOL, opened * 1000, [("high", high, 99_25000000)])]
    assert (found.agreeing, found.without_kline) == (0, len(klines) - 1)
    assert verify(lake, SYMBOL, opened * 1000, opened * 1000 + MINUTE).windows == 1
    assert verify(lake, "ETHUSDT", BEGUN, ENDED).without_kline > 0


def test_windows_without_a_kline_or_without_proof_are_counted_apart(lake, filled, klines):
    filled(list(klines.values())[4:])
    found = verify(lake, SYMBOL, BEGUN, ENDED)
    assert found.windows - found.not_held == len(klines)
    assert (found.unproved, found.without_kline) == (1, 3)  # the first window is a gap: nobody told where it begins
    assert found.compared == found.agreeing == len(klines) - 4


def test_of_a_rest_kline_everything_but_its_ids_is_compared(lake, filled, klines, as_row):
    opened = busy(klines)
    engine = filled([], map(as_row, klines.values()))
    assert verify(lake, SYMBOL, BEGUN, ENDED).agreeing == len(klines)
    assert engine.books.disputes == type(engine.books.disputes)([])
    engine = filled([], [as_row(klines[opened] | {"h": "99.25"})])
    assert [check.differences[0][0] for check in engine.books.disputes] == ["high"]


async def test_klines_that_are_not_stored_are_asked_for_and_no_others(lake, filled, klines, as_row):
    rest = Rest({opened: as_row(kline) for opened, kline in klines.items()})
    opened = sorted(klines)
    filled([klines[at] for at in opened[:5]] + [klines[at] for at in opened[9:]])
    found = await klines_between(lake, rest, SYMBOL, BEGUN, ENDED)
    assert [kline.opened_at // 1000 for kline in found] == opened
    assert [kline.has_ids or kline.candle is None for kline in found] == [
        at not in opened[5:9] or not klines[at]["n"] for at in opened
    ]
    assert rest.asked == [(opened[5] * 1000, opened[8] * 1000 + MINUTE)]
    await klines_between(lake, rest, SYMBOL, BEGUN, opened[5] * 1000)
    assert len(rest.asked) == 1


async def test_a_kline_that_cannot_be_read_is_the_upstreams_error(lake, filled, klines):
    filled([])
    rest = Rest({busy(klines): b'["nonsense"]'})
    with pytest.raises(UpstreamError, match="kline"):
        await klines_between(lake, rest, SYMBOL, BEGUN, ENDED)
    with pytest.raises(UpstreamError, match="kline"):
        await look_into(Check(SYMBOL, busy(klines) * 1000, [("high", 1, 2)]), lake, rest, KNOWN_AT)


def test_the_tally_counts_what_was_compared_over_restarts(lake, filled, start_engine, klines, as_row):
    opened, ours = busy(klines), list(klines.values())
    filled([wrong(kline) if kline["t"] == opened else kline for kline in ours[:10]], map(as_row, ours[10:]))
    assert tally(lake, BEGUN) == {SYMBOL: (len(klines), len(klines) - 1)}
    start_engine(lake).close()
    assert tally(lake, BEGUN) == {SYMBOL: (len(klines), len(klines) - 1)}
    since = BEGUN + 10 * MINUTE
    assert tally(lake, since) == {SYMBOL: (sum(at * 1000 >= since for at in klines),) * 2}
    assert tally(lake, ENDED) == {}


# A difference is looked into


@pytest.fixture
def dispute(filled, klines):
    """The check that follows from a kline that is wrong about a busy, or a quiet, window."""

    def make(opened: int, **altered) -> Check:
        engine = filled([kline | (altered if at == opened else {}) for at, kline in klines.items()])
        [check] = engine.books.disputes
        assert check.opened_at == opened * 1000
        return check

    return make


async def test_where_bronze_gives_the_exchanges_numbers_our_candle_was_wrong(lake, filled, klines):
    filled(klines.values())
    opened = busy(klines)
    true = bronze_candle(lake, SYMBOL, opened * 1000)
    check = Check(SYMBOL, opened * 1000, [("high", true.high + 1, true.high), ("trades", 0, true.trades)])
    rows = (await look_into(check, lake, Rest({}), KNOWN_AT)).rows
    assert [(row["column"], row["status"]) for row in rows] == [("high", "recomputed"), ("trades", "recomputed")]


async def test_where_the_exchange_now_gives_ours_its_kline_was_corrected(lake, dispute, klines, as_row):
    opened = busy(klines)
    check = dispute(opened, h="99.25")
    rows = (await look_into(check, lake, Rest({opened: as_row(klines[opened])}), KNOWN_AT)).rows
    assert [row["status"] for row in rows] == ["kline_corrected"]


async def test_a_corrected_kline_of_a_quiet_window_is_known_for_one(lake, dispute, klines, as_row):
    opened = quiet(klines)
    check = dispute(opened, o="99", c="99", h="99", l="99")
    rows = (await look_into(check, lake, Rest({opened: as_row(klines[opened])}), KNOWN_AT)).rows
    assert [(row["column"], row["status"]) for row in rows] == [("close", "kline_corrected")]


async def test_what_stays_is_recorded_with_both_versions(lake, dispute, klines, as_row, start_engine):
    opened = busy(klines)
    altered = {"h": "99.25", "v": "0.5", "n": klines[opened]["n"]}
    check = dispute(opened, **altered)
    rest = Rest({opened: as_row(klines[opened] | altered)})
    engine = start_engine(lake)
    engine.books.record(await look_into(check, lake, rest, KNOWN_AT))
    engine.close()
    stored = lake.scan(DISCREPANCIES).sort("column").collect()
    columns = ("venue", "symbol", "interval", "column", "ours", "theirs", "status")
    assert stored.select(columns).rows() == [
        ("binance", SYMBOL, "1m", "high", klines[opened]["h"], "99.25", "stays"),
        ("binance", SYMBOL, "1m", "volume", klines[opened]["v"].rstrip("0").rstrip("."), "0.5", "stays"),
    ]
    assert stored["opened_at"].to_physical().to_list() == [opened * 1000] * 2
    assert stored["known_at"].to_physical().to_list() == [KNOWN_AT] * 2
    assert stored["date"].to_list() == stored["opened_at"].dt.date().to_list()


def as_historical(frame: bytes) -> bytes:
    told = json.loads(frame)["data"]
    return json.dumps(
        {"id": told["t"], "price": told["p"], "qty": told["q"], "time": told["T"], "isBuyerMaker": told["m"]}
    ).encode()


async def test_where_the_exchanges_trades_give_its_numbers_those_stored_are_wrong(
    lake, start_engine, market, klines, as_batch, as_message, as_row
):
    opened = busy(klines)
    told = [(at, frame) for at, frame in market if b'"BTCUSDT"' in frame]
    trades = {json.loads(frame)["data"]["t"]: as_historical(frame) for _, frame in told}
    wrongly = klines[opened]["f"]
    spoiled = [
        (at, frame.replace(b'"q": "0.', b'"q": "1.') if json.loads(frame)["data"]["t"] == wrongly else frame)
        for at, frame in told
    ]
    engine = start_engine(lake)
    engine.fold([as_batch([*spoiled, *map(as_message, klines.values())])])
    engine.close()
    [check] = engine.books.disputes
    rest = Rest({at: as_row(kline) for at, kline in klines.items()}, trades)
    found = await look_into(check, lake, rest, KNOWN_AT)
    assert (found.status, found.corrected) == ("trades_differ", None)
    assert {"volume", "quote_volume"} <= {row["column"] for row in found.rows}
    del trades[klines[opened]["L"]]
    assert (await look_into(check, lake, rest, KNOWN_AT)).status == "stays"


async def test_an_exchange_that_no_longer_tells_leaves_both_versions(lake, dispute, klines):
    rows = (await look_into(dispute(busy(klines), h="99.25"), lake, Rest({}), KNOWN_AT)).rows
    assert [row["status"] for row in rows] == ["stays"]


@pytest.fixture
def spoiled(lake, filled, klines):
    """Fill a lake of which one candle was written with a wrong highest price; return its opening (microseconds)."""
    filled(klines.values())
    opened = busy(klines) * 1000
    at = pl.col("opened_at").to_physical() == opened
    row = lake.scan(CANDLES).filter(pl.col("symbol") == SYMBOL, pl.col("interval") == "1m", at).collect()
    wrongly = row.with_columns(pl.lit("99.25").cast(row.schema["high"]).alias("high"), revision=pl.lit(2))
    lake.append(CANDLES, wrongly.select(row.columns).cast(row.schema), writer="spoiler", batch=0)
    return opened


def revisions(lake, opened: int) -> list[tuple[int, str]]:
    at = (pl.col("opened_at").to_physical() == opened) & (pl.col("interval") == "1m") & (pl.col("symbol") == SYMBOL)
    return (
        lake.scan(CANDLES)
        .filter(at)
        .sort("revision")
        .select("revision", pl.col("high").cast(pl.String))
        .collect()
        .rows()
    )


async def test_a_candle_that_bronze_contradicts_is_corrected_by_a_revision_after_any_start(
    lake, spoiled, start_engine, market, as_batch
):
    killed = start_engine(lake)
    [check] = killed.books.disputes
    assert check.opened_at == spoiled
    killed.books.record(await look_into(check, lake, Rest({}), KNOWN_AT))
    killed._committer.close()  # nothing of it came to the lake
    engine = start_engine(lake)
    [check] = engine.books.disputes
    engine.books.record(await look_into(check, lake, Rest({}), KNOWN_AT))
    engine.fold([as_batch(market[:1])])
    engine.close()
    first, second, third = revisions(lake, spoiled)
    assert (first, second[1][:5], third) == ((1, first[1]), "99.25", (3, first[1]))
    assert [found.differing for found in rebuild(lake, SYMBOL, BEGUN, ENDED, KNOWN_AT)] == [[], []]
    assert lake.scan(DISCREPANCIES).select("column", "status").collect().rows() == [("high", "recomputed")]
    health = engine.books.health(SYMBOL)
    assert (
        health.checked_candles - health.agreeing_candles == -1
    )  # the tally, which the start begins with, had one less
    assert not start_engine(lake).books.disputes


async def test_a_difference_that_is_recorded_is_not_looked_into_again_at_a_start(lake, dispute, klines, start_engine):
    check = dispute(busy(klines), h="99.25")
    engine = start_engine(lake)
    assert list(engine.books.disputes) == [structs.replace(check, agreed_before=False)]
    engine.books.record(await look_into(check, lake, Rest({}), KNOWN_AT))
    engine.close()
    assert not start_engine(lake).books.disputes


def test_more_differences_than_may_wait_are_counted_and_found_again_by_a_start(
    lake, filled, klines, start_engine, monkeypatch
):
    monkeypatch.setattr(bookkeeping, "MOST_DISPUTES", 3)
    counted = telemetry.disputes_put_off._value.get()
    engine = filled([wrong(kline) for kline in klines.values()])
    differing = verify(lake, SYMBOL, BEGUN, ENDED).differing
    assert len(engine.books.disputes) == 3 < len(differing)
    assert telemetry.disputes_put_off._value.get() - counted == len(differing) - 3
    assert len(start_engine(lake).books.disputes) == len(differing)


def test_a_window_without_trades_has_no_candle_in_bronze(lake, filled, klines):
    filled([])
    assert bronze_candle(lake, SYMBOL, quiet(klines) * 1000) is None


def test_values_are_shown_as_people_write_them():
    assert [shown("high", 61_784_01000000), shown("volume", 0), shown("trades", 100), shown("close", None)] == [
        "61784.01", "0", "100", ""
    ]  # fmt: skip
    assert shown("quote_volume", 10**16 + 1) == "1.0000000000000001"
