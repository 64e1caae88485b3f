"""The contract of a tape, kept by each of the three, and by made-up ones of both kinds."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tapehouse.catalog import TABLES, TRADES
from tapehouse.errors import ConfigError
from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
from tapehouse.exchange.lake_tape import read_lake
from tapehouse.exchange.recordings import read_recordings
from tapehouse.exchange.tapes import COLUMNS, HeldTape
from tapehouse.lake.delta import DeltaLake

MINUTE = 60_000_000
START = int(datetime(2026, 3, 5, 10, 0, 30, tzinfo=UTC).timestamp()) * 1_000_000


def generated() -> GeneratedTape:
    return GeneratedTape(GeneratorOptions(seed=3, rate=40.0, starts_at=START, quiet=0.4))


def in_bronze(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a tape as the lake holds them."""
    price = (pl.col("price").cast(pl.Decimal(38, 8)) / 10**8).cast(TABLES[TRADES].schema["price"])
    quantity = (pl.col("quantity").cast(pl.Decimal(38, 8)) / 10**8).cast(TABLES[TRADES].schema["quantity"])
    time = pl.from_epoch("traded_at", time_unit="us").dt.replace_time_zone("UTC")
    return rows.select(
        venue=pl.lit("binance"),
        symbol=pl.col("symbol").cast(pl.String),
        first_trade_id="first_trade_id",
        last_trade_id="last_trade_id",
        price=price,
        quantity=quantity,
        taker_side=pl.when("buyer_is_maker").then(pl.lit("sell")).otherwise(pl.lit("buy")),
        traded_at=time,
        event_at=time,
        received_at=time,
        source=pl.lit("stream"),
        payload=pl.lit(b"{}"),
        date=time.dt.date(),
    )


@pytest.fixture(scope="module", params=["generated", "surging", "recorded", "lake"])
def tape(request, tmp_path_factory):
    if request.param == "generated":
        return generated()
    if request.param == "surging":
        return GeneratedTape(GeneratorOptions(seed=3, rate=4.0, starts_at=START, surges=1))
    if request.param == "recorded":
        folder = request.getfixturevalue("recordings") / "1-binance-ws"
        return read_recordings([folder / "cryptofeed_BINANCE-ee25be.0_29970208.zst"])
    lake = DeltaLake(str(tmp_path_factory.mktemp("lake")))
    lake.create()
    lake.append(TRADES, in_bronze(generated().between(START, START + 3 * MINUTE)), writer="test", batch=1)
    return read_lake(lake, ["2026-03-05"])


def end_of(tape) -> int:
    return tape.ends_at or tape.starts_at + 3 * MINUTE


def whole(tape) -> pl.DataFrame:
    return tape.between(tape.starts_at, end_of(tape))


def test_a_tape_has_trades_of_its_pairs_in_its_columns(tape):
    rows = whole(tape)
    assert rows.height > 500
    assert tuple(rows.columns) == COLUMNS
    assert set(rows["symbol"].cast(pl.String)) <= set(tape.pairs)
    assert rows.filter((pl.col("price") <= 0) | (pl.col("quantity") <= 0)).is_empty()


def test_prices_lie_on_ticks_and_quantities_on_steps(tape):
    for symbol, pair in tape.pairs.items():
        rows = whole(tape).filter(pl.col("symbol") == symbol)
        assert rows.filter(pl.col("price") % pair.price_tick != 0).is_empty()
        assert rows.filter(pl.col("quantity") % pair.quantity_step != 0).is_empty()


def test_the_ids_of_a_symbol_are_consecutive_in_the_order_they_are_told(tape):
    for symbol in tape.pairs:
        rows = whole(tape).filter(pl.col("symbol") == symbol)
        assert rows.height > 0
        assert (rows["first_trade_id"][1:] == rows["last_trade_id"][:-1] + 1).all()
        assert rows["aggregate_id"].diff().drop_nulls().is_between(0, 1).all()


def test_an_aggregate_has_one_price_one_side_and_one_time(tape):
    by_aggregate = whole(tape).group_by("symbol", "aggregate_id")
    differing = by_aggregate.agg(pl.col("price", "buyer_is_maker", "traded_at").n_unique()).filter(
        (pl.col("price") > 1) | (pl.col("buyer_is_maker") > 1) | (pl.col("traded_at") > 1)
    )
    assert differing.is_empty()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 3 * MINUTE), max_size=6))
def test_however_time_is_cut_each_trade_is_in_one_slice(tape, cuts):
    bounds = [tape.starts_at, *(tape.starts_at + cut for cut in sorted(cuts)), end_of(tape)]
    bounds = [min(bound, end_of(tape)) for bound in bounds]
    slices = [tape.between(start, end) for start, end in pairwise(bounds)]
    key = ["symbol", "first_trade_id"]
    assert pl.concat(slices).sort(key).equals(whole(tape).sort(key))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0, 1), count=st.integers(0, 60))
def test_what_is_asked_by_id_is_what_was_told(tape, part, count):
    for symbol in tape.pairs:
        told = whole(tape).filter(pl.col("symbol") == symbol).sort("first_trade_id")
        row = int(part * (told.height - 1))
        wanted = told.slice(row, count)
        first = told["first_trade_id"].item(row)
        last = wanted["last_trade_id"].item(-1) if wanted.height else first - 1
        assert tape.trades(symbol, first, last).equals(wanted)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0, 1))
def test_the_id_at_a_time_is_that_of_the_first_trade_told_then_or_later(tape, part):
    time = tape.starts_at + int(part * (end_of(tape) - tape.starts_at - 1))
    later = tape.between(time, end_of(tape))
    for symbol in tape.pairs:
        theirs = later.filter(pl.col("symbol") == symbol)
        if theirs.height:
            assert tape.id_at(symbol, time) == theirs["first_trade_id"].min()


def test_before_the_first_trade_the_id_is_the_first_and_there_are_no_rows(tape):
    for symbol in tape.pairs:
        first = whole(tape).filter(pl.col("symbol") == symbol)["first_trade_id"].min()
        assert tape.id_at(symbol, 0) == first
        assert tape.trades(symbol, 0, first - 1).is_empty()
        assert tape.between(tape.starts_at - MINUTE, tape.starts_at).is_empty()


def test_every_aggregate_is_found_by_its_id(tape):
    for symbol in tape.pairs:
        rows = whole(tape).filter(pl.col("symbol") == symbol)
        firsts = rows.group_by("aggregate_id").agg(pl.col("first_trade_id").min()).sort("aggregate_id")
        for aggregate_id, first in firsts.gather_every(max(firsts.height // 20, 1)).iter_rows():
            assert tape.id_of_aggregate(symbol, aggregate_id) == first


def test_the_same_seed_and_start_give_the_same_trades_and_another_seed_others():
    one, same = generated().between(START, START + MINUTE), generated().between(START, START + MINUTE)
    other = GeneratedTape(GeneratorOptions(seed=4, rate=40.0, starts_at=START))
    assert one.equals(same)
    assert not other.between(START, START + MINUTE).equals(one)


def test_trades_told_once_stay_the_same_however_far_the_tape_has_been_read():
    tape = generated()
    before = tape.between(START, START + MINUTE)
    tape.between(START + 3 * 86_400_000_000, START + 3 * 86_400_000_000 + MINUTE)
    assert tape.between(START, START + MINUTE).equals(before)


def test_a_generated_market_has_shared_milliseconds_sweeps_quiet_minutes_and_bursts():
    tape = GeneratedTape(GeneratorOptions(seed=3, rate=200.0, symbols=5, starts_at=START, quiet=0.4))
    rows = tape.between(START, START + 20 * MINUTE).with_columns(ms=pl.col("traded_at") // 1000)
    btc = rows.filter(pl.col("symbol") == "BTCUSDT")
    shared = btc["ms"] == btc["ms"].shift(1)
    assert 0.3 < shared.mean() < 0.8
    assert 0.05 < (shared & (btc["price"] != btc["price"].shift(1))).mean() < 0.5
    minutes = rows.group_by("symbol", pl.col("traded_at") // MINUTE).len()
    assert minutes.filter(pl.col("symbol") == "XRPUSDT").height < 20
    per_second = btc.group_by(pl.col("traded_at") // 1_000_000).len()["len"]
    assert per_second.max() > 4 * per_second.mean()
    assert 150 < rows.height / 1200 < 250


def test_a_market_without_bursts_is_even_within_a_minute():
    tape = GeneratedTape(GeneratorOptions(seed=3, rate=200.0, starts_at=START, bursts=0.0))
    btc = tape.between(START, START + 20 * MINUTE).filter(pl.col("symbol") == "BTCUSDT")
    seconds = btc.group_by(pl.col("traded_at") // MINUTE, second=pl.col("traded_at") // 1_000_000).len()
    spread = seconds.group_by("traded_at").agg(pl.col("len").max() / pl.col("len").mean())
    assert spread["len"].max() < 1.6


def test_one_minute_of_a_stretch_is_a_surge_that_trades_more_from_one_side_and_moves_the_price_for_a_while():
    stretch, opened = 60, START - START % (60 * MINUTE)
    options = GeneratorOptions(seed=3, symbols=1, rate=20.0, starts_at=opened)
    surging = GeneratedTape(replace(options, surges=stretch)).between(opened, opened + 3 * stretch * MINUTE)
    minutes = (
        surging.group_by(minute=(pl.col("traded_at") - opened) // MINUTE)
        .agg(
            pl.len().alias("trades"),
            (pl.col("price").last() / pl.col("price").first()).log().abs().alias("moved"),
            pl.col("buyer_is_maker").mean().alias("sold"),
        )
        .sort("minute")
    )
    surges = minutes.filter(pl.col("trades") > 4 * pl.col("trades").median())
    assert (surges["minute"] // stretch).to_list() == [0, 1, 2]
    assert surges["moved"].min() > 0.005
    assert surges.select(pl.max_horizontal("sold", 1 - pl.col("sold"))).to_series().min() > 0.8
    others = minutes.join(surges, on="minute", how="anti")
    assert others["moved"].max() < 0.003
    assert others["sold"].is_between(0.3, 0.7).all()
    calm = GeneratedTape(options).between(opened, opened + 3 * stretch * MINUTE)
    ended = [rows.filter(pl.col("traded_at") < opened + stretch * MINUTE)["price"][-1] for rows in (surging, calm)]
    assert ended[0] == pytest.approx(ended[1], rel=1e-5)


def test_four_hundred_symbols_are_one_market():
    tape = GeneratedTape(GeneratorOptions(symbols=400, rate=1000.0, starts_at=START))
    assert len(tape.pairs) == 400
    assert tape.between(START, START + MINUTE)["symbol"].n_unique() > 300


def test_a_symbol_on_a_break_is_listed_and_does_not_trade():
    tape = GeneratedTape(GeneratorOptions(rate=40.0, starts_at=START, on_break=["ETHUSDT"]))
    assert tape.pairs["ETHUSDT"].status == "BREAK"
    assert set(tape.between(START, START + MINUTE)["symbol"].cast(pl.String)) == {"BTCUSDT", "BNBUSDT"}
    assert tape.trades("ETHUSDT", 0, 10**9).is_empty()
    assert tape.id_at("ETHUSDT", START + MINUTE) == tape.id_at("ETHUSDT", START)


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"symbols": 0}, {"symbols": "BTC/USDT"}, {"quiet": 2.0}, {"bursts": -0.1}, {"surges": -1}]
)
def test_a_market_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError):
        GeneratedTape(GeneratorOptions(**wrong))


@pytest.mark.recordings
def test_the_recorded_ten_minutes_are_read_to_the_last_trade(recordings):
    folder = recordings / "1-binance-ws"
    tape = read_recordings([folder / f"hftbacktest_spot_btcusdt_2024080{day}.gz" for day in (8, 9)])
    rows = whole(tape)
    assert rows.height == 9757 + 10147
    assert tape.pairs["BTCUSDT"].price_tick == 1_000_000
    assert rows["first_trade_id"].item(0) == 3735683259


@pytest.mark.recordings
def test_a_recording_moved_to_now_keeps_its_place_in_the_minute(recordings):
    path = recordings / "1-binance-ws" / "hftbacktest_spot_btcusdt_20240808.gz"
    there, here = read_recordings([path]), read_recordings([path], begins_at=START)
    assert (here.starts_at - there.starts_at) % MINUTE == 0
    assert 0 <= here.starts_at - (START - START % MINUTE) < MINUTE


def test_a_recording_without_trades_is_refused(tmp_path):
    (tmp_path / "empty.log").write_text("nothing\n")
    with pytest.raises(ConfigError, match="no trades"):
        read_recordings([tmp_path / "empty.log"])
    with pytest.raises(ConfigError, match="cannot read"):
        read_recordings([tmp_path / "absent.gz"])


def test_trades_of_a_clock_that_stepped_back_are_told_by_id():
    tape = generated()
    rows = tape.trades("BTCUSDT", tape.id_at("BTCUSDT", 0), tape.id_at("BTCUSDT", 0) + 9)
    stepped = rows.with_columns(traded_at=pl.Series([START + at for at in (0, 50, 10, 20, 60, 70, 80, 90, 95, 99)]))
    held = HeldTape(stepped, tape.pairs)
    assert held.between(START, START + 55)["first_trade_id"].to_list() == stepped["first_trade_id"].to_list()[:4]
    assert held.between(START + 55, START + 100)["first_trade_id"].to_list() == stepped["first_trade_id"].to_list()[4:]


def test_a_lake_without_trades_of_the_day_is_refused(tmp_path):
    lake = DeltaLake(str(tmp_path))
    lake.create()
    with pytest.raises(ConfigError, match="no trades of 2026-03-05"):
        read_lake(lake, ["2026-03-05"])
