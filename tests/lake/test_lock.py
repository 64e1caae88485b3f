import os
import subprocess
import sys
from pathlib import Path

import pytest

from tapehouse.errors import LakeError
from tapehouse.lake.lock import LOCK_FILE, writing_lock

HOLD = """
import sys
from tapehouse.lake.lock import writing_lock
with writing_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(root):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_who_holds_the_lake_and_what_to_do(root, holder):
    with pytest.raises(LakeError, match=rf"process {holder.pid} .* since 20\d\d-.*TAPEHOUSE_LAKE"), writing_lock(root):
        pass


def test_a_killed_writer_does_not_block(root, holder):
    holder.kill()
    holder.wait()
    with writing_lock(root):
        assert str(os.getpid()) in (Path(root) / LOCK_FILE).read_text()


def test_the_lock_is_given_back(root):
    for _ in range(2):
        with writing_lock(root), pytest.raises(LakeError, match=f"process {os.getpid()} "), writing_lock(root):
            pass


def test_a_place_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match="file"), writing_lock(str(tmp_path / "file" / "lake")):
        pass
