"""The back-test counts what the engine stores, and says when that is not what the candles give."""

import json
import zipfile
from decimal import Decimal
from random import Random

import msgspec
import pytest
from click.testing import CliRunner

from tapehouse.catalog import SIGNALS
from tapehouse.cli import main
from tapehouse.errors import ConfigError
from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.seasons import Seasons
from tapehouse.market.signals import Detection
from tapehouse.market.watch import Watch, reach
from tapehouse.market.windows import MINUTE
from tapehouse.ports import Batch
from tapehouse.streaming.backtest import KINDS, Backtest, Outcome
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.kline_files import hours_of, read_klines
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.rows import gold_signals, signals_of
from tapehouse.streaming.view import LiveView

START = 1_723_161_600_000_000
KEEN = Detection(baseline=20, outlier_score=4.0, volume_score=3.0, minimum_quote_volume=0)
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
    assert [tally.signals for tally in counted.tallies(KINDS)] == [0] * len(KINDS)


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
    for first in range(0, len(frames), 30):
        engine.fold([Batch(frames[first : first + 30], [next(clock)] * len(frames[first : first + 30]))])
        engine.commit()
    engine.close()
    return lake


def run(*arguments: str):
    return CliRunner().invoke(main, ["signals", "backtest", *arguments])


def test_stored_signals_are_what_a_back_test_finds_and_it_says_so(traded):
    stored = signals_of(traded.scan(SIGNALS).collect())
    outliers = sum(s.kind == "price_outlier" and s.interval == "1m" and s.state != "retracted" for s in stored)
    result = run("btcusdt", "--check")
    assert result.exit_code == 0, result.output
    assert "BTCUSDT: signals are as stored" in result.output
    [line] = [line for line in result.output.splitlines() if "price_outlier" in line]
    assert int(line.split("│")[2]) == outliers > 0
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
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["NOPEUSDT"], "no 1m candles of NOPEUSDT"),
        (["BTCUSDT", "--kind", "nonsense"], "there is volume_spike"),
        (["BTCUSDT", "--from", "2024-08-10", "--to", "2024-08-09"], "not after"),
        (["BTCUSDT", "--check", "--recording", __file__], "without --recording"),
        (["BTCUSDT", "--recording", __file__], "no file of klines"),
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
    [hour] = hours_of(rows)
    assert (hour.state, hour.candle.volume) == ("gap", 2 * 10**8)


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
