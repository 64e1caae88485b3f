"""What a process that runs for long does with its memory."""

import subprocess
import sys

LET_GO = """
from pathlib import Path
import polars as pl
from tapehouse.profiles.process import let_go_of_the_start

def pages_of_files():
    return int(Path("/proc/self/statm").read_text().split()[2])

held = pages_of_files()
let_go_of_the_start()
print(pages_of_files() < held * 0.8, pl.DataFrame({"price": [1, 2]}).sum().item())
"""


def test_code_that_only_the_start_ran_through_is_let_go_and_runs_again_when_it_is_needed():
    ran = subprocess.run([sys.executable, "-c", LET_GO], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "3"]
