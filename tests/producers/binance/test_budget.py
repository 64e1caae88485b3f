"""The budget of an address: shared by processes, remembered over restarts, and the exchange's word counts most."""

import subprocess
import sys
from pathlib import Path

import pytest

from tapehouse.errors import ConfigError
from tapehouse.producers.binance.budget import Budget, budget_file

NOON = 1_700_000_040.0  # the first second of a minute


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state" / "budget.json"


def spend_all(budget: Budget, weight: int, now: float) -> int:
    times = 0
    while not budget.spend(weight, now):
        times += 1
    return times


def test_the_headroom_of_the_limit_is_spent_and_then_the_next_minute_is_waited_for(path):
    budget = Budget(path, headroom=0.8)
    assert spend_all(budget, 25, NOON) == 4800 // 25
    assert budget.spend(25, NOON + 20) == 40.0
    assert budget.spend(25, NOON + 60) == 0.0


def test_what_is_left_is_still_given_to_a_lighter_request(path):
    budget = Budget(path, headroom=1.0)
    budget.learn_limit(30, NOON)
    assert [budget.spend(25, NOON), budget.spend(25, NOON), budget.spend(4, NOON)] == [0.0, 60.0, 0.0]


def test_the_limit_the_exchange_tells_is_kept_over_a_restart(path):
    Budget(path).learn_limit(1200, NOON)
    assert Budget(path, headroom=0.5).usage(NOON).weight_limit == 1200
    assert spend_all(Budget(path, headroom=0.5), 20, NOON) == 600 // 20


def test_a_restart_does_not_get_a_fresh_budget(path):
    spent = 0
    for _ in range(30):  # a crash loop
        budget = Budget(path)
        spent += sum(25 for _ in range(10) if not budget.spend(25, NOON))
    assert spent == 4800


def test_two_processes_share_one_budget(path):
    code = (
        "import sys; from pathlib import Path; from tapehouse.producers.binance.budget import Budget\n"
        "budget = Budget(Path(sys.argv[1]))\n"
        f"print(sum(not budget.spend(10, {NOON}) for _ in range(400)))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    granted = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert sum(granted) == 480
    assert Budget(path).usage(NOON).weight == 4800


def test_the_exchange_counts_more_than_we_do(path):
    budget = Budget(path)
    budget.spend(25, NOON)
    budget.settle(25, 4790, NOON)
    assert budget.spend(25, NOON) == 60.0
    budget.spend(2, NOON)
    budget.settle(2, 100, NOON)
    assert budget.usage(NOON).weight == 100


def test_what_is_under_way_is_added_to_what_the_exchange_has_seen(path):
    budget = Budget(path)
    budget.spend(25, NOON)
    budget.spend(20, NOON)
    budget.settle(25, 1000, NOON)
    assert budget.usage(NOON).weight == 1020


def test_a_ban_stops_the_requests_of_every_process_until_it_is_over_and_no_stream(path):
    Budget(path).ban(90.0, NOON)
    other = Budget(path)
    assert other.spend(2, NOON + 30) == pytest.approx(60.0)
    assert other.usage(NOON + 30).banned_until == NOON + 90
    assert other.attempt(NOON + 30) == 0.0
    assert other.spend(2, NOON + 91) == 0.0


def test_a_ban_of_streams_stops_the_connections_of_every_process_and_no_request(path):
    Budget(path).ban_streams(90.0, NOON)
    other = Budget(path)
    assert other.attempt(NOON + 30) == pytest.approx(60.0)
    assert other.spend(2, NOON + 30) == 0.0
    assert other.attempt(NOON + 91) == 0.0


def test_a_shorter_ban_does_not_end_a_longer_one(path):
    budget = Budget(path)
    budget.ban(600.0, NOON)
    budget.ban(5.0, NOON)
    assert budget.spend(1, NOON + 10) == 590.0


def test_connection_attempts_of_five_minutes_are_counted_over_restarts(path):
    made = sum(not Budget(path).attempt(NOON + number * 0.1) for number in range(300))
    assert made == 240
    assert Budget(path).attempt(NOON + 100) == pytest.approx(200.0)
    assert Budget(path).attempt(NOON + 300.05) == 0.0


def test_a_clock_set_back_does_not_lock_us_out_for_ever(path):
    budget = Budget(path)
    budget.ban(60.0, NOON + 10 * 24 * 3600)
    for _ in range(240):
        budget.attempt(NOON + 10 * 24 * 3600)
    assert [budget.spend(1, NOON), budget.attempt(NOON)] == [0.0, 0.0]


@pytest.mark.parametrize("record", [b"", b"not json", b"\x00" * 300, b'{"weight": "many"}'])
def test_a_broken_record_is_begun_anew(path, record):
    path.parent.mkdir()
    path.write_bytes(record)
    budget = Budget(path)
    assert budget.spend(25, NOON) == 0.0
    assert Budget(path).usage(NOON).weight == 25


def test_a_record_that_shrinks_stays_readable(path):
    budget = Budget(path)
    for number in range(50):
        budget.attempt(NOON + number)
    budget.spend(7, NOON + 1000)
    assert (Budget(path).usage(NOON + 1000).attempts, Budget(path).usage(NOON + 1000).weight) == (0, 7)


def test_a_place_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="TAPEHOUSE_STATE"):
        Budget(tmp_path / "file" / "budget.json")


def test_the_file_is_named_for_the_first_address(tmp_path):
    addresses = ("https://api.binance.com", "https://data-api.binance.vision")
    assert budget_file(tmp_path, addresses) == tmp_path / "budget-api.binance.com.json"
    assert budget_file(tmp_path, ("http://me:secret@127.0.0.1:80",)).name == "budget-127.0.0.1-80.json"
