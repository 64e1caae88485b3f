"""What an import loads, read from the modules of a fresh interpreter."""

import subprocess
import sys

import pytest

HEAVY = {
    "pyspark",
    "confluent_kafka",
    "great_expectations",
    "dbt",
    "duckdb",
    "polars",
    "fastapi",
    "deltalake",
    "pydantic",
}


def modules_loaded_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines())


@pytest.mark.parametrize("statement", ["import tapehouse", "import tapehouse.cli"])
def test_the_package_and_its_command_line_load_nothing_heavy(statement):
    loaded = modules_loaded_by(statement)
    assert "tapehouse" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "profile", ["import tapehouse.profiles.embedded, tapehouse.profiles.history", "import tapehouse.exchange.main"]
)
def test_the_embedded_platform_loads_no_engine_of_the_cluster(profile):
    loaded = modules_loaded_by(profile)
    assert "polars" in loaded
    assert not loaded & {"pyspark", "py4j", "pyarrow", "confluent_kafka", "great_expectations", "dbt", "duckdb"}


def test_a_platform_without_feeds_in_a_folder_loads_nothing_that_news_or_a_bucket_or_the_demo_needs(tmp_path):
    assembled = f"""
from tapehouse.profiles.embedded import embedded
from tapehouse.profiles.storage import open_lake, writing
from tapehouse.settings import load_settings
settings = load_settings(_env_file=None, sources=("binance",), lake={str(tmp_path)!r}, state={str(tmp_path)!r})
with writing(settings):
    embedded(settings, open_lake(settings))
"""
    loaded = modules_loaded_by(assembled)
    assert "deltalake" in loaded
    assert not loaded & {"feedparser", "vaderSentiment", "obstore"}
    assert not any(name.startswith("tapehouse.exchange") for name in loaded)
