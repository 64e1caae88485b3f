"""The locks hold what pyproject.toml asks for, by hash, and no address of any package index."""

import re
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
FOR_A_CLUSTER = DIRECT + BUILD + PROJECT["project"]["optional-dependencies"]["cluster"]
FOR_THE_WAREHOUSE = DIRECT + BUILD + PROJECT["project"]["optional-dependencies"]["warehouse"]


def pins(lock):
    lines = re.findall(r"(?m)^[a-z0-9].*?==[^\\\n]*", (ROOT / "requirements" / lock).read_text())
    return [Requirement(line.strip()) for line in lines]


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        ("bootstrap.lock", BUILD),
        ("core.lock", DIRECT + BUILD),
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


@pytest.mark.parametrize("lock", ["core.lock", "cluster.lock", "warehouse.lock", "local.lock"])
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
    assert len(DIRECT) <= 18
