"""Recordings of the real exchange, read and told again as they were."""

import gzip
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
import zstandard

from tapehouse.errors import ConfigError
from tapehouse.exchange.main import ExchangeOptions, running_exchange
from tapehouse.exchange.recordings import read_recordings

MINUTE = 60_000_000
UNTHROTTLED = ExchangeOptions(speed=None)


def recorded(path: Path, event: str) -> list[dict]:
    """The messages of a kind in a file, by a reader of its own."""
    packed = path.read_bytes()
    content = (
        gzip.decompress(packed)
        if path.suffix == ".gz"
        else zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read()
    )
    lines = (
        line[line.index(b"{") :] for line in content.splitlines() if f'@{event}"'.encode() in line and b"{" in line
    )
    return [json.loads(line)["data"] for line in lines]


def without_event_time(messages: list[dict]) -> list[dict]:
    return [message | {"E": None} for message in messages]


@pytest.fixture
def spot(recordings) -> list[Path]:
    return [recordings / "1-binance-ws" / f"hftbacktest_spot_btcusdt_2024080{day}.gz" for day in (8, 9)]


@pytest.mark.recordings
async def test_recorded_trades_are_streamed_letter_by_letter(spot, reading):
    expected = [message for path in spot for message in recorded(path, "trade")]
    async with (
        running_exchange(replace(UNTHROTTLED, recordings=spot)) as exchange,
        reading(exchange, "/ws/btcusdt@trade") as reader,
    ):
        found = await reader.take(len(expected))
        await exchange.over()
    assert without_event_time(found) == without_event_time(expected)
    assert len(found) == 9757 + 10147


@pytest.mark.recordings
async def test_candles_of_the_recording_are_the_real_exchanges_own(spot, recordings, asking):
    archive = recordings / "2-klines" / "BTCUSDT-spot-5m-2024-08.csv.zst"
    told = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(archive.read_bytes())).read().decode().splitlines()
    own = {line.split(",")[0]: line.split(",") for line in told}
    async with running_exchange(replace(UNTHROTTLED, recordings=spot)) as exchange, asking(exchange) as rest:
        exchange.play()
        await exchange.over()
        asked = {"symbol": "BTCUSDT", "interval": "5m", "startTime": 1723161300000, "limit": 2}
        found = (await rest.get("/api/v3/klines", params=asked)).json()
    assert [row[0] for row in found] == [1723161300000, 1723161600000]
    for row in found:
        expected = own[str(row[0])]
        assert [Decimal(row[place]) for place in (1, 2, 3, 4, 5, 7, 8, 9, 10)] == [
            Decimal(expected[place]) for place in (1, 2, 3, 4, 5, 7, 8, 9, 10)
        ]


@pytest.mark.recordings
@pytest.mark.parametrize(
    "name", ["cryptofeed_BINANCE-ee25be.0_29970208.zst", "cryptofeed_BINANCE_FUTURES.ws.1.0_f60e8395.zst"]
)
async def test_recorded_aggregates_are_streamed_letter_by_letter(recordings, reading, name):
    path = recordings / "1-binance-ws" / name
    expected = recorded(path, "aggTrade")
    symbols = sorted({message["s"] for message in expected})
    streams = "/".join(f"{symbol.lower()}@aggTrade" for symbol in symbols)
    async with (
        running_exchange(replace(UNTHROTTLED, recordings=[path])) as exchange,
        reading(exchange, f"/ws/{streams}") as reader,
    ):
        found = await reader.take(len(expected))
    for symbol in symbols:
        theirs, ours = ([told for told in side if told["s"] == symbol] for side in (expected, found))
        letters = ("a", "f", "l", "T", "m")
        assert [[told[letter] for letter in letters] for told in ours] == [
            [told[letter] for letter in letters] for told in theirs
        ]
        assert [(Decimal(told["p"]), Decimal(told["q"])) for told in ours] == [
            (Decimal(told["p"]), Decimal(told["q"])) for told in theirs
        ]


@pytest.mark.recordings
@pytest.mark.parametrize(
    ("name", "symbol", "trades"),
    [
        ("hftbacktest_usdm_ethusdt_20240808.gz", "ETHUSDT", 14076),
        ("hftbacktest_usdm_btcusdt_20240719.gz", "BTCUSDT", 9727),
        ("hftbacktest_cm_btcusd_perp_20240808.gz", "BTCUSD_PERP", 2286),
    ],
)
def test_futures_are_read_too_and_their_ids_are_contiguous(recordings, name, symbol, trades):
    path = recordings / "1-binance-ws" / name
    tape = read_recordings([path])
    market = [message["t"] for message in recorded(path, "trade") if message["X"] == "MARKET"]
    rows = tape.trades(symbol, 0, 2**62)
    assert rows["first_trade_id"].to_list() == sorted(market)
    everything = [message["t"] for message in recorded(path, "trade")]
    assert sorted(everything) == list(range(min(everything), min(everything) + trades))


@pytest.mark.recordings
def test_a_file_given_twice_counts_once(spot):
    once, twice = read_recordings(spot), read_recordings([*spot, *spot])
    bounds = once.starts_at, once.ends_at
    assert twice.between(*bounds).equals(once.between(*bounds))


@pytest.mark.recordings
async def test_a_recording_moved_to_now_keeps_its_candles(spot, asking):
    there = read_recordings(spot)
    async with (
        running_exchange(replace(UNTHROTTLED, recordings=spot, shift_to_now=True)) as exchange,
        asking(exchange) as rest,
    ):
        shift = exchange.tape.starts_at - there.starts_at
        exchange.play()
        await exchange.over()
        found = (await rest.get("/api/v3/klines", params={"symbol": "BTCUSDT", "interval": "1m"})).json()
    assert shift % MINUTE == 0
    assert shift > 0
    rows = there.between(there.starts_at, there.ends_at)
    minutes = rows.group_by(pl.col("traded_at") // MINUTE * MINUTE, maintain_order=True).agg(pl.len())
    assert [(row[0], row[8]) for row in found if row[8]] == [
        ((opened + shift) // 1000, trades) for opened, trades in minutes.iter_rows()
    ]


def trade(symbol: str, number: int, **more) -> str:
    told = {"e": "trade", "E": 1723161255343, "s": symbol, "t": number, "p": "10.5", "q": "2", "T": 1723161255342}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": told | {"m": True} | more}, separators=(",", ":"))


def aggregate(symbol: str, number: int, first: int, last: int) -> str:
    told = {"e": "aggTrade", "E": 1723161255343, "s": symbol, "a": number, "p": "10.5", "q": "2", "f": first, "l": last}
    wrapped = {"stream": f"{symbol.lower()}@aggTrade", "data": told | {"T": 1723161255342, "m": True}}
    return json.dumps(wrapped, separators=(",", ":"))


@pytest.fixture
def written(tmp_path):
    def write(*lines: str) -> list[Path]:
        (tmp_path / "recording.log").write_text("\n".join(lines))
        return [tmp_path / "recording.log"]

    return write


def test_a_symbol_recorded_both_ways_is_told_by_its_trades_and_one_without_them_by_aggregates(written):
    paths = written(
        aggregate("BTCUSDT", 7, 101, 102), trade("BTCUSDT", 101), trade("BTCUSDT", 102), aggregate("ETHUSDT", 9, 5, 8)
    )
    tape = read_recordings(paths)
    rows = tape.between(tape.starts_at, tape.ends_at)
    assert rows.select(pl.col("symbol").cast(pl.String), "first_trade_id", "last_trade_id").sort("symbol").rows() == [
        ("BTCUSDT", 101, 101), ("BTCUSDT", 102, 102), ("ETHUSDT", 5, 8),
    ]  # fmt: skip


def test_what_the_insurance_fund_does_is_no_trade(written):
    tape = read_recordings(written(trade("BTCUSDT", 1, X="MARKET"), trade("BTCUSDT", 2, X="INSURANCE_FUND")))
    assert tape.trades("BTCUSDT", 0, 10)["first_trade_id"].to_list() == [1]


def test_a_recording_that_breaks_off_is_refused_with_its_name(written):
    with pytest.raises(ConfigError, match=r"recording\.log"):
        read_recordings(written(trade("BTCUSDT", 1), trade("BTCUSDT", 2)[:-20]))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_recording_that_is_damaged_is_refused_with_its_name(tmp_path, suffix):
    lines = "\n".join(trade("BTCUSDT", number) for number in range(2000)).encode()
    packed = gzip.compress(lines) if suffix == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress(lines)
    damaged = packed[:60] + bytes(len(packed) - 60)
    (tmp_path / f"damaged{suffix}").write_bytes(damaged)
    with pytest.raises(ConfigError, match="damaged"):
        read_recordings([tmp_path / f"damaged{suffix}"])
