"""What the commands show: how far they are, what agrees, what does not, and how much is left out."""

from datetime import date

import pytest

from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow, Check
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.reports import MOST_LINES, print_rebuilt, print_verification, telling_progress, telling_steps
from tapehouse.streaming.backfill import Step
from tapehouse.streaming.rebuild import Rebuilt
from tapehouse.streaming.verification import Verification
from tapehouse.warehouse.steps import Step as BuildStep

OPENED = 1_723_161_600_000_000
DAY_OPENED = OPENED - OPENED % DAY


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def row(minute: int, state="closed", trades: int = 3) -> CandleRow:
    candle = Candle(1, 2, 1, 61_784_01000000, 7, 8, trades, 3, 4, 1, 3) if trades else None
    return CandleRow("BTCUSDT", "1m", OPENED + minute * MINUTE, candle, None if candle else 5, state, 1, OPENED)


def verification(*differing: Check) -> Verification:
    return Verification("BTCUSDT", 120, 90 - len(differing), 7, 3, list(differing), not_held=20)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│┃ \n").replace("┃", "│").split("│")]


def test_a_verification_without_differences_is_one_line_of_counts(capsys):
    print_verification(verification())
    shown = capsys.readouterr().out.splitlines()
    assert "BTCUSDT" in shown[0]
    assert cells(shown[2]) == ["windows", "agreeing", "differing", "not proved", "without a kline", "not held"]
    assert cells(shown[4]) == ["120", "90", "0", "7", "3", "20"]
    assert "the exchange's" not in "\n".join(shown[1:])


def test_each_column_that_differs_is_shown_with_both_values(capsys):
    check = Check("BTCUSDT", OPENED, [("high", 61_784_01000000, 61_784_02000000), ("trades", 7, None)])
    print_verification(verification(check), {OPENED: "stays"})
    lines = [cells(line) for line in capsys.readouterr().out.splitlines()]
    assert ["2024-08-09 00:00", "high", "61784.01", "61784.02", "stays"] in lines
    assert ["2024-08-09 00:00", "trades", "7"] in [line[:3] for line in lines]


def test_no_more_lines_are_shown_than_fit_and_the_rest_is_counted(capsys):
    checks = [Check("BTCUSDT", OPENED + n * MINUTE, [("high", 1, 2)]) for n in range(MOST_LINES + 5)]
    print_verification(verification(*checks))
    shown = capsys.readouterr().out
    assert shown.count(" high ") == MOST_LINES
    assert "... and 5 more" in shown


def test_a_day_that_is_as_stored_says_so(capsys):
    print_rebuilt(Rebuilt(date(2024, 8, 9), 1855, []), "BTCUSDT", stored=True)
    assert capsys.readouterr().out == "BTCUSDT 2024-08-09: 1855 candles computed, all as stored\n"


@pytest.mark.parametrize(("stored", "said"), [(True, "stored as new revisions"), (False, "nothing was written")])
def test_a_day_that_differs_shows_what_was_stored_and_what_was_computed(capsys, stored, said):
    pairs = [(row(0), row(0, "gap")), (None, row(1, "quiet", 0)), (row(2), None)]
    print_rebuilt(Rebuilt(date(2024, 8, 9), 3, pairs), "BTCUSDT", stored=stored)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == f"BTCUSDT 2024-08-09: 3 candles computed, 3 differ, {said}"
    assert lines == [
        "  1m 2024-08-09 00:00: closed, 3 trades, close 61784.01 -> gap, 3 trades, close 61784.01",
        "  1m 2024-08-09 00:01: nothing -> quiet",
        "  1m 2024-08-09 00:02: closed, 3 trades, close 61784.01 -> nothing",
    ]


def test_of_many_rebuilt_candles_the_first_are_shown_and_all_are_counted(capsys):
    pairs = [(None, row(n)) for n in range(MOST_LINES + 5)]
    print_rebuilt(Rebuilt(date(2024, 8, 9), 100, pairs), "BTCUSDT", stored=True)
    head, *lines = capsys.readouterr().out.splitlines()
    assert f"{MOST_LINES + 5} differ" in head
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "  ... and 5 more"


def test_progress_is_told_on_stderr_and_every_symbol_ends_whole(capsys):
    symbols = ["BTCUSDT", "ETHUSDT"]
    with telling_progress(symbols, DAY_OPENED - 30 * MINUTE, DAY_OPENED + DAY + MINUTE) as tell:
        tell(Step("BTCUSDT", date(2024, 8, 9), "download", 50, 200))
        tell(Step("BTCUSDT", date(2024, 8, 9), "archive", 12_345, 0))
        tell(Step("ETHUSDT", date(2024, 8, 10), "REST", 7, 10))
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if line.strip()]
    assert [(line.split()[0], "3/3 days" in line) for line in lines[-2:]] == [("BTCUSDT", True), ("ETHUSDT", True)]


def test_the_steps_of_a_build_are_told_on_stderr_a_line_a_model_and_of_tests_only_those_that_fail(capsys):
    with telling_steps("Building") as tell:
        tell(BuildStep("stg_candles", "model", "success", 0.26, 1, 4))
        tell(BuildStep("unique_stg_candles", "test", "pass", 0.1, 2, 4))
        tell(BuildStep("closed_candles_are_whole", "test", "fail", 1.04, 3, 4))
        tell(BuildStep("fct_candle_1m", "model", "skipped", 0.0, 4, 4))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.strip() for line in shown.err.splitlines() if " in " in line] == [
        "model stg_candles: success in 0.3 s",
        "test closed_candles_are_whole: fail in 1.0 s",
        "model fct_candle_1m: skipped in 0.0 s",
    ]
    [bar] = [line for line in shown.err.splitlines() if line.startswith("Building")]
    assert bar.split()[-1] == "4/4"
