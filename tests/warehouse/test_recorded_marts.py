"""The marts over what was really recorded: a bad tick, a week without data, hours told twice, trades as they came."""

import csv
import gzip
import importlib.util
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard

from tapehouse.catalog import CANDLES
from tapehouse.market.candles import Candle
from tapehouse.market.fixed_point import to_units
from tapehouse.market.ledger import CandleRow
from tapehouse.ports import Batch
from tapehouse.streaming.kline_files import rolled_up
from tapehouse.streaming.rows import silver_candles

_spec = importlib.util.spec_from_file_location("marts_by_hand", Path(__file__).with_name("marts_by_hand.py"))
by_hand = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(by_hand)

pytestmark = [pytest.mark.slow, pytest.mark.recordings]

Bar = Mapping[str, str]
"""A recorded bar: `at` in seconds since 1970, its prices and volume."""


def coinbase(recordings: Path) -> Iterator[Bar]:
    """Bars of four hours around the low of six cents."""
    packed = (recordings / "8-history/coinbase_BTC-USD_4h_2016_2025.json.zst").read_bytes()
    for bar in json.loads(zstandard.ZstdDecompressor().decompress(packed))["candles"]:
        if in_days(int(bar["start"]), "2017-04-14", "2017-04-17"):
            yield {**bar, "at": bar["start"]}


def bitfinex(recordings: Path) -> Iterator[Bar]:
    """Minutes before and after the outage of August 2016."""
    with gzip.open(recordings / "8-history/bitfinex_BTCUSD_1m_2016.csv.gz", "rt") as lines:
        for at, first, last, high, low, volume in csv.reader(lines):
            if in_days(int(at) // 1000, "2016-08-02", "2016-08-10"):
                yield {
                    "at": str(int(at) // 1000),
                    "open": first,
                    "close": last,
                    "high": high,
                    "low": low,
                    "volume": volume,
                }


def cryptodatadownload(recordings: Path) -> Iterator[Bar]:
    """Hours of a dirty file: stamps in seconds and in milliseconds, newest first, a month of them told twice."""
    with (recordings / "8-history/cdd_Binance_BTCUSDT_1h.csv.zst").open("rb") as stored:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored), "utf-8")
        for told in csv.DictReader(lines):
            at = int(float(told["unix"]))
            at = (at if at < 10**11 else at // 1000) // 3600 * 3600
            if in_days(at, "2017-08-17", "2017-08-18") or in_days(at, "2020-10-01", "2020-10-31"):
                yield {**told, "at": str(at), "volume": told["Volume BTC"]}


def in_days(at: int, first: str, last: str) -> bool:
    return first <= datetime.fromtimestamp(at, UTC).date().isoformat() <= last


def as_candles(symbol: str, bars: Iterable[Bar]) -> list[CandleRow]:
    """Bars as the minutes they begin with, and the hours of those; a bar that is told again is a revision."""
    minutes: dict[int, list[CandleRow]] = {}
    for bar in bars:
        opened = int(bar["at"]) * 1_000_000
        o, h, low, c = (to_units(f"{Decimal(bar[name]):f}") for name in ("open", "high", "low", "close"))
        volume = int(Decimal(bar["volume"]).scaleb(8))
        candle = Candle(o, h, low, c, volume, volume * c, 1, volume, volume * c, -1, -1) if volume else None
        revisions = minutes.setdefault(opened, [])
        state = "quiet" if candle is None else "closed"
        revisions.append(
            CandleRow(symbol, "1m", opened, candle, c if candle is None else None, state, len(revisions) + 1, opened)
        )
    newest = [revisions[-1] for _, revisions in sorted(minutes.items())]
    return [row for revisions in minutes.values() for row in revisions] + list(rolled_up(newest, "1h"))


def binance(recordings: Path) -> Batch:
    """The trades over midnight of 2024-08-08, as they came; the capture has the order book as well."""
    frames, received = [], []
    for day in (8, 9):
        with gzip.open(recordings / f"1-binance-ws/hftbacktest_spot_btcusdt_2024080{day}.gz", "rb") as lines:
            for line in lines:
                at, _, frame = line.rstrip().partition(b" ")
                if b"@trade" in frame:
                    frames.append(frame)
                    received.append(int(at) // 1000)
    return Batch(frames, received)


@pytest.fixture(scope="module")
def recorded(world, make_command, recordings, tmp_path_factory) -> object:
    """The command where it has built the warehouse of a lake of recordings (`.lake`)."""
    own = type(world)(str(tmp_path_factory.mktemp("recorded") / "lake"))
    own.take(binance(recordings))
    histories = {"COINBASE": coinbase, "BITFINEX": bitfinex, "DIRTY": cryptodatadownload}
    rows = [row for symbol, told in histories.items() for row in as_candles(symbol, told(recordings))]
    own.lake.append(CANDLES, silver_candles(rows), writer="recordings", batch=1)
    command = make_command(tmp_path_factory.mktemp("warehouse"), own.root)
    command.lake = own.lake
    command("build")
    return command


@pytest.fixture(scope="module")
def hours(recorded, read) -> Callable[[str], dict[str, dict]]:
    """The rows of agg_symbol_hour of a symbol, by hour."""

    def of(symbol: str) -> dict[str, dict]:
        rows = read(recorded.file, f"select * from marts.agg_symbol_hour where symbol = '{symbol}' order by opened_at")
        return {f"{row['opened_at']:%Y-%m-%d %H}": row for row in rows.iter_rows(named=True)}

    return of


def test_every_hour_is_what_another_computation_makes_of_it(recorded, read):
    rows = read(recorded.file, "select * exclude (venue, date, loaded_at) from marts.agg_symbol_hour")
    theirs = by_hand.symbol_hours(recorded.lake)
    assert rows.height == len(theirs) > 800
    for row in rows.iter_rows(named=True):
        expected = theirs[row.pop("symbol"), row.pop("opened_at")]
        assert row == {name: near(expected[name]) for name in row}


def near(value: object) -> object:
    """A ratio is compared to the last digits of a float, an amount exactly."""
    return pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value


def test_the_tick_of_six_cents_stays_in_its_hour_and_spoils_no_other(hours):
    of = hours("COINBASE")
    tick = of.pop("2017-04-15 20")
    assert (tick["low"], tick["open"], tick["close"]) == (Decimal("0.06"), Decimal("0.06"), Decimal("1178.85"))
    assert tick["vwap"] == tick["close"]
    assert tick["volatility"] == pytest.approx(math.log(1178.85 / 0.06))
    assert Decimal("0.06") <= tick["value_area_low"] <= tick["busiest_price"] <= tick["value_area_high"]
    assert len(of) > 20
    assert all(abs(row["return"]) < 0.1 and row["low"] > 1000 and row["volatility"] < 0.1 for row in of.values())


def test_an_outage_has_no_hours_and_those_at_its_edges_say_that_they_are_not_whole(recorded, read, hours):
    of = hours("BITFINEX")
    names = list(of)
    place = names.index("2016-08-02 18")
    assert names[place + 1] == "2016-08-10 15"
    assert of["2016-08-02 18"]["completeness"] < 0.1
    days = read(recorded.file, "select date, completeness from marts.agg_market_day where year(date) = 2016")
    assert [f"{day}" for day in days["date"].sort()] == ["2016-08-02", "2016-08-10"]
    states = (
        "select distinct state from marts.fct_candle_1h where symbol = 'BITFINEX' and opened_at = '2016-08-02 18:00'"
    )
    assert read(recorded.file, states)["state"].to_list() == ["gap"]


def test_an_hour_that_was_told_twice_counts_once_as_it_was_told_last(recorded, read, recordings):
    told = [bar for bar in cryptodatadownload(recordings) if in_days(int(bar["at"]), "2020-10-01", "2020-10-31")]
    last = {int(bar["at"]): Decimal(bar["volume"]) for bar in told}
    assert len(told) > 1.5 * len(last)
    rows = read(
        recorded.file,
        """
        select epoch(opened_at)::bigint as at, volume, revision from marts.fct_candle_1m
        where symbol = 'DIRTY' and year(opened_at) = 2020
        """,
    )
    assert {row["at"]: row["volume"] for row in rows.iter_rows(named=True)} == last
    assert rows.height == len(last)
    assert set(rows["revision"]) == {2}


def test_recorded_trades_make_the_exchange_s_own_bar_to_the_last_digit(recorded, read, recordings):
    bar = the_bar(recordings, "1723161300000")
    [ours] = read(
        recorded.file,
        """
        select arg_min(open, opened_at) as open, max(high) as high, min(low) as low, arg_max(close, opened_at) as close,
            sum(volume) as volume, sum(quote_volume) as quote_volume, cast(sum(trades) as bigint) as trades,
            sum(taker_buy_volume) as taker_buy_volume, sum(taker_buy_quote_volume) as taker_buy_quote_volume
        from marts.fct_candle_1m
        where symbol = 'BTCUSDT' and opened_at >= '2024-08-08 23:55' and opened_at < '2024-08-09' and state = 'closed'
        """,
    ).to_dicts()
    assert ours["trades"] == 8863
    assert list(ours.values()) == [Decimal(text) for text in (*bar[1:6], *bar[7:11])]


def the_bar(recordings: Path, opened: str) -> list[str]:
    with (recordings / "2-klines/BTCUSDT-spot-5m-2024-08.csv.zst").open("rb") as stored:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored), "utf-8")
        return next(row for row in csv.reader(lines) if row[0] == opened)
