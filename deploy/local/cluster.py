"""The cluster profile on one machine, without containers: `cluster.py up`, `cluster.py down`; both may be repeated.

`cluster.py pause stream` ends one service and `cluster.py resume stream` starts it again, while the others go on.

Everything it makes lies in one folder: `data/cluster`, or the one CLUSTER_FOLDER names. CLUSTER_SOURCE=live takes
Binance instead of the exchange in the box; CLUSTER_PORTS=free takes ports nobody uses instead of the usual ones.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from parts import PartMissingError, fetch_all, say
from servers import LOOK_EVERY
from services import environment_of, services, with_its_upstreams
from supervisor import Supervisor

STARTS_WITHIN = 600.0
STOPS_WITHIN = 60.0
SILENT_FOR = 10.0
"""Seconds after which whoever waits is told again what for."""
Status = dict[str, Any]


def up(root: Path) -> int:
    """Start what does not run yet, wait until all is ready, and say where to look; return the exit status."""
    environment = environment_of(root)
    began = None
    if runs(root):
        say("The cluster runs already.")
    else:
        fetch_all(root)
        for left in ("status.json", "paused"):
            (root / left).unlink(missing_ok=True)
        began = begin(root)
    try:
        status = follow(root, began)
    except KeyboardInterrupt:
        if began is not None:
            began.terminate()
            began.wait()
        return 130
    if status["failed"]:
        if began is not None:
            began.wait()
        say(f"The cluster did not start. {status['failed']}")
        return 1
    say(describe(root, environment, status))
    return 0


def begin(root: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor, which outlives this process."""
    with (root / "supervisor.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # this file
            [sys.executable, __file__, "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def supervise(root: Path) -> int:
    """Keep the cluster running until SIGTERM; there is one of this in a folder."""
    with open_lock(root) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        live = os.environ.get("CLUSTER_SOURCE") == "live"
        Supervisor(services(root, with_its_upstreams(root, live=live), live=live), root / "status.json").run()
    return 0


def follow(root: Path, began: subprocess.Popen[bytes] | None) -> Status:
    """Say what starts and what is ready as it is, and return how all stand once they are, or once one has failed."""
    begun: set[str] = set()
    told: set[str] = set()
    since = told_at = time.monotonic()
    while True:
        status, lasted = read(root), time.monotonic() - since
        for name, standing in status["services"].items():
            if standing["state"] in ("ready", "done", "paused") and name not in told:
                say(f"  {name:<13}{standing['state']} after {lasted:.0f} s")
                told.add(name)
                told_at = time.monotonic()
        starting = {name for name, standing in status["services"].items() if standing["state"] == "starting"} - told
        if starting - begun or (starting and time.monotonic() - told_at > SILENT_FOR):
            say(f"  starting: {', '.join(sorted(starting))} ({lasted:.0f} s)")
            begun, told_at = begun | starting, time.monotonic()
        paused = [name for name, standing in status["services"].items() if standing["state"] == "paused"]
        if began is None and paused:  # who needs one of them does not become ready
            say(f"  make cluster-resume SERVICE={paused[0]} starts it again")
            return status
        if status["failed"] or (status["services"] and told >= status["services"].keys()):
            return status
        if lasted > STARTS_WITHIN:
            return status | {"failed": f"Not ready: {', '.join(sorted(status['services'].keys() - told))}"}
        if began is not None and began.poll() is not None:
            log = (root / "supervisor.log").read_text()[-2000:]
            return status | {"failed": status["failed"] or f"The supervisor ended; it said:\n{log}"}
        time.sleep(LOOK_EVERY)


def down(root: Path) -> int:
    """End the cluster of this folder, and nothing else; its data stay."""
    if not runs(root):
        say("No cluster runs.")
        return 0
    pid = int(read(root)["pid"])
    os.kill(pid, signal.SIGTERM)
    if not until(lambda: not runs(root), STOPS_WITHIN):
        os.kill(pid, signal.SIGKILL)  # what it started ends with it
        until(lambda: not runs(root), STOPS_WITHIN)
    say(f"The cluster has ended; its data stay in {root}")
    return 0


def pause(root: Path, name: str) -> int:
    """End one service and leave it so; the others go on without it."""
    return _change(root, name, paused=True)


def resume(root: Path, name: str) -> int:
    """Start a service again that was paused, and wait until it is ready."""
    return _change(root, name, paused=False)


def _change(root: Path, name: str, *, paused: bool) -> int:
    known = read(root)["services"].keys() if runs(root) else ()
    if name not in known:
        say(f"No service {name} runs here; there is {', '.join(known) or 'no cluster'}.")
        return 1
    file = root / "paused"
    others = set(file.read_text().split() if file.exists() else ()) - {name}
    scratch = file.with_suffix(".new")
    scratch.write_text("\n".join(sorted(others | {name} if paused else others)))
    scratch.replace(file)
    wanted = "paused" if paused else "ready"
    is_so = until(lambda: read(root)["services"][name]["state"] == wanted, STOPS_WITHIN if paused else STARTS_WITHIN)
    say(f"{name} is {wanted}." if is_so else f"{name} is not {wanted} yet; its log is {root / name / 'log.txt'}")
    return 0 if is_so else 1


def read(root: Path) -> Status:
    """Return how the services stand, as the supervisor said last."""
    try:
        return dict(json.loads((root / "status.json").read_text()))
    except FileNotFoundError:
        return {"pid": None, "failed": None, "services": {}}


def open_lock(root: Path) -> TextIO:
    """Open the file that a supervisor holds locked as long as it lives."""
    root.mkdir(parents=True, exist_ok=True)
    return (root / "supervisor.lock").open("w")


def runs(root: Path) -> bool:
    """Return whether a supervisor lives."""
    with open_lock(root) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def until(seen: Callable[[], bool], patience: float) -> bool:
    """Look until something is so; return whether it came to be within `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (found := seen()) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return found


def describe(root: Path, environment: dict[str, str], status: Status) -> str:
    """Return where to look, and what was restarted."""
    restarts = {name: standing["restarts"] for name, standing in status["services"].items() if standing["restarts"]}
    again = (
        f"\n  started again  {', '.join(f'{name} ({count})' for name, count in restarts.items())}" if restarts else ""
    )
    return f"""
  the page       http://127.0.0.1:{environment["TAPEHOUSE_API_PORT"]}
  Spark          http://127.0.0.1:{environment["TAPEHOUSE_SPARK_UI_PORT"]}
  the tables     {environment["TAPEHOUSE_LAKE"]} at {environment["AWS_ENDPOINT_URL"]}
  the tape       Kafka at {environment["TAPEHOUSE_KAFKA_BOOTSTRAP"]}
  logs, data     {root}{again}

`set -a; . {root}/environment` tells a shell all of this, keys included. Kill what you like: it is started again.
`make cluster-down` ends it; docs/how-to/run-a-cluster.md says more."""


COMMANDS: dict[str, Callable[..., int]] = {
    "up": up,
    "down": down,
    "pause": pause,
    "resume": resume,
    "supervise": supervise,
}

if __name__ == "__main__":
    try:
        folder = Path(os.environ.get("CLUSTER_FOLDER", "data/cluster")).absolute()
        sys.exit(COMMANDS[sys.argv[1]](folder, *sys.argv[2:]))
    except PartMissingError as error:
        sys.exit(str(error))
