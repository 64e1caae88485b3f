"""The generated market: what is told by time, by id and by stream is one tape."""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
from tapehouse.exchange.main import running_exchange

MINUTE = 60_000_000
START = int(datetime(2026, 3, 5, 10, 0, 30, tzinfo=UTC).timestamp()) * 1_000_000


def market(**changes) -> GeneratedTape:
    return GeneratedTape(GeneratorOptions(**{"seed": 3, "rate": 60.0, "starts_at": START, "quiet": 0.4} | changes))


@settings(max_examples=6)
@given(seed=st.integers(0, 2**31), rate=st.sampled_from([0.5, 20.0, 300.0]), quiet=st.floats(0, 1))
def test_of_any_seed_the_ids_are_consecutive_on_ticks_and_steps_and_the_same_again(seed, rate, quiet):
    tape, again = (market(seed=seed, rate=rate, quiet=quiet) for _ in range(2))
    rows = tape.between(START, START + 3 * MINUTE)
    assert again.between(START, START + 3 * MINUTE).equals(rows)
    for symbol, pair in tape.pairs.items():
        theirs = rows.filter(pl.col("symbol") == symbol)
        first = tape.id_at(symbol, START)
        assert theirs["first_trade_id"].to_list() == list(range(first, first + theirs.height))
        assert theirs["traded_at"].is_sorted()
        assert theirs["price"].min() is None or theirs["price"].min() > 0
        assert theirs.filter(pl.col("price") % pair.price_tick != 0).is_empty()
        assert theirs.filter((pl.col("quantity") <= 0) | (pl.col("quantity") % pair.quantity_step != 0)).is_empty()


def test_the_trades_of_all_symbols_are_told_in_the_order_of_time():
    rows = market().between(START, START + 3 * MINUTE)
    assert rows["symbol"].n_unique() == 3
    assert rows["traded_at"].is_sorted()


def test_a_millisecond_may_hold_several_trades_at_several_prices():
    rows = market().between(START, START + 3 * MINUTE).filter(pl.col("symbol") == "BTCUSDT")
    shared = rows.group_by(pl.col("traded_at") // 1000).agg(trades=pl.len(), prices=pl.col("price").n_unique())
    assert shared.filter(pl.col("trades") >= 3).height > 100
    assert shared.filter(pl.col("prices") >= 2).height > 100


def test_only_small_symbols_have_quiet_minutes_and_about_so_many_as_asked():
    rows = market().between(START, START + 100 * MINUTE)
    minutes = rows.group_by("symbol", minute=pl.col("traded_at") // MINUTE).agg(pl.len())
    traded = dict(minutes.group_by("symbol").agg(pl.len()).iter_rows())
    assert (traded["BTCUSDT"], traded["ETHUSDT"]) == (101, 101)
    assert 40 < traded["BNBUSDT"] < 80


@pytest.mark.parametrize("quiet", [0.0, 1.0])
def test_without_quiet_minutes_every_one_has_trades_and_with_nothing_else_none(quiet):
    rows = market(quiet=quiet).between(START, START + 20 * MINUTE).filter(pl.col("symbol") == "BNBUSDT")
    assert rows.select(pl.col("traded_at") // MINUTE).n_unique() == (21 if quiet == 0.0 else 0)


def test_ids_run_on_over_minutes_hours_and_days():
    tape = market(rate=2.0)
    later = START + 3 * 1440 * MINUTE
    first, last = tape.id_at("BTCUSDT", later), tape.id_at("BTCUSDT", later + 120 * MINUTE) - 1
    by_id = tape.trades("BTCUSDT", first, last)
    by_time = tape.between(later, later + 120 * MINUTE).filter(pl.col("symbol") == "BTCUSDT")
    assert by_id["first_trade_id"].to_list() == list(range(first, last + 1))
    assert by_id.equals(by_time)


async def test_history_told_again_is_what_was_streamed(options, reading):
    async with running_exchange(options) as exchange, reading(exchange, "/ws/ethusdt@trade") as reader:
        streamed = await reader.take(2000)
    anew = GeneratedTape(
        GeneratorOptions(
            seed=options.seed, rate=options.rate, starts_at=options.begins_at - 1_800_000_000, quiet=options.quiet
        )
    )
    first, last = streamed[0]["t"], streamed[-1]["t"]
    told = anew.trades("ETHUSDT", first, last).select("first_trade_id", "price", "quantity", "buyer_is_maker")
    units = [
        (trade["t"], int(trade["p"].replace(".", "")), int(trade["q"].replace(".", "")), trade["m"])
        for trade in streamed
    ]
    assert told.rows() == units


async def test_the_exchanges_own_options_name_the_symbols(options, asking):
    named = replace(options, symbols="solusdt, BTCUSDT")
    async with running_exchange(named) as exchange, asking(exchange) as rest:
        described = (await rest.get("/api/v3/exchangeInfo")).json()
    assert [symbol["symbol"] for symbol in described["symbols"]] == ["SOLUSDT", "BTCUSDT"]
