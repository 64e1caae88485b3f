"""Services start wave after wave, are started again when they end, and end with their supervisor."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import Supervisor, Watched

LOCAL = Path(__file__).parents[2] / "deploy" / "local"
STAYS = "import time; print('ready', flush=True); time.sleep(600)"
FAILS = "import sys; sys.exit('no such broker')"
SUPERVISED = """
import sys
sys.path[:0] = [{local!r}, {tests!r}]
from pathlib import Path
from conftest import Script
from supervisor import Supervisor
root = Path({root!r})
Supervisor([[Script(root / "first", {program!r})], [Script(root / "second", {program!r})]], root / "status.json").run()
"""


@pytest.fixture
def supervised(tmp_path):
    program = SUPERVISED.format(local=str(LOCAL), tests=str(Path(__file__).parent), root=str(tmp_path), program=STAYS)
    process = subprocess.Popen([sys.executable, "-B", "-c", program])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def standing(tmp_path):
    def read(name):
        try:
            return json.loads((tmp_path / "status.json").read_text())["services"][name]
        except FileNotFoundError:
            return {"state": None, "pid": None}

    return read


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.usefixtures("supervised")
def test_a_service_that_is_killed_is_started_again(standing, until):
    until(lambda: standing("second")["state"] == "ready", "both are ready")
    first = standing("first")["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: standing("first")["pid"] not in (None, first), "another process takes its place")
    until(lambda: standing("first")["state"] == "ready", "it is ready again")
    assert standing("first")["restarts"] == 1
    assert standing("second")["restarts"] == 0


@pytest.mark.usefixtures("supervised")
def test_a_service_that_is_paused_ends_and_stays_so_until_it_is_resumed(tmp_path, standing, until):
    until(lambda: standing("second")["state"] == "ready", "both are ready")
    first, second = (standing(name)["pid"] for name in ("first", "second"))
    (tmp_path / "paused").write_text("first\nnobody")
    until(lambda: standing("first")["state"] == "paused", "it is paused")
    assert not is_alive(first)
    (tmp_path / "paused").write_text("")
    until(lambda: standing("first")["state"] == "ready", "it is ready again")
    assert standing("second")["pid"] == second
    assert standing("first")["restarts"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_the_supervisor(supervised, standing, until, number):
    until(lambda: standing("second")["state"] == "ready", "both are ready")
    pids = [standing(name)["pid"] for name in ("first", "second")]
    assert all(map(is_alive, pids))
    supervised.send_signal(number)
    supervised.wait(30)
    until(lambda: not any(map(is_alive, pids)), "its services have ended")


def test_a_service_waits_for_the_wave_before_it_and_for_nobody_of_its_own(tmp_path, script):
    never = script("never", "import time; time.sleep(600)")
    beside, after = script("beside", STAYS), script("after", STAYS)
    supervisor = Supervisor([[never, beside], [after]], tmp_path / "status.json")
    for _ in range(5):
        supervisor._step()
    assert never.process is not None
    assert beside.process is not None
    assert after.process is None


def test_a_service_that_ends_at_every_start_is_given_up_with_what_it_said(tmp_path, script):
    Supervisor([[script("broken", FAILS)], [script("after", STAYS)]], tmp_path / "status.json").run()
    status = json.loads((tmp_path / "status.json").read_text())
    assert "broken does not start" in status["failed"]
    assert "no such broker" in status["failed"]
    assert status["services"]["after"]["pid"] is None


@pytest.mark.parametrize("gives_way", [True, False])
def test_a_service_that_gives_way_runs_below_the_others(script, until, gives_way):
    service = script("patient", "import os, time; print('ready', os.nice(0), flush=True); time.sleep(600)")
    service.gives_way = gives_way
    service.launch()
    until(service.is_ready, "it is ready")
    assert (int(service.said().split()[-1]) > os.nice(0)) is gives_way


def test_a_job_is_done_when_it_has_ended_and_is_not_run_again(script):
    watched = Watched(script("job", "print('ready')"))
    watched.launch()
    watched.server.process.wait(30)
    for _ in range(3):
        watched.look()
    assert watched.standing.state == "done"
    assert watched.standing.restarts == 0
