"""The tutorial that is a notebook is run from top to bottom over tables that a real back-fill made."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[1] / "docs/tutorials/from-trades-to-an-answer.ipynb"
LARGEST = 100_000
TAPEHOUSE = (sys.executable, "-m", "tapehouse.cli")


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    """An exchange in the box with an hour of the past; its address."""
    options = ("--port", "0", "--rate", "10", "--history", "3600")
    process = subprocess.Popen([*TAPEHOUSE, "exchange", *options], stdout=subprocess.PIPE, text=True)
    try:
        yield next(found[1] for line in process.stdout if (found := re.search(r"REST +(http\S+)", line)))
    finally:
        process.terminate()
        process.communicate(timeout=10)


@pytest.fixture(scope="module")
def lake(exchange, tmp_path_factory) -> Path:
    """A lake with most of that hour."""
    folder = tmp_path_factory.mktemp("tutorial")
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    start, end = (now - timedelta(minutes=ago) for ago in (55, 2))
    told = {"LAKE": folder / "delta", "STATE": folder / "state"}
    told |= dict.fromkeys(("BINANCE_REST_URL", "BINANCE_ARCHIVE_URL"), exchange)
    subprocess.run(
        [*TAPEHOUSE, "backfill", "BTCUSDT", "--from", start.isoformat(), "--to", end.isoformat()],
        env=os.environ | {f"TAPEHOUSE_{name}": str(value) for name, value in told.items()},
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder / "delta"


@pytest.fixture
def notebook(lake, tmp_path, monkeypatch):
    """The notebook, and a client that runs it in a kernel that writes nothing but into the test's folder."""
    monkeypatch.setenv("TAPEHOUSE_LAKE", str(lake))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    read = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(read, timeout=120, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}})
    return read, client


def test_the_notebook_runs_from_top_to_bottom_and_its_answer_is_that_of_another_engine(notebook):
    read, client = notebook
    client.execute()
    outputs = [output for cell in read.cells for output in cell.get("outputs", [])]
    assert "the same from the candles and from the trades" in outputs[-1]["data"]["text/plain"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_the_notebook_fails_when_its_answer_is_wrong(notebook):
    read, client = notebook
    read.cells = [cell for cell in read.cells if "matplotlib" not in cell.source]
    [asking] = [cell for cell in read.cells if cell.source.startswith("answer = ")]
    asking.source = asking.source.replace("taker_buy_volume / volume", "1 - taker_buy_volume / volume")
    with pytest.raises(CellExecutionError, match="AssertionError"):
        client.execute()


def test_what_is_kept_of_a_run_is_small_and_tells_of_no_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < LARGEST
    cells = json.loads(text)["cells"]
    assert all(
        cell["outputs"] for cell in cells if cell["cell_type"] == "code" and "import os" not in cell["source"][0]
    )
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
