"""The dbt project as a user of dbt runs it: over a real lake, over none, and beside the catalog of the platform."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
import yaml

from tapehouse import catalog
from tapehouse.catalog import MARTS, TABLES
from tapehouse.market.coins import DOLLAR_QUOTES, QUOTES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "dbt"
DUCKDB_TYPES = {
    pl.String: "varchar",
    pl.Int64: "bigint",
    pl.Float64: "double",
    pl.Binary: "blob",
    pl.Date: "date",
    pl.Datetime: "timestamptz",
}


def duckdb_type(kind) -> str:
    return f"decimal({kind.precision}, {kind.scale})" if isinstance(kind, pl.Decimal) else DUCKDB_TYPES[type(kind)]


def test_the_sources_are_the_tables_of_the_catalog_column_by_column():
    told = yaml.safe_load((PROJECT / "models/staging/_sources.yml").read_text())
    sources = {
        f"{layer['name']}/{table['name']}": {column["name"]: column["data_type"] for column in table["columns"]}
        for layer in told["sources"]
        for table in layer["tables"]
    }
    stored = {
        name: {column: duckdb_type(kind) for column, kind in table.schema.items()}
        for name, table in TABLES.items()
        if name in sources
    }
    assert {name: sources[name] for name in stored} == stored
    assert {name for name in TABLES if not name.startswith("gold/")} <= sources.keys()


def test_what_pairs_are_quoted_in_is_what_the_platform_knows():
    told = yaml.safe_load((PROJECT / "dbt_project.yml").read_text())["vars"]
    assert told["quotes"] == list(QUOTES)
    assert (set(told["dollar_quotes"]), len(told["dollar_quotes"])) == (DOLLAR_QUOTES, len(DOLLAR_QUOTES))


def test_run_test_and_docs_work_by_dbt_alone_over_a_real_lake(dbt, read):
    dbt("run")
    told = dbt("test")
    assert "ERROR=0" in told
    assert "WARN=0" in told
    assert read(dbt.file, "select count(*) as rows from marts.agg_symbol_hour").item() > 50
    dbt("docs", "generate", "--static")
    assert b"One row per venue, symbol and hour" in (dbt.target / "static_index.html").read_bytes()


def test_how_old_the_tables_are_is_told_of_each_that_is_expected_to_move(dbt, manifest):
    tables = {node["unique_id"]: node for node in manifest["sources"].values()}
    moving = {name for name, node in tables.items() if node["loaded_at_field"]}
    assert all("without_freshness" in node["config"]["meta"] for name, node in tables.items() if name not in moving)
    dbt("source", "freshness", status=1)  # what the world holds is of another year
    told = {result["unique_id"]: result for result in json.loads((dbt.target / "sources.json").read_text())["results"]}
    assert told.keys() == moving
    assert {result["status"] for result in told.values()} == {"error"}
    received = {name.removeprefix("source.tapehouse."): result["max_loaded_at"][:10] for name, result in told.items()}
    assert received.pop("bronze.klines") == "0001-01-01"  # no kline was ever received
    assert set(received.values()) == {"2026-03-01"}


@pytest.fixture(scope="module")
def manifest(dbt) -> dict:
    """All that dbt knows of the project."""
    if not (dbt.target / "manifest.json").exists():
        dbt("parse")
    return json.loads((dbt.target / "manifest.json").read_text())


@pytest.fixture(scope="module")
def models(manifest) -> list[dict]:
    return [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]


@pytest.fixture(scope="module")
def tests_of(manifest) -> dict[str, list[dict]]:
    """The generic tests of each model, by its name."""
    attached: dict[str, list[dict]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node"):
            attached.setdefault(node["attached_node"].rpartition(".")[2], []).append(node)
    return attached


def test_every_model_states_its_grain_and_describes_its_columns_in_a_contract(models):
    assert len(models) == 20
    assert [model["name"] for model in models if not model["description"].startswith("One row per ")] == []
    assert [model["name"] for model in models if not model["contract"]["enforced"]] == []
    assert [model["name"] for model in models if not model["columns"]] == []
    assert [name for name in columns_of(models) if not columns_of(models)[name]["description"]] == []


def test_every_table_that_is_read_describes_its_columns(manifest):
    sources = list(manifest["sources"].values())
    assert [name for name, column in columns_of(sources).items() if not column["description"]] == []


def columns_of(nodes: list[dict]) -> dict[str, dict]:
    return {f"{node['name']}.{name}": column for node in nodes for name, column in node["columns"].items()}


def test_every_model_is_held_to_its_grain_by_tests(models, tests_of):
    for model in models:
        tests = [(test["test_metadata"]["name"], test["test_metadata"]["kwargs"]) for test in tests_of[model["name"]]]
        keys = [tuple(about["columns"]) for name, about in tests if name == "unique_together"]
        keys += [(about["column_name"],) for name, about in tests if name == "unique"]
        never_null = {about["column_name"] for name, about in tests if name == "not_null"}
        assert any(never_null.issuperset(key) for key in keys), model["name"]


def test_what_every_model_is_for_is_shown_by_rows_given_and_expected(manifest, models):
    shown = {test["model"] for test in manifest["unit_tests"].values()}
    assert {model["name"] for model in models} - shown == set()


@pytest.fixture(scope="module")
def read_by(manifest) -> dict[str, set[str]]:
    """What each exposure says it depends on: models by their names, tables as `layer/table`."""
    return {
        told["name"]: {"/".join(name.split(".")[2:]) for name in told["depends_on"]["nodes"]}
        for told in manifest["exposures"].values()
    }


def test_the_marts_said_to_be_published_and_described_are_those_that_are(read_by, models):
    assert {f"gold/{name}" for name in read_by["published_tables"]} == set(MARTS)
    assert read_by["warehouse_docs"] == {model["name"] for model in models if model["schema"] == "marts"}


def test_the_api_reads_tables_of_its_catalog_and_no_mart(read_by):
    assert read_by["api"] <= TABLES.keys() - set(MARTS)
    source = "\n".join(file.read_text() for file in sorted((ROOT / "src/tapehouse/api").glob("*.py")))
    names_of_marts = {name for name, value in vars(catalog).items() if isinstance(value, str) and value in MARTS}
    assert names_of_marts
    assert {name for name in {*names_of_marts, "duckdb"} if re.search(rf"\b{name}\b", source)} == set()


def test_the_tutorial_reads_the_tables_it_is_said_to_read(read_by):
    notebook = json.loads((ROOT / "docs/tutorials/from-trades-to-an-answer.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert set(re.findall(r"\b(?:bronze|silver|gold)/\w+", code)) == read_by["from_trades_to_an_answer"]


def test_where_there_is_no_lake_every_model_is_built_empty(make_dbt, tmp_path, read):
    dbt = make_dbt(tmp_path, str(tmp_path / "nothing"))
    assert "ERROR=0" in dbt("build")
    assert read(dbt.file, "select count(*) as rows from marts.fct_candle_1m").item() == 0
    assert read(dbt.file, "select count(*) as rows from marts.dim_date").item() > 10_000
    said = dbt("source", "freshness", status=1)
    assert (
        f"There is no table silver/candles in the lake at {tmp_path / 'nothing'} yet: `tapehouse up` makes it" in said
    )
