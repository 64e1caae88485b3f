"""The parts are fetched once and checked always; the servers keep what they took, whatever ends them."""

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import parts
import servers
from s3 import S3Account


def test_jars_that_are_there_are_not_fetched_again(kafka_jars, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # no Maven, no Java
    assert parts.fetch_kafka(kafka_jars) == kafka_jars


def test_spark_gets_no_jar_that_pyspark_has(spark_jars):
    from importlib.util import find_spec

    def names(folder):
        return {jar.name.rsplit("-", 1)[0] for jar in folder.glob("*.jar")}

    assert names(spark_jars) & names(Path(find_spec("pyspark").origin).parent / "jars") == set()


def test_a_jar_that_was_changed_is_fetched_again_into_a_folder_named_from_here(tmp_path, kafka_jars, monkeypatch):
    import shutil

    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(kafka_jars, Path("jars"))
    next(folder.glob("kafka-clients-*.jar")).write_bytes(b"something else")
    parts.fetch_kafka(folder)
    assert parts.hashes(folder) == parts.read_hashes("kafka")


def test_what_maven_brings_must_be_what_is_pinned(tmp_path, monkeypatch):
    jars = tmp_path / "pins"
    jars.mkdir()
    (jars / "kafka.xml").write_text((parts.JARS / "kafka.xml").read_text())
    (jars / "kafka.sha256").write_text((parts.JARS / "kafka.sha256").read_text().replace("0", "1", 1))
    monkeypatch.setattr(parts, "JARS", jars)
    with pytest.raises(parts.PartMissingError, match="is not what"):
        parts.fetch_kafka(tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_without_java_and_the_means_to_install_it_a_person_is_told_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(parts.PartMissingError, match="sudo apt-get install"):
        parts.java()


MARKER_PASSED_OVER = "Couldn't find leader endpoint for partitions"
"""Said by a broker that forgets the mark of a committed transaction while it starts (KAFKA-20734: 4.3.0 to 4.4.0)."""


def test_a_broker_that_was_killed_has_every_message_it_acknowledged(own_broker, raw_records):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    from tapehouse.settings import Settings

    broker = own_broker()
    settings = Settings(_env_file=None, kafka_bootstrap=broker.bootstrap)
    quiet = {"bootstrap.servers": broker.bootstrap, "log_level": 0}
    admin = AdminClient(quiet)
    for made in admin.create_topics([NewTopic("kept", 1)]).values():
        made.result()
    for kills in range(3):
        producer = Producer({**quiet, "transactional.id": f"number {kills}"})
        producer.init_transactions()
        producer.begin_transaction()
        for number in range(1000):
            producer.produce("kept", str(1000 * kills + number))
        producer.commit_transaction()
        broker.kill()  # before the mark of the transaction is surely written
        broker.start()
        seen = [int(record.value()) for record in until_told(lambda: raw_records(settings, "kept"), 1000 * (kills + 1))]
        assert seen == list(range(1000 * (kills + 1)))
        assert MARKER_PASSED_OVER not in broker.said()


def until_told(read, count):
    """Read until there are so many messages, and return them."""
    deadline = time.monotonic() + 30
    while len(records := read()) < count:
        assert time.monotonic() < deadline, f"only {len(records)} of {count}"
    return records


def test_an_object_store_that_was_killed_has_every_commit_it_acknowledged(own_object_store):
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    store = own_object_store()
    options = {**store.environment, "AWS_ALLOW_HTTP": "true"}
    table = f"s3://{store.bucket}/lake/kept"
    for number in range(5):
        write_deltalake(table, pa.table({"number": [number]}), mode="append", storage_options=options)
    store.kill()
    store.start()

    def kept() -> list[int]:
        try:
            rows = DeltaTable(table, storage_options=options).to_pyarrow_table()
        except OSError:  # the parts of the server find each other again one after the other
            return []
        return sorted(rows["number"].to_pylist())

    deadline = time.monotonic() + 60
    while (found := kept()) != list(range(5)):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_the_object_store_takes_nothing_without_its_keys(object_store):
    stranger = S3Account(object_store.endpoint, object_store.account.access_key, "not its secret key")
    assert stranger.ask("PUT", f"/{object_store.bucket}/intruder") == 403
    assert stat.S_IMODE((object_store.folder / "accounts.json").stat().st_mode) == 0o600


def test_a_server_that_cannot_start_says_why(tmp_path, broker, kafka_jars):
    with pytest.raises(servers.ServerError, match="Address already in use"):
        servers.Broker(tmp_path / "second", broker.port, jars=kafka_jars).start()


def test_a_server_ends_with_the_process_that_started_it(tmp_path):
    starts_one = f"""
import sys
sys.path.append({str(parts.JARS.parent)!r})
import os, signal, servers
from pathlib import Path
store = servers.ObjectStore(Path({str(tmp_path)!r})).start()
print(store.port, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-B", "-c", starts_one], capture_output=True, text=True, check=False)
    account = S3Account(f"http://127.0.0.1:{int(ended.stdout)}", "", "")
    assert account.ask("GET", "/") == 0
