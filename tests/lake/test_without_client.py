"""A lake in a bucket where the extra `s3` is not installed: each command says so, and what to do."""

import os
import subprocess
import sys

import pytest

from tapehouse.errors import ConfigError

LAKE = "s3://bucket/lake"
WITHOUT_CLIENT = """
import sys
sys.modules["obstore"] = None  # Python refuses to import it, as if it were not there
from tapehouse.cli import main
main()
"""
DAY = "--from 2026-01-01 --to 2026-01-02"


@pytest.mark.parametrize("command", ["up", f"backfill BTCUSDT {DAY}", f"verify BTCUSDT {DAY}", "warehouse build"])
def test_a_command_ends_as_at_a_wrong_setting_and_names_what_to_install(command, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_CLIENT, *command.split()],
        cwd=tmp_path,
        env={**os.environ, "TAPEHOUSE_LAKE": LAKE, "TAPEHOUSE_API_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == ConfigError.exit_code, ran.stderr
    assert ran.stderr.startswith(f"tapehouse: The lake is in a bucket ({LAKE}), and the client ")
    assert "`make setup-s3`" in ran.stderr
    assert "tapehouse[s3]" in ran.stderr
    assert "Traceback" not in ran.stderr
