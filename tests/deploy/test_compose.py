"""docker-compose.yml and the Dockerfile are valid, and name nothing that the product does not have."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tapehouse.cli import main
from tapehouse.settings import Settings, variable_of

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BIN = Path(sys.executable).parent
COMPOSE = [BIN / "docker-compose", "--file", ROOT / "docker-compose.yml"]
KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret-key"}
VARIABLES = {variable_of(field) for field in Settings.model_fields}
DATA = "/var/lib/tapehouse/data"
WAREHOUSE = f"{DATA}/warehouse"
OF_OTHERS = {"8083", "9090", "3000"}
"""Ports of Airflow, Prometheus and Grafana, which come later."""


def config(tmp_path, **environment):
    """Return what docker-compose makes of the file, with nothing but these variables and no .env."""
    return subprocess.run(
        [*COMPOSE, "--env-file", os.devnull, "--profile", "*", "config", "--format", "json"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    read = config(tmp_path_factory.mktemp("compose"), **KEYS)
    assert read.returncode == 0, read.stderr
    return json.loads(read.stdout)["services"]


@pytest.fixture(scope="module")
def ours(services):
    return {name: service for name, service in services.items() if service["image"] == "tapehouse"}


def commands(service):
    """Return the arguments that a service of ours gives to tapehouse."""
    line = " ".join(service["command"])
    return shlex.split(line.partition("exec tapehouse ")[2] or line)


def published(service):
    return [(port["host_ip"], port["published"], port["target"]) for port in service.get("ports", [])]


def test_the_dockerfile_is_clean():
    linted = subprocess.run([BIN / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert linted.stdout == ""


@pytest.mark.parametrize("name", KEYS)
def test_there_is_no_key_to_the_object_store_that_everybody_has(tmp_path, name):
    refused = config(tmp_path, **{key: value for key, value in KEYS.items() if key != name})
    assert refused.returncode != 0
    assert name in refused.stderr


def test_every_port_is_published_on_this_machine_alone(services):
    addresses = {address for service in services.values() for address, _, _ in published(service)}
    assert addresses == {"127.0.0.1"}


def test_the_ports_people_open_are_where_they_are_told_and_those_of_others_are_free(services):
    ports = {port: name for name, service in services.items() for _, port, _ in published(service)}
    assert {port: ports.get(port) for port in ("8000", "8080", "8082")} == {
        "8000": "api",
        "8080": "kafka-ui",
        "8082": "stream",
    }
    assert OF_OTHERS & ports.keys() == set()


def test_every_command_and_option_exists(ours):
    for name, service in ours.items():
        words = [word for word in commands(service) if not re.search(r"[$()]", word)]
        path = [word for word in words if word.isalpha()]
        shown = CliRunner().invoke(main, [*path[: 2 if path[0] in {"topics", "warehouse"} else 1], "--help"])
        assert shown.exit_code == 0, f"{name}: {shown.output}"
        assert [word for word in words if word.startswith("--") and word not in shown.output] == [], name


def test_every_variable_of_ours_is_a_setting(ours):
    given = {name for service in ours.values() for name in service["environment"]}
    in_image = set(re.findall(r"(TAPEHOUSE_\w+)=", DOCKERFILE))
    assert (given | in_image) - VARIABLES == {"SPARK_LOCAL_IP"}


def test_sparks_page_listens_where_it_is_published(services):
    assert services["stream"]["environment"]["SPARK_LOCAL_IP"] == "0.0.0.0"


def test_the_image_has_what_every_command_needs_unless_other_locks_are_named():
    locks = re.search(r'(?m)^ARG LOCKS="(.+)"$', DOCKERFILE)[1].split()
    pinned = {name for lock in locks for name in re.findall(r"(?m)^([\w-]+)==", (ROOT / lock).read_text())}
    assert {"pyspark", "confluent-kafka", "obstore", "dbt-duckdb", "duckdb-extension-delta"} <= pinned


def test_the_image_copies_only_what_is_sent_to_its_build():
    sent = set(re.findall(r"(?m)^!([^/\n]+)", (ROOT / ".dockerignore").read_text()))
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE) for word in line.split()}
    assert {path.partition("/")[0] for path in copied} <= sent
    assert all((ROOT / path).exists() for path in copied)


def test_the_warehouse_is_built_where_the_api_looks_for_it(services):
    def places(name):
        return {(volume["source"], volume["target"]) for volume in services[name]["volumes"]}

    assert places("warehouse") <= places("api")
    assert places("warehouse") == {("warehouse", WAREHOUSE)}
    assert str(Path("/var/lib/tapehouse") / Settings(_env_file=None).warehouse.parent) == WAREHOUSE


def test_the_settings_take_the_values_of_the_variables(ours, monkeypatch):
    for service in ours.values():
        with monkeypatch.context() as process:
            for name, value in service["environment"].items():
                process.setenv(name, value)
            assert Settings(_env_file=None).profile == "cluster"


def test_a_port_that_is_published_is_one_that_is_listened_on(ours):
    for name, service in ours.items():
        environment = service["environment"]
        arguments = commands(service)
        listened = {environment["TAPEHOUSE_API_PORT"]} if arguments == ["up"] else set()
        if "--port" in arguments:
            listened.add(arguments[arguments.index("--port") + 1])
        listened |= {environment[port] for port in ["TAPEHOUSE_SPARK_UI_PORT"] if port in environment}
        assert {str(target) for _, _, target in published(service)} <= listened, name


def test_every_service_has_limits_and_either_a_health_check_or_an_end(services):
    for name, service in services.items():
        assert service["mem_limit"], name
        assert service["cpus"], name
        ends = service.get("restart") in (None, "no", "on-failure")
        assert ends != ("healthcheck" in service), name


def test_nothing_starts_before_what_it_needs_is_ready(services):
    conditions = {
        (name, needed): how["condition"]
        for name, service in services.items()
        for needed, how in service.get("depends_on", {}).items()
    }
    assert set(conditions.values()) <= {"service_healthy", "service_completed_successfully"}
    assert {"produce", "stream", "api"} <= {name for name, needed in conditions if needed == "topics"}


def test_what_is_kept_is_kept_in_named_volumes(services, ours):
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    assert {mount["type"] for mount in mounts} == {"volume"}
    assert {mount["target"] for service in ours.values() for mount in service.get("volumes", [])} == {DATA, WAREHOUSE}
    assert all(service["environment"]["TAPEHOUSE_STATE"].startswith(DATA) for service in ours.values())
    assert f"VOLUME {DATA}" in DOCKERFILE


def test_what_the_dockerfile_copies_is_in_the_repository_and_not_ignored():
    copied = [source for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DOCKERFILE) for source in line.split()]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), source


def test_the_image_runs_as_nobody_of_importance():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"(?m)^USER [1-9]\d+$", last)


def test_no_image_is_whatever_is_newest(services):
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    images = bases + [service["image"] for service in services.values() if service["image"] != "tapehouse"]
    assert [image for image in images if not re.search(r":v?\d", image)] == []


def test_compose_and_the_local_cluster_run_the_same_kafka():
    pinned = re.search(
        r"kafka_2.13</artifactId>\s*<version>([\d.]+)<", (ROOT / "deploy/local/jars/kafka.xml").read_text()
    )
    assert f"image: apache/kafka:{pinned[1]}\n" in (ROOT / "docker-compose.yml").read_text()
