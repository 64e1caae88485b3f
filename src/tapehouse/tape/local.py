"""The tape inside one process: batches handed from the event loop's thread to the engine's, bounded and in order."""

import asyncio
import threading
from collections import deque

from tapehouse import telemetry
from tapehouse.errors import TapehouseError
from tapehouse.ports import Batch

MOST_FRAMES = 100_000
MOST_BYTES = 128 * 1024 * 1024
READ_FRAMES = 50_000
"""About so many frames are read at once: while they are folded, the tape fills again."""


class TapeClosedError(TapehouseError):
    """A batch was appended to a tape that takes no more."""


class LocalTape:
    """A bounded queue of batches; `append` belongs to one event loop, `read` to any thread.

    Full means `most_frames` frames or `most_bytes` bytes of frames waiting to be read. A batch larger than the whole
    tape is taken when the tape is empty, so that nothing can wait for ever.
    """

    def __init__(
        self, *, most_frames: int = MOST_FRAMES, most_bytes: int = MOST_BYTES, read_frames: int = READ_FRAMES
    ) -> None:
        self._most_frames = most_frames
        self._read_frames = read_frames
        self._most_bytes = most_bytes
        self._batches: deque[Batch] = deque()
        self._frames = 0
        self._bytes = 0
        self._waits = 0
        self._closed = False
        self._filled = threading.Condition()
        self._turn = asyncio.Lock()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        telemetry.tape_bound.set(most_frames)

    @property
    def frames(self) -> int:
        """Frames that wait to be read."""
        return self._frames

    @property
    def bytes(self) -> int:
        """Bytes of the frames that wait to be read."""
        return self._bytes

    @property
    def waits(self) -> int:
        """How often an append had to wait because the tape was full."""
        return self._waits

    async def append(self, batch: Batch) -> None:
        """Add a batch; wait while the tape is full. Raise TapeClosedError once the tape is closed."""
        size = sum(map(len, batch.frames))
        async with self._turn:
            if self._offer(batch, size):
                return
            self._waits += 1
            telemetry.tape_waits.inc()
            await self._append_when_there_is_room(batch, size)

    def read(self, timeout: float) -> list[Batch]:
        """Take the oldest batches, waiting up to `timeout` seconds for the first; empty when none came."""
        taken: list[Batch] = []
        frames = 0
        with self._filled:
            if not self._batches and not self._closed:
                self._filled.wait(timeout)
            while self._batches and frames < self._read_frames:
                batch = self._batches.popleft()
                taken.append(batch)
                frames += len(batch.frames)
                self._bytes -= sum(map(len, batch.frames))
            self._frames -= frames
            telemetry.tape_depth.set(self._frames)
            self._tell_room()
        return taken

    def close(self) -> None:
        """Take no more batches and wake whoever waits; what is there can still be read."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            self._tell_room()

    async def _append_when_there_is_room(self, batch: Batch, size: int) -> None:
        room = asyncio.Event()
        with self._filled:
            self._waiting = (asyncio.get_running_loop(), room)
        try:
            while not self._offer(batch, size):
                await room.wait()
                room.clear()
        finally:
            with self._filled:
                self._waiting = None

    def _offer(self, batch: Batch, size: int) -> bool:
        with self._filled:
            if self._closed:
                raise TapeClosedError("the tape is closed: nothing can be appended any more")
            if self._batches and self._is_full(len(batch.frames), size):
                return False
            self._batches.append(batch)
            self._frames += len(batch.frames)
            self._bytes += size
            telemetry.tape_depth.set(self._frames)
            self._filled.notify()
            return True

    def _is_full(self, frames: int, size: int) -> bool:
        return self._frames + frames > self._most_frames or self._bytes + size > self._most_bytes

    def _tell_room(self) -> None:
        # Under the lock: the waiter clears `_waiting` under it too, so its loop cannot have ended meanwhile.
        if self._waiting is not None:
            loop, room = self._waiting
            loop.call_soon_threadsafe(room.set)
