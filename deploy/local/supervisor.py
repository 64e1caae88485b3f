"""Keep services running: start them wave after wave, start again what ends, and say how each one stands.

Those whose names the file `paused` has, beside the file that says how they stand, are ended until it has them no more.

Each service may be killed at any moment: its start is its recovery. When this process ends, however it ends, all of
them end with it.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from servers import Server, ServerError

LOOK_EVERY = 0.25
ATTEMPTS = 3
"""Starts a service may need before it is ready for the first time."""
LONGEST_PAUSE = 30.0
STEADY_AFTER = 60.0
"""Seconds after which a service that runs has made up for the times it ended."""


@dataclass
class Standing:
    """How a service stands: waiting, starting, ready, done, ended, paused."""

    state: str = "waiting"
    pid: int | None = None
    restarts: int = 0
    log: str = ""


class Watched:
    """A service, and what is known of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.standing = Standing(log=str(server.log))
        self.was_ready = False
        self._launched_at = self._start_at = 0.0
        self._ended_in_row = 0

    def launch(self) -> None:
        """Start it without waiting."""
        self.server.launch()
        self._launched_at = time.monotonic()
        self.standing.state = "starting"
        self.standing.pid = self.server.process.pid if self.server.process else None

    def pause(self) -> None:
        """End it until `launch`; one that has not begun, or has done its work, is left alone."""
        if self.standing.state in ("starting", "ready", "ended"):
            self.server.stop()
            self.standing.state, self.standing.pid = "paused", None

    def resume(self) -> None:
        """Start it again where it is paused."""
        if self.standing.state == "paused":
            self.launch()

    def look(self) -> None:
        """Note what became of it; start it again when it ended and its pause is over."""
        standing, now = self.standing, time.monotonic()
        if standing.state in ("waiting", "done", "paused"):
            return
        if standing.state == "ended":
            if now >= self._start_at:
                standing.restarts += 1
                self.launch()
        elif standing.state == "starting" and self.server.is_ready():
            self.was_ready = True
            standing.state = "done" if self._has_ended() else "ready"
        elif self._has_ended():
            self._note_end(now)

    def has_failed(self) -> bool:
        """Return whether it will not become ready: too many attempts, or too long a one."""
        too_long = self.standing.state == "starting" and time.monotonic() - self._launched_at > self.server.ready_within
        return not self.was_ready and (self._ended_in_row >= ATTEMPTS or too_long)

    def _has_ended(self) -> bool:
        return self.server.process is None or self.server.process.poll() is not None

    def _note_end(self, now: float) -> None:
        self._ended_in_row = 1 if now - self._launched_at > STEADY_AFTER else self._ended_in_row + 1
        self._start_at = now + min(LONGEST_PAUSE, 2.0 ** (self._ended_in_row - 1) - 0.5)
        self.standing.state, self.standing.pid = "ended", None


class Supervisor:
    """Runs services until it is told to stop; `status` is the file that says how they stand.

    Those of one wave start together, those of the next once all of them have been ready.
    """

    def __init__(self, waves: Sequence[Sequence[Server]], status: Path) -> None:
        self._waves = [[Watched(server) for server in wave] for wave in waves]
        self._watched = [watched for wave in self._waves for watched in wave]
        self._status, self._paused = status, status.with_name("paused")
        self._stopping = threading.Event()
        self._failed: str | None = None
        self._told = ""

    def run(self) -> None:
        """Keep them running until SIGTERM, or until one cannot start; then end them, the last first."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self._tell()
        try:
            while self._failed is None and not self._stopping.wait(LOOK_EVERY):
                self._step()
        finally:
            for watched in reversed(self._watched):
                watched.server.stop()
                watched.standing = Standing("stopped", log=watched.standing.log)
            self._tell()

    def _step(self) -> None:
        paused = self._paused.read_text().split() if self._paused.exists() else []
        for watched in self._watched:
            if watched.server.folder.name in paused:
                watched.pause()
            else:
                watched.resume()
            watched.look()
        unready = ([watched for watched in wave if not watched.was_ready] for wave in self._waves)
        for pending in next(filter(None, unready), ()):
            self._bring_up(pending)
        self._tell()

    def _bring_up(self, pending: Watched) -> None:
        """Start a service that has never been ready, or find that it will not be."""
        try:
            if pending.standing.state == "waiting":
                pending.launch()
        except (ServerError, OSError) as error:
            self._failed = str(error)
        if pending.has_failed():
            said = pending.server.said()[-2000:]
            self._failed = f"{pending.server.name} does not start; it said (in {pending.server.log}):\n{said}"

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def _tell(self) -> None:
        standings = {watched.server.folder.name: asdict(watched.standing) for watched in self._watched}
        told = json.dumps({"pid": os.getpid(), "failed": self._failed, "services": standings}, indent=1)
        if told != self._told:
            scratch = self._status.with_suffix(".new")
            scratch.write_text(told)
            scratch.replace(self._status)
            self._told = told
