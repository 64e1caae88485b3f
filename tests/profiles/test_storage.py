"""How a lake is opened: the bucket as the settings tell it, and who may write in which profile."""

import pytest

from tapehouse.catalog import EMBEDDED, MARTS, STREAM, TABLES, TRADES
from tapehouse.errors import LakeError
from tapehouse.profiles.storage import open_lake, open_lake_to_read, storage_options
from tapehouse.settings import Settings

VARIABLES = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@pytest.fixture
def settings(monkeypatch, tmp_path):
    def make(**variables: str) -> Settings:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings(_env_file=None, lake=str(tmp_path / "lake"))

    return make


def test_without_an_address_and_keys_the_bucket_is_amazons_and_the_keys_are_the_machines(settings):
    assert storage_options(settings()) == {"aws_virtual_hosted_style_request": "true"}


def test_an_address_of_ones_own_has_the_bucket_in_the_path_unless_told_otherwise(settings):
    own = {"AWS_ENDPOINT_URL": "http://127.0.0.1:8333"}
    told = storage_options(settings(**own, AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s"))
    assert told == {
        "aws_endpoint_url": "http://127.0.0.1:8333",
        "aws_region": "us-east-1",
        "aws_access_key_id": "k",
        "aws_secret_access_key": "s",
        "aws_virtual_hosted_style_request": "false",
    }
    other = storage_options(settings(**own, TAPEHOUSE_S3_PATH_STYLE="false"))
    assert other["aws_virtual_hosted_style_request"] == "true"


@pytest.mark.parametrize(("profile", "writer"), [("embedded", EMBEDDED), ("cluster", STREAM)])
def test_the_one_writer_of_a_profile_keeps_every_table_but_the_marts(settings, profile, writer):
    lake = open_lake(settings(TAPEHOUSE_PROFILE=profile))
    assert lake.writer == writer
    assert [name for name in TABLES if not lake.may_write(name)] == list(MARTS)


def test_a_lake_opened_to_be_read_is_written_by_nobody(settings, tmp_path):
    lake = open_lake_to_read(settings())
    assert not any(lake.may_write(name) for name in TABLES)
    with pytest.raises(LakeError, match="one writer"):
        lake.append(TRADES, lake.scan(TRADES).collect(), writer="engine", batch=0)
    assert not (tmp_path / "lake").exists()
