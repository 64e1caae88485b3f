"""Real trades give the exchange's own candles in every field, whichever way they are taken and whoever adds them up."""

import importlib.util
import itertools
import json
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import duckdb
import polars as pl
import pytest

from tapehouse.catalog import CANDLES, KLINES, REJECTED, SIGNALS, TRADES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import COLUMNS, REDUCTIONS, merge_all
from tapehouse.market.signals import Detection
from tapehouse.ports import Batch
from tapehouse.producers.binance.decode import decode_rest, decode_stream
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.signal_reads import newest_signals
from tapehouse.streaming.view import LiveView

pytestmark = pytest.mark.recordings

WHOLE_WINDOWS = (1_723_161_300_000, 1_723_161_600_000)
SIZES = {"one by one": [1, 7, 100, 399], "columns": [401, 2_000, 9_000], "mixed": [1, 50, 400, 401, 3_000]}
KLINE_FILE = "2-klines/BTCUSDT-spot-5m-2024-08.csv.zst"
KEEN = Detection(baseline=4, outlier_score=1.0, taker_score=0.5)
"""Sees signals in ten minutes."""
CAPTURE = "1-binance-ws/cryptofeed_BINANCE-ee25be.0_29970208.zst"


def cut(frames: list[tuple[int, bytes]], sizes: list[int], random: Random) -> list[Batch]:
    batches, rest = [], iter(frames)
    while taken := list(itertools.islice(rest, random.choice(sizes))):
        batches.append(Batch(frames=[frame for _, frame in taken], received_at=[at for at, _ in taken]))
    return batches


def run(root, batches: list[Batch]) -> DeltaLake:
    """Take the batches through an engine into a lake of its own."""
    lake, ticks = DeltaLake(str(root)), itertools.count(1_800_000_000_000_000, 300_000)
    lake.create()
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"], KEEN), now=lambda: next(ticks))
    for batch in batches:
        engine.fold([batch])
        engine.commit_when_due()
    engine.close()
    return lake


def candles_of(lake: DeltaLake) -> pl.DataFrame:
    """The candles that count, without when they became known and how often they changed."""
    rows = highest_revisions(lake.scan(CANDLES)).drop("known_at", "revision").collect()
    return rows.sort("symbol", "interval", "opened_at")


def signals_of(lake: DeltaLake) -> pl.DataFrame:
    """The signals that stand, without when they became known and how often they changed."""
    rows = newest_signals(lake.scan(SIGNALS)).filter(pl.col("state") != "retracted").drop("known_at", "revision")
    return rows.sort("symbol", "interval", "kind", "opened_at").collect()


@pytest.mark.parametrize("path", SIZES)
def test_the_whole_five_minute_candles_are_the_exchanges_in_every_field(tmp_path, ten_minutes, zst_lines, path):
    lake = run(tmp_path, cut(ten_minutes, SIZES[path], Random(path)))
    told = {int(line.split(",")[0]): line.strip().split(",") for line in zst_lines(KLINE_FILE)}
    ours = candles_of(lake).filter(pl.col("interval") == "5m")
    for opened in WHOLE_WINDOWS:
        row = ours.row(by_predicate=pl.col("opened_at") == datetime.fromtimestamp(opened / 1000, UTC), named=True)
        _, o, h, low, c, v, _, quote, count, bought, bought_quote, _ = told[opened]
        assert row["state"] == "closed"
        assert [row[name] for name in COLUMNS[:9]] == [
            *map(Decimal, (o, h, low, c, v, quote)), int(count), Decimal(bought), Decimal(bought_quote)
        ]  # fmt: skip
    assert [row["trades"] for row in ours.iter_rows(named=True) if row["state"] == "closed"] == [8863, 9913]


def test_every_recorded_trade_is_in_bronze_once_with_its_bytes(tmp_path, ten_minutes):
    lake = run(tmp_path, cut(ten_minutes, [300, 700], Random(1)))
    stored = lake.scan(TRADES).sort("first_trade_id").collect()
    ids = [json.loads(frame)["data"]["t"] for _, frame in ten_minutes]
    assert stored["first_trade_id"].to_list() == stored["last_trade_id"].to_list() == ids
    assert stored["payload"].to_list() == [frame for _, frame in ten_minutes]
    assert stored["received_at"].to_physical().to_list() == [at for at, _ in ten_minutes]
    assert lake.scan(REJECTED).collect().is_empty()
    assert lake.scan(KLINES).collect().is_empty()


def test_the_same_tape_in_other_batches_and_orders_gives_the_same_candles_and_signals(tmp_path, ten_minutes):
    frames = ten_minutes[5000:15_000]
    ordered = run(tmp_path / "ordered", cut(frames, [450], Random(0)))
    expected, signals = candles_of(ordered), signals_of(ordered)
    assert (expected.height, signals.height > 0) == (10, True)
    for seed in range(3):
        random = Random(seed)
        late = random.sample(range(1, len(frames) - 1), 600)
        key = {place: place + random.randrange(1500) for place in late}
        tape = [frames[place] for place in sorted(range(len(frames)), key=lambda n: (key.get(n, n), n))]
        again = random.choices(frames, k=500)
        lake = run(tmp_path / str(seed), cut(tape + again, SIZES["mixed"], random))
        assert candles_of(lake).equals(expected)
        assert signals_of(lake).equals(signals)
        held = lake.scan(TRADES).select(pl.len(), pl.col("first_trade_id").n_unique()).collect()
        assert held.row(0) == (10_000, 10_000)


def test_duckdb_reads_the_same_candles_from_bronze_by_the_same_table_of_reductions(tmp_path, ten_minutes):
    lake = run(tmp_path, cut(ten_minutes, [900], Random(3)))
    sql = {"first": "min_by", "last": "max_by", "max": "max", "min": "min", "sum": "sum"}
    reductions = ", ".join(
        f"{sql[reduction.how]}({', '.join(filter(None, [reduction.column, reduction.by]))}) AS {reduction.column}"
        for reduction in REDUCTIONS
    )
    connection = duckdb.connect()
    folder = importlib.util.find_spec("duckdb_extension_delta").submodule_search_locations[0]
    connection.execute(f"LOAD '{folder}/extensions/v{duckdb.__version__}/delta.duckdb_extension'")
    rows = connection.execute(
        f"""
        WITH candles AS (
            SELECT *, price AS open, price AS high, price AS low, price AS close, quantity AS volume,
                price::DECIMAL(19,8) * quantity::DECIMAL(19,8) AS quote_volume,
                last_trade_id - first_trade_id + 1 AS trades,
                CASE taker_side WHEN 'buy' THEN quantity ELSE 0 END AS taker_buy_volume,
                CASE taker_side WHEN 'buy' THEN quote_volume ELSE 0 END AS taker_buy_quote_volume,
                epoch_us(traded_at) // 300000000 * 300000 AS opened
            FROM delta_scan('{lake.address(TRADES)}')
        )
        SELECT opened, {reductions} FROM candles GROUP BY opened
        """
    ).fetchall()
    ours = candles_of(lake).filter(pl.col("interval") == "5m", pl.col("state") == "closed")
    by_opening = {opened: list(numbers) for opened, *numbers in rows}
    for row in ours.select(pl.col("opened_at").dt.epoch("ms"), *COLUMNS).iter_rows():
        assert by_opening[row[0]] == list(row[1:])
    assert set(WHOLE_WINDOWS) <= set(by_opening)
    assert ours.height == 2


def test_every_covered_kline_update_of_a_capture_equals_the_fold_of_its_aggregate_trades(zst_lines):
    trades, klines = {}, []
    for line in zst_lines(CAPTURE):
        stamp, _, text = line.strip().partition(": ")
        if '"e":"aggTrade"' in text[:90]:
            row = json.loads(text)["data"]
            [(trade, _)], refused = decode_rest(
                Batch([json.dumps(row).encode()], [received(stamp)], shape="aggTrades", symbol=row["s"])
            )
            assert not refused
            trades.setdefault(row["s"], []).append(trade)
        elif '"e":"kline"' in text[:90]:
            [(message, _, at)] = decode_stream(Batch([text.encode()], [received(stamp)])).klines
            klines.append(message.to_kline(at))
    compared = 0
    for kline in klines:
        told = kline.candle
        ids = range(told.first_trade_id, told.last_trade_id + 1) if told else range(0)
        inside = [t for t in trades[kline.symbol] if t.first_trade_id in ids and t.last_trade_id in ids]
        if told and sum(t.last_trade_id - t.first_trade_id + 1 for t in inside) == len(ids):
            assert merge_all(trade.as_candle() for trade in inside) == told
            compared += 1
    assert compared == 51


def received(stamp: str) -> int:
    return int(Decimal(stamp) * 1_000_000)
