"""What the local tape promises beyond every tape: bounds in frames and bytes, waits that are counted, a clean close."""

import asyncio

import pytest

from tapehouse import telemetry
from tapehouse.ports import Batch
from tapehouse.tape.local import LocalTape, TapeClosedError


def batch(frames: int, size: int = 1) -> Batch:
    return Batch(frames=[b"x" * size] * frames, received_at=[0] * frames)


async def test_bytes_bound_the_tape_as_frames_do():
    tape = LocalTape(most_bytes=1000)
    await tape.append(batch(9, size=100))
    waiting = asyncio.create_task(tape.append(batch(2, size=100)))
    await asyncio.wait([waiting], timeout=0.02)
    assert (tape.frames, tape.bytes, tape.waits) == (9, 900, 1)
    tape.read(0)
    await asyncio.wait_for(waiting, 20)
    assert (tape.frames, tape.bytes) == (2, 200)


async def test_depth_bound_and_waits_are_told_as_metrics():
    waits = telemetry.tape_waits._value.get()
    tape = LocalTape(most_frames=4)
    await tape.append(batch(3))
    assert (telemetry.tape_depth._value.get(), telemetry.tape_bound._value.get()) == (3, 4)
    waiting = asyncio.create_task(tape.append(batch(2)))
    await asyncio.wait([waiting], timeout=0.02)
    assert waits + 1 == telemetry.tape_waits._value.get()
    tape.read(0)
    await waiting


async def test_a_closed_tape_takes_nothing_more_and_wakes_who_waits_for_room():
    tape = LocalTape(most_frames=1)
    await tape.append(batch(1))
    waiting = asyncio.create_task(tape.append(batch(1)))
    await asyncio.wait([waiting], timeout=0.02)
    tape.close()
    with pytest.raises(TapeClosedError):
        await asyncio.wait_for(waiting, 20)
    with pytest.raises(TapeClosedError):
        await tape.append(batch(1))
    assert sum(len(each.frames) for each in tape.read(0)) == 1
