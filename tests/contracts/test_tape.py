"""What every tape promises: batches come out in the order they went in, each once, and a full tape makes one wait."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from tapehouse.ports import Batch, Routed, Tape
from tapehouse.settings import Settings
from tapehouse.tape.local import LocalTape
from tapehouse.tape.reader import KafkaTapeReader
from tapehouse.tape.writer import KafkaTapeWriter

MakeTape = Callable[..., Tape]


class KafkaTape:
    """A writer and a reader of Kafka as one tape; nothing leaves the writer before somebody reads."""

    def __init__(self, settings: Settings, **bounds: int) -> None:
        self._writer = KafkaTapeWriter(settings, "contract", one_topic, **bounds)
        self._reader = KafkaTapeReader(settings, since=0)
        self._stopping = threading.Event()
        self._writing = threading.Thread(target=self._writer.write_forever, args=(self._stopping,))

    async def append(self, batch: Batch) -> None:
        await self._writer.append(batch)

    def read(self, timeout: float) -> list[Batch]:
        if not self._writing.is_alive() and not self._stopping.is_set():
            self._writing.start()
        return self._reader.read(timeout)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    def end(self) -> None:
        self.close()
        self._stopping.set()
        if self._writing.is_alive():
            self._writing.join(20)


def one_topic(batch: Batch) -> Iterator[Routed]:
    """Put everything on one partition, whatever it is."""
    for place, (frame, received_at) in enumerate(zip(batch.frames, batch.received_at, strict=True)):
        yield Routed("crypto-prices", frame, received_at, "BTCUSDT", binary=place in batch.binary)


@pytest.fixture(params=["local", pytest.param("kafka", marks=[pytest.mark.cluster, pytest.mark.slow])])
def make_tape(request) -> Iterator[MakeTape]:
    if request.param == "local":
        yield LocalTape
        return
    settings = request.getfixturevalue("tape_settings")
    made: list[KafkaTape] = []

    def make(**bounds: int) -> KafkaTape:
        made.append(KafkaTape(settings, **bounds))
        return made[-1]

    yield make
    for each in made:
        each.end()


def batch(*numbers: int) -> Batch:
    return Batch(frames=[b"%d" % number for number in numbers], received_at=list(numbers))


def numbers(batches: list[Batch]) -> list[int]:
    return [int(frame) for each in batches for frame in each.frames]


async def read_until(tape: Tape, count: int) -> list[int]:
    seen: list[int] = []
    async with asyncio.timeout(20):
        while len(seen) < count:
            seen += numbers(await asyncio.to_thread(tape.read, 0.05))
    return seen


async def test_batches_are_read_in_the_order_they_were_appended_each_once(make_tape):
    tape = make_tape()
    for start in range(0, 30, 3):
        await tape.append(batch(start, start + 1, start + 2))
    assert list(range(30)) == await read_until(tape, 30)
    assert tape.read(0) == []


async def test_a_batch_is_read_as_it_was_appended(make_tape):
    tape = make_tape()
    whole = Batch(
        frames=[b"\xff\x00", "\N{SNOWMAN}".encode()], received_at=[5, 6], shape="trades", symbol="ETHUSDT", binary=(0,)
    )
    await tape.append(whole)
    assert [whole] == await asyncio.to_thread(tape.read, 5)


async def test_reading_an_empty_tape_returns_nothing(make_tape):
    assert make_tape().read(0) == []


async def test_append_waits_while_the_tape_is_full_and_loses_nothing(make_tape):
    tape = make_tape(most_frames=3)
    await tape.append(batch(1, 2))
    waiting = asyncio.create_task(tape.append(batch(3, 4)))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    assert await read_until(tape, 4) == [1, 2, 3, 4]
    await asyncio.wait_for(waiting, 20)


async def test_those_who_wait_are_let_in_in_their_order(make_tape):
    tape = make_tape(most_frames=1)
    waiting = [asyncio.create_task(tape.append(batch(number))) for number in range(20)]
    assert list(range(20)) == await read_until(tape, 20)
    await asyncio.gather(*waiting)


async def test_a_batch_larger_than_the_tape_is_taken_when_the_tape_is_empty(make_tape):
    tape = make_tape(most_frames=2)
    await asyncio.wait_for(tape.append(batch(1, 2, 3, 4)), 20)
    assert await read_until(tape, 4) == [1, 2, 3, 4]


async def test_an_append_that_is_cancelled_leaves_nothing_behind(make_tape):
    tape = make_tape(most_frames=1)
    await tape.append(batch(1))
    waiting = asyncio.create_task(tape.append(batch(2)))
    await asyncio.wait([waiting], timeout=0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    later = asyncio.create_task(tape.append(batch(3)))
    assert await read_until(tape, 2) == [1, 3]
    await later


async def test_many_producers_and_a_reading_thread_neither_lose_nor_double_nor_reorder(make_tape):
    tape = make_tape(most_frames=50)
    producers, each = 4, 500
    seen: list[int] = []

    def read() -> None:
        while len(seen) < producers * each:
            seen.extend(numbers(tape.read(5)))

    async def produce(producer: int) -> None:
        for number in range(producer * each, (producer + 1) * each, 5):
            await tape.append(batch(*range(number, number + 5)))

    reader = threading.Thread(target=read)
    reader.start()
    await asyncio.gather(*(produce(producer) for producer in range(producers)))
    await asyncio.to_thread(reader.join, 20)
    assert list(range(producers * each)) == sorted(seen)
    for producer in range(producers):
        own = [number for number in seen if number // each == producer]
        assert own == sorted(own)


async def test_closing_wakes_the_reader_and_leaves_what_was_appended(make_tape):
    tape = make_tape()
    reading = asyncio.create_task(asyncio.to_thread(tape.read, 60))
    await asyncio.wait([reading], timeout=0.02)
    tape.close()
    assert await asyncio.wait_for(reading, 20) == []
    assert tape.read(60) == []
