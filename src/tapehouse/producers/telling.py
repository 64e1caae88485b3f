"""What sources say of themselves, over the tape: told by the process that asks them, heard by one that serves.

What they bring cannot stand in for it. A polled upstream with nothing new is well, and nothing of it comes; an exchange
that is followed brings trades, and not why there are none, nor how far its clock is from ours.
"""

from collections.abc import Callable, Iterable
from functools import partial

import msgspec
import structlog

from tapehouse import telemetry
from tapehouse.ports import Batch, Shape, Tape
from tapehouse.producers.binance.status import SourceStatus, together
from tapehouse.producers.poll_status import PolledStatus, in_trouble_first
from tapehouse.producers.polling import Clock
from tapehouse.settings import SOURCES

STATUS: Shape = "status"
"""The shape of the batches that carry it; their `symbol` is the polled source, or the producer that follows one."""
TELL_EVERY = 10.0
"""Seconds after which a source is told of again although it is as it was."""
LOOK_EVERY = 1.0
"""Seconds between two looks at whether it is."""
SILENT_AFTER = 3 * TELL_EVERY
"""Seconds without a word after which whoever asks a source is taken for gone."""

log = structlog.get_logger(__name__)


Word = PolledStatus | SourceStatus


async def tell_forever(statuses: Callable[[], Iterable[Word]], tape: Tape, clock: Clock, producer: str) -> None:
    """Put what each source of a producer says of itself on the tape, when it changes and now and then, for ever."""
    told: dict[str, tuple[object, int]] = {}
    while True:
        now = clock.now()
        for status in statuses():
            word, at = told.get(status.name, (None, 0))
            if word != _gist(status) or now - at >= TELL_EVERY * 1e6:
                told[status.name] = _gist(status), now
                by_whom = status.name if isinstance(status, PolledStatus) else producer
                await tape.append(Batch([msgspec.json.encode(_shortened(status))], [now], STATUS, by_whom))
        await clock.sleep(LOOK_EVERY)


class Heard:
    """The last word of each source; one of `names` that nobody told of yet is connecting. Safe from several threads."""

    def __init__(self, names: Iterable[str]) -> None:
        self._words = dict.fromkeys(names, (_UNTOLD, 0))
        self._followed: dict[str, tuple[SourceStatus, int]] = {}

    def take(self, batches: Iterable[Batch]) -> list[Batch]:
        """Hear those batches that are words of sources; return the others."""
        others = []
        for batch in batches:
            if batch.shape != STATUS:
                others.append(batch)
                continue
            for frame, at in zip(batch.frames, batch.received_at, strict=True):
                self._hear(frame, at, batch.symbol)
        return others

    def statuses(self, now: int) -> list[PolledStatus]:
        """Return the status of each polled source at a time (microseconds UTC)."""
        return [_as_of(now, name, *word) for name, word in list(self._words.items())]

    def followed(self, now: int) -> SourceStatus | None:
        """Return what the producers that follow the exchange say of it, None where none has told of it lately.

        One that has fallen silent is not counted: it may have ended for good, and another may follow its symbols.
        """
        lately = [status for status, at in list(self._followed.values()) if (now - at) / 1e6 <= SILENT_AFTER]
        return together(lately) if lately else None

    def _hear(self, frame: bytes, at: int, by_whom: str) -> None:
        try:
            status = _word.decode(frame)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            log.warning("status_unreadable", why=str(error))
            return
        if status.name not in SOURCES:
            log.warning("status_unreadable", why="it is of no source of ours")
            return
        if isinstance(status, SourceStatus):
            self._followed[by_whom] = status, at
            return
        self._words[status.name] = status, at
        telemetry.stale_addresses.labels(status.name).set_function(partial(self._stale, status.name))
        if answered_at := max((each.last_message_at for each in status.connections), default=0):
            telemetry.last_answer.labels(status.name).set(answered_at / 1e6)

    def _stale(self, name: str) -> int:
        return self._words[name][0].stale


_word = msgspec.json.Decoder(PolledStatus | SourceStatus)
_UNTOLD = PolledStatus("", "connecting", (), 0.0, 0, None, "no producer has told of it", ())


def _as_of(now: int, name: str, status: PolledStatus, at: int) -> PolledStatus:
    if status is _UNTOLD:
        return msgspec.structs.replace(status, name=name)
    seconds = (now - at) / 1e6
    if seconds <= SILENT_AFTER:
        return status
    return msgspec.structs.replace(
        status, state="silent", last_error=f"its producer has told nothing for {seconds:.0f} s"
    )


def _gist(status: Word) -> object:
    """Return what of it is told at once when it changes."""
    if isinstance(status, PolledStatus):
        return status.state, status.stale
    return status.connected, status.last_error, status.notes, status.clock_offset is None


def _shortened(status: Word) -> Word:
    return msgspec.structs.replace(status, connections=tuple(in_trouble_first(status.connections)))
