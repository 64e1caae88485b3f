"""Run a command as the foreground job of the terminal, and end with its status.

Ctrl-C then reaches the command alone. Were it to reach make as well, make would report an interrupt
although the command ended cleanly.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType


def run(command: list[str]) -> int:
    """Run the command in a process group of its own, pass signals on to it, return its exit status."""
    child = subprocess.Popen(command, process_group=0)  # noqa: S603  # the Makefile's own command

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    with terminal_given_to(child.pid):
        status = child.wait()
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def terminal_given_to(group: int) -> Iterator[None]:
    """Make the group the terminal's foreground and take the terminal back; nothing where there is no terminal."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        yield
        return
    in_front = os.tcgetpgrp(terminal) == os.getpgrp()
    try:
        if in_front:
            os.tcsetpgrp(terminal, group)
        yield
    finally:
        if in_front:
            os.tcsetpgrp(terminal, os.getpgrp())
        os.close(terminal)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
