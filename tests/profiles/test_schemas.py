"""The published schemas: of every source and table, and true of what is really read and written."""

import json

import pytest
from click.testing import CliRunner

from tapehouse.catalog import TABLES
from tapehouse.cli import main
from tapehouse.errors import ConfigError
from tapehouse.producers.context import READERS
from tapehouse.profiles.schemas import MESSAGES, schema, schema_names, schema_text


def test_every_table_and_every_source_has_a_schema():
    assert set(TABLES) | set(READERS) <= set(schema_names())
    assert all(json.loads(schema_text(name))["$schema"] for name in schema_names())


def test_an_amount_of_coingecko_is_the_number_that_it_writes():
    coin = schema("coingecko")["$defs"]["MarketCoin"]
    assert {"type": "number"} in coin["properties"]["current_price"]["anyOf"]
    assert set(coin["required"]) == {"id", "symbol", "name", "current_price", "market_cap", "last_updated"}


@pytest.mark.parametrize("table", TABLES)
def test_a_rows_schema_has_the_columns_of_its_table(table):
    assert list(schema(table)["properties"]) == list(TABLES[table].schema)


@pytest.mark.parametrize("source", MESSAGES)
def test_every_field_that_must_be_there_is_one_that_is_described(source):
    for model in schema(source)["$defs"].values():
        assert set(model.get("required", [])) <= set(model["properties"])


def test_the_command_lists_the_names_and_prints_one():
    listed = CliRunner().invoke(main, ["schema"])
    assert listed.output.split() == schema_names()
    assert CliRunner().invoke(main, ["schema", "bronze/news"]).output == schema_text("bronze/news")


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(ConfigError, match="fear_greed"):
        schema("bloomberg")
