"""The locks hold what pyproject.toml asks for, by hash, and no address of any package index."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements/*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = PROJECT["project"]["dependencies"]
FOR_DEVELOPMENT = PROJECT["dependency-groups"]["dev"]
BUILD = PROJECT["build-system"]["requires"]


def with_extra(name):
    """Return what the core and an extra ask for; `tapehouse[...]` in it is what that extra asks for."""
    asked = PROJECT["project"]["optional-dependencies"][name]
    others = [other for each in map(Requirement, asked) if each.name == "tapehouse" for other in each.extras]
    named = [each for each in asked if Requirement(each).name != "tapehouse"]
    return DIRECT + BUILD + named + [each for other in others for each in with_extra(other)]


FOR_A_CLUSTER = with_extra("cluster")
FOR_THE_WAREHOUSE = with_extra("warehouse")


def pins(lock):
    lines = re.findall(r"(?m)^[a-z0-9].*?==[^\\\n]*", (ROOT / "requirements" / lock).read_text())
    return [Requirement(line.strip()) for line in lines]


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("bootstrap.lock", BUILD),
        ("core.lock", DIRECT + BUILD),
        ("s3.lock", with_extra("s3")),
        ("cluster.lock", FOR_A_CLUSTER),
        ("warehouse.lock", FOR_THE_WAREHOUSE),
        ("local.lock", FOR_A_CLUSTER + PROJECT["dependency-groups"]["local"]),
        ("dev.lock", FOR_A_CLUSTER + FOR_THE_WAREHOUSE + FOR_DEVELOPMENT),
    ],
)
def test_every_requirement_is_pinned_at_a_version_it_allows(lock, asked):
    pinned = pins(lock)
    for requirement in map(Requirement, asked):
        versions = [
            next(iter(pin.specifier)).version
            for pin in pinned
            if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        ]
        assert any(requirement.specifier.contains(version, prereleases=True) for version in versions), requirement


@pytest.mark.parametrize("lock", ["core.lock", "s3.lock", "cluster.lock", "warehouse.lock", "local.lock"])
def test_the_development_lock_has_the_versions_people_run(lock):
    versions, ours = ({(pin.name, str(pin.specifier)) for pin in pins(name)} for name in (lock, "dev.lock"))
    assert versions <= ours


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_its_hashes_and_no_index_is_named(lock):
    text = lock.read_text()
    without_hash = re.findall(r"(?m)^([a-z0-9].*?==\S+)(?: ;[^\\\n]*)?$", text)
    assert without_hash == []
    assert text.count("--hash=sha256:") >= len(pins(lock.name)) > 0
    assert "://" not in text
    assert "index-url" not in text


def test_the_core_stays_small():
    assert len(DIRECT) <= 17


@pytest.mark.parametrize("lock", ["s3.lock", "cluster.lock", "warehouse.lock", "local.lock", "dev.lock"])
def test_the_client_of_buckets_is_where_a_lake_may_be_in_one_and_not_in_the_core(lock):
    of_buckets = {pin.name for pin in pins(lock)} - {pin.name for pin in pins("core.lock")}
    assert "obstore" in of_buckets


@pytest.mark.parametrize(
    ("environment", "dotenv", "installed"),
    [
        ({}, "", "core.lock"),
        ({"TAPEHOUSE_LAKE": "data/mine"}, "TAPEHOUSE_LAKE=s3://bucket/lake\n", "core.lock"),
        ({"TAPEHOUSE_LAKE": "s3://bucket/lake"}, "", "s3.lock"),
        ({}, "#TAPEHOUSE_LAKE=data/delta\nTAPEHOUSE_LAKE=s3://bucket/lake\n", "s3.lock"),
    ],
)
def test_make_up_installs_what_the_lake_of_the_settings_needs(environment, dotenv, installed, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / ".env").write_text(dotenv)
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = subprocess.run(
        ["make", "--dry-run", "up"],
        cwd=tmp_path,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"pip sync .*requirements/(\S+)", told.stdout) == [installed]
