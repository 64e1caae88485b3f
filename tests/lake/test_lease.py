"""The writer's place of a bucket: taken by one, given back, left by the dead."""

import os
import subprocess
import sys
import threading

import msgspec
import obstore
import pytest

from tapehouse.errors import LakeError
from tapehouse.lake import lease
from tapehouse.lake.lock import writing_lock
from tapehouse.lake.objects import objects

pytestmark = pytest.mark.slow

HOLD = """
import json, sys
from tapehouse.lake.lock import writing_lock
with writing_lock(sys.argv[1], json.loads(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(bucket_root, bucket_options):
    told = msgspec.json.encode(bucket_options).decode()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, bucket_root, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def store(bucket_root, bucket_options):
    return objects(bucket_root, bucket_options)


def held_elsewhere(store, **about):
    """Leave the place as taken by a process of another machine."""
    at = "2026-01-01T00:00:00+00:00"
    stranger = lease.Holder("elsewhere/1", 7, "1", "tapehouse up", at, "first")
    obstore.put(store, lease.LEASE, msgspec.json.encode(msgspec.structs.replace(stranger, **about)))


def holder_of(store):
    return msgspec.json.decode(bytes(obstore.get(store, lease.LEASE).bytes()), type=lease.Holder)


def test_a_second_writer_is_told_who_holds_the_bucket_and_what_to_do(bucket_root, bucket_options, holder):
    with (
        pytest.raises(LakeError, match=rf"process {holder.pid} on .* since 20\d\d-.*TAPEHOUSE_LAKE"),
        writing_lock(bucket_root, bucket_options),
    ):
        pass


@pytest.mark.usefixtures("no_patience")
def test_a_killed_writer_of_this_machine_does_not_block(bucket_root, bucket_options, holder, store):
    holder.kill()
    holder.wait()
    with writing_lock(bucket_root, bucket_options):
        assert holder_of(store).pid == os.getpid()


@pytest.fixture
def no_patience(monkeypatch):
    """Whoever has to wait for a sign of life fails."""
    monkeypatch.setattr(lease, "SILENT_FOR", 1e9)


@pytest.mark.usefixtures("no_patience")
def test_the_place_is_given_back(bucket_root, bucket_options, store):
    for _ in range(2):
        with writing_lock(bucket_root, bucket_options):
            assert not holder_of(store).released
        assert holder_of(store).released


def test_a_holder_of_another_machine_that_gives_no_sign_of_life_is_dead(
    bucket_root, bucket_options, store, monkeypatch
):
    monkeypatch.setattr(lease, "SILENT_FOR", 2.0)
    held_elsewhere(store)
    with writing_lock(bucket_root, bucket_options):
        assert holder_of(store).pid == os.getpid()


def test_a_holder_of_another_machine_that_gives_signs_of_life_is_not(bucket_root, bucket_options, store):
    held_elsewhere(store)
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.2):
            held_elsewhere(store, beat=os.urandom(4).hex())

    living = threading.Thread(target=live)
    living.start()
    try:
        with pytest.raises(LakeError, match="process 7 on elsewhere"), writing_lock(bucket_root, bucket_options):
            pass
    finally:
        over.set()
        living.join()


def test_the_holder_gives_signs_of_life_and_stops_when_another_has_taken_the_place(
    bucket_root, bucket_options, store, monkeypatch
):
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.1)
    with writing_lock(bucket_root, bucket_options):
        first = holder_of(store)
        (renewing,) = [thread for thread in threading.enumerate() if thread.name == "lease"]
        while holder_of(store).beat == first.beat:
            assert renewing.is_alive()
        held_elsewhere(store)
        renewing.join(20)
        assert not renewing.is_alive()
    assert holder_of(store).machine == "elsewhere/1"


def test_what_nobody_of_us_wrote_there_is_replaced(bucket_root, bucket_options, store):
    obstore.put(store, lease.LEASE, b"\xff not ours")
    with writing_lock(bucket_root, bucket_options):
        assert holder_of(store).pid == os.getpid()
