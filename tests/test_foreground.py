"""What `make up` runs the platform with: Ctrl-C on a terminal ends both with status 0."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

FOREGROUND = Path(__file__).parents[1] / ".ci" / "foreground.py"
MAKEFILE = '.RECIPEPREFIX = >\nup:\n>@exec "{python}" "{foreground}" "{python}" program.py\n'
STOPS_CLEANLY = """
import os, signal, time
stops = [signal.SIGINT, signal.SIGTERM]
signal.pthread_sigmask(signal.SIG_BLOCK, stops)
while os.tcgetpgrp(0) != os.getpgrp():
    time.sleep(0.001)
print("ready", flush=True)
signal.sigwait(stops)
print("bye")
"""
ON_A_TERMINAL = """
import fcntl, os, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp("make", ["make", "up"])
"""


def start_make(folder):
    (folder / "program.py").write_text(STOPS_CLEANLY)
    (folder / "Makefile").write_text(MAKEFILE.format(python=sys.executable, foreground=FOREGROUND))
    terminal, inner = pty.openpty()
    program = [sys.executable, "-c", ON_A_TERMINAL]
    make = subprocess.Popen(program, cwd=folder, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    read_until(terminal, "ready")
    return make, terminal


def read_until(terminal, word, seconds=30.0):
    shown, deadline = "", time.monotonic() + seconds
    while word not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(terminal, 1024).decode()
    return shown


def rest_of(terminal):
    shown = b""
    with contextlib.suppress(OSError):  # a terminal whose last program ended is an input/output error
        while part := os.read(terminal, 1024):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_ctrl_c_ends_make_with_status_0_and_without_a_word_of_error(tmp_path):
    make, terminal = start_make(tmp_path)
    os.write(terminal, b"\x03")
    shown = rest_of(terminal)
    assert make.wait() == 0
    assert "bye" in shown
    assert "***" not in shown


def test_ending_make_ends_the_program_too(tmp_path):
    make, terminal = start_make(tmp_path)
    make.terminate()
    assert "bye" in rest_of(terminal)
    make.wait()


def test_an_interrupt_of_the_whole_group_reaches_the_program(tmp_path):
    make, terminal = start_make(tmp_path)
    os.killpg(make.pid, signal.SIGINT)
    assert "bye" in rest_of(terminal)
    make.wait()
