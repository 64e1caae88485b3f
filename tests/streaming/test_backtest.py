"""The back-test counts what the engine stores, and says when that is not what the candles give."""

import io
import itertools
import json
import re
import zipfile
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec
import pytest
import zstandard
from click.testing import CliRunner

from tapehouse.catalog import SIGNALS
from tapehouse.cli import main
from tapehouse.errors import ConfigError
from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import Seasons
from tapehouse.market.signals import Detection
from tapehouse.market.watch import DETECTORS, Watch, reach
from tapehouse.market.windows import MINUTE
from tapehouse.ports import Batch
from tapehouse.streaming.backtest import OF_CANDLES, Backtest, Outcome
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.kline_files import read_klines, rolled_up
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import gold_signals, signals_of
from tapehouse.streaming.signal_reads import newest_signals
from tapehouse.streaming.view import LiveView

START = 1_723_161_600_000_000
KEEN = Detection(baseline=20, outlier_score=4.0, volume_score=3.0, minimum_quote_volume=0)
INDEX = [50, 20, 24, None, 22, 30, 25, 60, 80, 76, 74, 75, 50]
"""The Fear & Greed index of the days up to the one that is traded; of one there is no value."""
SETTINGS = {
    "TAPEHOUSE_SIGNAL_BASELINE": "20",
    "TAPEHOUSE_SIGNAL_OUTLIER_SCORE": "4",
    "TAPEHOUSE_SIGNAL_VOLUME_SCORE": "3",
    "TAPEHOUSE_SIGNAL_MINIMUM_QUOTE_VOLUME": "0",
}


def candle(place: int, close: float) -> CandleRow:
    units = round(close * 1e8)
    made = Candle(units, units, units, units, 10**9, units * 10**9, 1, 5 * 10**8, 1, place, place)
    return CandleRow("BTCUSDT", "1m", START + place * MINUTE, made, None, "closed", 1, 0)


def judged(rows: list[CandleRow], outcome: Outcome) -> Backtest:
    far = msgspec.structs.replace(KEEN, outlier_score=15.0)
    watch = Watch("BTCUSDT", "1m", START - reach(far) * MINUTE, far, Seasons(START))
    watch.recall(rows)
    counted = Backtest("1m", far, outcome)
    counted.add(watch, START, START + len(rows) * MINUTE)
    return counted


def test_what_follows_is_counted_as_it_is_worked_out_by_hand():
    """Two jumps in a row, of which the price goes on moving after the first and stands still after the second."""
    random, closes = Random(1), [100.0]
    for _ in range(119):
        closes.append(closes[-1] * (1 + random.gauss(0, 0.001)))
    closes[60:] = [close * 1.05 for close in closes[60:]]
    closes[61:] = [close * 1.05 for close in closes[61:]]
    counted = judged([candle(place, close) for place, close in enumerate(closes)], Outcome(horizon=1, times=10.0))
    [tally] = counted.tallies(["price_outlier"])
    assert (counted.windows, tally.signals, tally.episodes, tally.longest) == (120, 2, 1, 2)
    assert tally.followed == 0.5
    assert tally.a_day == pytest.approx(2 * 1440 / 120)
    assert tally.false_a_day == pytest.approx(1440 / 120)
    assert 0 < tally.usual < 0.05


def test_of_nothing_nothing_is_counted():
    counted = judged([candle(place, 100.0) for place in range(50)], Outcome())
    assert [tally.signals for tally in counted.tallies(OF_CANDLES)] == [0] * len(OF_CANDLES)


@pytest.fixture
def traded(tmp_path, monkeypatch):
    """A lake in which an engine has stored three hours of candles and their signals."""
    lake = recorded_lake(tmp_path / "lake")
    for name, value in {**SETTINGS, "TAPEHOUSE_LAKE": lake.root}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return lake


def recorded_lake(root):
    from tapehouse.lake.delta import DeltaLake

    lake, random, price, frames = DeltaLake(str(root)), Random(2), Decimal(100), []
    lake.create()
    for number in range(180 * 3):
        at = START // 1000 + number * 20_000
        price = round(price * (1 + Decimal(random.gauss(0, 0.0005)) + (Decimal("0.03") if number == 400 else 0)), 4)
        fields = {"e": "trade", "E": at, "s": "BTCUSDT", "t": number, "p": f"{price}", "q": "1.5", "T": at, "m": True}
        frames.append(json.dumps({"stream": "btcusdt@trade", "data": fields}).encode())
    clock = iter(range(START + 4 * 3_600_000_000, START + 5 * 3_600_000_000))
    engine = EmbeddedEngine(lake, LiveView(), recover(lake, ["BTCUSDT"], KEEN), now=lambda: next(clock))
    moods = [mood(day, value) for day, value in enumerate(INDEX) if value is not None]
    engine.fold([Batch(moods, [next(clock)] * len(moods), "sentiment", "fear_greed")])
    for first in range(0, len(frames), 30):
        engine.fold([Batch(frames[first : first + 30], [next(clock)] * len(frames[first : first + 30]))])
        engine.commit()
    engine.close()
    return lake


def mood(day: int, value: int) -> bytes:
    told = START // 1_000_000 - (len(INDEX) - 1 - day) * 86_400
    return json.dumps({"value": f"{value}", "value_classification": "Fear", "timestamp": f"{told}"}).encode()


def line_of(kind: str, result) -> list[str]:
    """The line of the table about a kind, in words."""
    [line] = [line.split() for line in result.output.splitlines() if line.split()[:1] == [kind] and "could" not in line]
    return line


def run(*arguments: str):
    return CliRunner().invoke(main, ["signals", "backtest", *arguments])


def test_stored_signals_are_what_a_back_test_finds_and_it_says_so(traded):
    stored = signals_of(traded.scan(SIGNALS).collect())
    outliers = sum(s.kind == "price_outlier" and s.interval == "1m" and s.state != "retracted" for s in stored)
    result = run("btcusdt", "--check")
    assert result.exit_code == 0, result.output
    assert "BTCUSDT: signals are as stored" in result.output
    assert int(line_of("price_outlier", result)[2]) == outliers > 0
    chosen = run("BTCUSDT", "--check", "--interval", "5m", "--kind", "volume_spike", "--from", "2024-08-09T01:00")
    assert chosen.exit_code == 0, chosen.output
    assert "price_outlier" not in chosen.output


def test_a_signal_that_is_not_what_the_candles_give_is_told(traded):
    [first, *_] = [s for s in signals_of(traded.scan(SIGNALS).collect()) if s.kind == "price_outlier"]
    wrong = msgspec.structs.replace(first, score=first.score + 1, revision=first.revision + 1)
    traded.append(SIGNALS, gold_signals([wrong]), writer="embedded", batch=10_000)
    result = run("BTCUSDT", "--check", "--interval", first.interval)
    assert result.exit_code == 5
    assert "1 stored signals differ" in result.output
    assert "not what the candles give" in result.stderr


@pytest.mark.usefixtures("traded")
def test_the_index_of_the_lake_is_judged_by_its_days_and_what_its_candles_cannot_tell_is_said():
    """Two stays of fear, of three values and of one, and two of greed; the candles are of one day alone."""
    result = run("BTCUSDT", "--check")
    assert result.exit_code == 0, result.output
    kind, judged, signals, a_day, stays, longest, followed, *_ = line_of("sentiment_extreme", result)
    assert (kind, judged, signals, stays, longest, followed) == ("sentiment_extreme", "12", "4", "4", "3", "-")
    assert float(a_day) == pytest.approx(4 / 12, abs=0.005)
    said = " ".join(result.output.split())
    assert "sentiment_extreme: what followed cannot be told; it takes 10 windows before a signal, 12 more" in said
    assert "divergence could not be judged: it takes CoinGecko's prices of the coin" in said
    assert "*: signals are as stored" in result.output
    later = run("BTCUSDT", "--from", "2024-08-04")
    assert line_of("sentiment_extreme", later)[1:3] == ["6", "2"]


def test_an_extreme_that_is_not_what_the_index_gives_is_told(traded):
    [first, *_] = [s for s in signals_of(traded.scan(SIGNALS).collect()) if s.kind == "sentiment_extreme"]
    wrong = msgspec.structs.replace(first, state="retracted", revision=first.revision + 1)
    traded.append(SIGNALS, gold_signals([wrong]), writer="embedded", batch=10_000)
    result = run("BTCUSDT", "--check", "--kind", "sentiment_extreme")
    assert result.exit_code == 5
    assert "*: 1 stored signals differ" in result.output


def rebuild(*arguments: str):
    return CliRunner().invoke(main, ["signals", "rebuild", *arguments])


def test_after_a_change_of_what_is_a_signal_the_stored_ones_can_be_found_anew(traded, monkeypatch):
    def standing() -> list[tuple[str, str, int]]:
        newest = newest_signals(traded.scan(SIGNALS)).collect()
        return sorted((s.kind, s.interval, s.opened_at) for s in signals_of(newest) if s.state != "retracted")

    before, rows = standing(), traded.scan(SIGNALS).collect().height
    monkeypatch.setenv("TAPEHOUSE_SIGNAL_OUTLIER_SCORE", "5")
    monkeypatch.setenv("TAPEHOUSE_SIGNAL_SENTIMENT_EXTREME", "22")
    assert run("BTCUSDT", "--check").exit_code == 5
    done = rebuild("btcusdt")
    assert done.exit_code == 0, done.output
    assert "BTCUSDT 1m: " in done.output
    assert "signals stored anew" in done.output
    assert len(standing()) < len(before)
    for interval in ("1m", "5m", "1h"):
        assert run("BTCUSDT", "--check", "--interval", interval).exit_code == 0
    monkeypatch.setenv("TAPEHOUSE_SIGNAL_OUTLIER_SCORE", "4")
    monkeypatch.setenv("TAPEHOUSE_SIGNAL_SENTIMENT_EXTREME", "25")
    assert rebuild("BTCUSDT").exit_code == 0
    assert standing() == before
    kept = traded.scan(SIGNALS).collect()
    assert kept.select("kind", "symbol", "interval", "opened_at", "revision").is_duplicated().sum() == 0
    assert kept.height > rows
    again = rebuild("BTCUSDT")
    assert again.exit_code == 0
    assert "stored anew" not in again.output


@pytest.mark.usefixtures("traded")
def test_nothing_is_found_anew_where_nothing_is_watched_or_held(monkeypatch):
    assert "no candles of NOPEUSDT" in rebuild("NOPEUSDT").stderr
    assert "not after" in rebuild("BTCUSDT", "--from", "2024-08-10", "--to", "2024-08-09").stderr
    monkeypatch.setenv("TAPEHOUSE_SIGNAL_INTERVALS", "off")
    refused = rebuild("BTCUSDT")
    assert refused.exit_code == 2
    assert "TAPEHOUSE_SIGNAL_INTERVALS is off" in refused.stderr


@pytest.mark.usefixtures("traded")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NOPEUSDT"], "no 1m candles of NOPEUSDT"),
        (["BTCUSDT", "--kind", "nonsense"], "there is volume_spike"),
        (["BTCUSDT", "--from", "2024-08-10", "--to", "2024-08-09"], "not after"),
        (["BTCUSDT", "--check", "--recording", __file__], "without --recording"),
        (["BTCUSDT", "--recording", __file__], "no file of klines"),
        (["BTCUSDT", "--context", __file__], "goes with --recording"),
        (["BTCUSDT", "--recording", __file__, "--context", __file__], "no answer of Fear & Greed"),
    ],
)
def test_what_cannot_be_tried_is_said_in_words(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


KLINE = "1722470400000,100.5,101,99,100,2,1722470699999,201,3,1,100.5,0\n"
QUIET = "1722470700000000,100,100,100,100,0,1722470999999999,0,0,0,0,0\n"


def test_klines_are_read_from_plain_and_packed_files_in_either_unit_of_time(tmp_path):
    plain, packed = tmp_path / "a.csv", tmp_path / "b.zip"
    plain.write_text("open_time,o,h,l,c,v,close_time,q,n,V,Q,ignore\n" + KLINE)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("b.csv", QUIET + KLINE)
    rows = read_klines([plain, packed], "BTCUSDT", "5m")
    assert [(row.opened_at, row.state) for row in rows] == [
        (1_722_470_400_000_000, "closed"),
        (1_722_470_700_000_000, "quiet"),
    ]
    assert rows[0].candle.quote_volume == 201 * 10**16
    [hour] = rolled_up(rows, "1h")
    assert (hour.state, hour.candle.volume) == ("gap", 2 * 10**8)


def test_a_longer_candle_of_a_file_begins_with_its_first_and_ends_with_its_last():
    def row(place: int, first: int, close: int) -> CandleRow:
        candle = Candle(first, max(first, close), min(first, close), close, 1, close, 1, 0, 0, -1, -1)
        return CandleRow("BTCUSDT", "5m", START + place * 5 * MINUTE, candle, None, "closed", 1, 0)

    rows = [row(place, 100 + place, 200 - place) for place in range(24)]
    hours = list(rolled_up(rows, "1h"))
    assert [(hour.opened_at, hour.state) for hour in hours] == [(START, "closed"), (START + 60 * MINUTE, "closed")]
    assert [(hour.candle.open, hour.candle.close, hour.candle.trades) for hour in hours] == [
        (100, 189, 12),
        (112, 177, 12),
    ]


@pytest.mark.parametrize(
    "text", ["a,b\n", "1722470400001,1,1,1,1,1,1,1,1,1,1,0\n", "1722470400000,x,1,1,1,1,1,1,1,1,1,0\n"]
)
def test_what_is_no_kline_names_its_file(tmp_path, text):
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"wrong\.csv"):
        read_klines([file], "BTCUSDT", "5m")


@pytest.mark.recordings
def test_recorded_months_are_tried_as_they_are(recordings):
    file = recordings / "2-klines" / "BTCUSDT-spot-5m-2024-08.csv.zst"
    result = run("BTCUSDT", "--interval", "5m", "--recording", str(file), "--kind", "price_outlier")
    assert result.exit_code == 0, result.output
    assert "8,928 windows" in result.output


DOCUMENTED = r"^\| `(\w+)` \| ([\d.]+) \| (\d+) \| (\d+ %) \| (\d+ %) \| ([\d.]+) \|$"
"""Kind, a day, longest run, followed, usual, false alarms a day."""


@pytest.mark.recordings
def test_eight_months_alarm_as_often_and_as_falsely_as_the_documentation_says(recordings):
    """The table of `docs/explanation/signals.md`, figure by figure."""
    months = [recordings / "2-klines" / f"BTCUSDT-spot-5m-2024-{month:02}.csv.zst" for month in range(1, 9)]
    files = [part for month in months for part in ("--recording", str(month))]
    kinds = [part for kind in DETECTORS for part in ("--kind", kind)]
    result = run("BTCUSDT", "--interval", "5m", *files, *kinds)
    assert result.exit_code == 0, result.output
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "signals.md").read_text()
    told = {kind: cells for kind, *cells in re.findall(DOCUMENTED, page, re.MULTILINE)}
    assert "70,272 windows" in result.output
    assert told.keys() == DETECTORS.keys()
    for kind, cells in told.items():
        _, _, _, a_day, _, longest, followed, _, usual, _, false_a_day = line_of(kind, result)
        found = [f"{float(a_day):.2f}", longest, f"{followed} %", f"{usual} %", f"{float(false_a_day):.2f}"]
        assert found == cells, kind


BITCOINS_MONTH = "5-coingecko/coingecko_it_gets_hourly_historical_prices_for_one_coin.jsonl"


@pytest.mark.recordings
def test_four_years_of_the_index_are_tried_as_the_documentation_says(recordings, tmp_path):
    packed = (recordings / "8-history" / "binance_btcusdt_1d_2019-09_2026-06.json.zst").read_bytes()
    rows = json.loads(zstandard.ZstdDecompressor().decompress(packed))
    klines, index = tmp_path / "btc.csv", tmp_path / "index.json"
    klines.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    told = json.loads((recordings / "6-fng" / "fng_2018-02-01_2021-12-31.json").read_text())
    index.write_text(json.dumps({"name": "Fear and Greed Index", "data": told}))
    files = ["--interval", "1d", "--recording", str(klines), "--context", str(index)]
    result = run("BTCUSDT", *files, "--kind", "sentiment_extreme")
    assert result.exit_code == 0, result.output
    assert line_of("sentiment_extreme", result) == [
        *("sentiment_extreme", "1,427", "93", "0.065", "93", "77"),
        *("20", "%", "26", "%", "0.052"),
    ]


@pytest.mark.recordings
def test_prices_that_coingecko_told_lie_within_what_was_traded_and_wrong_ones_do_not(recordings, tmp_path):
    """A month of hours of which one day fell by 15 %."""
    klines, prices, wrong = tmp_path / "btc.csv", tmp_path / "prices.json", tmp_path / "wrong.json"
    klines.write_text("".join(hourly_klines(recordings)))
    with (recordings / BITCOINS_MONTH).open() as lines:
        chart = json.loads(next(lines))["body"]
    prices.write_text(json.dumps(chart))
    wrong.write_text(json.dumps({"prices": [[at, price * 1.1] for at, price in chart["prices"]]}))
    files = ["--interval", "1h", "--recording", str(klines), "--kind", "divergence"]
    honest = run("BTCUSDT", *files, "--context", str(prices))
    assert line_of("divergence", honest)[1:3] == ["711", "0"]
    found = line_of("divergence", run("BTCUSDT", *files, "--context", str(wrong)))
    assert (found[1], int(found[2]) > 700) == ("711", True)
    two = run("BTCUSDT", "ETHUSDT", *files, "--context", str(prices))
    assert "ask for one symbol" in two.stderr


def hourly_klines(recordings):
    """The hours of 2021 in a dirty file, each once, as Binance's archives would have them."""
    packed = (recordings / "8-history" / "cdd_Binance_BTCUSDT_1h.csv.zst").open("rb")
    lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(packed), "utf-8")
    hours = {}
    for line in itertools.islice(lines, 1, None):
        unix, _, _, o, h, low, c, volume, quote_volume, *_ = line.strip().split(",")
        opened = int(float(unix)) // 3_600_000 * 3_600_000
        if opened >= 1_609_459_200_000:
            hours[opened] = f"{opened},{o},{h},{low},{c},{volume},0,{quote_volume},1,0,0,0\n"
    return [hours[opened] for opened in sorted(hours)]
