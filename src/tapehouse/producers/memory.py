"""What polling remembers over restarts, in one small file a source: when it asked, what it may ask, what has moved.

Not what it holds (`ETag`): an answer that a killed process had received may not be in the lake, so that the first
question of a process is asked without conditions, and nothing that is still served can be missed.
"""

from pathlib import Path

import msgspec
import structlog

from tapehouse.errors import ConfigError
from tapehouse.producers.allowance import Spent

MOST_REFUSED = 1024 * 1024
"""Bytes of unreadable answers of one address that are handed on in a day; the first of a day is, however large."""

log = structlog.get_logger(__name__)


class Remembered(msgspec.Struct):
    """One address that is polled. Times are seconds since 1970."""

    asked_at: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    moved_to: str = ""
    refused_on: int = 0
    """The day (since 1970, UTC) of which `refused_bytes` are the bytes of unreadable answers that were handed on."""
    refused_bytes: int = 0
    ended: str = ""
    """Why it is asked no more, empty while it is."""

    def has_room(self, size: int, today: int) -> bool:
        """Tell whether an unreadable answer of so many bytes may be handed on today; it is counted if so."""
        if self.refused_on != today:
            self.refused_on, self.refused_bytes = today, 0
        if self.refused_bytes and self.refused_bytes + size > MOST_REFUSED:
            return False
        self.refused_bytes += size
        return True


class _Record(msgspec.Struct):
    polls: dict[str, Remembered] = {}
    spent: Spent = msgspec.field(default_factory=Spent)


class Memory:
    """The record of one source in the file `path`; an unreadable one is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved = b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._record = _decode(path.read_bytes() if path.exists() else b"{}")
        except OSError as error:
            raise ConfigError(f"TAPEHOUSE_STATE: {path} cannot be read ({error.strerror})") from error

    @property
    def spent(self) -> Spent:
        """What was asked lately."""
        return self._record.spent

    def of(self, name: str) -> Remembered:
        """Return what is remembered of a poll, to be changed in place and saved."""
        return self._record.polls.setdefault(name, Remembered())

    def keep_only(self, names: set[str]) -> None:
        """Forget polls that are no longer configured."""
        self._record.polls = {name: known for name, known in self._record.polls.items() if name in names}

    def forget(self, names: set[str]) -> None:
        """Forget these polls, but not what was asked in all."""
        self._record.polls = {name: known for name, known in self._record.polls.items() if name not in names}

    def save(self) -> None:
        """Write the record, whole or not at all; a disk that refuses costs politeness after a restart, no more."""
        record = msgspec.json.encode(self._record)
        if record == self._saved:
            return
        written = self._path.with_suffix(".new")
        try:
            written.write_bytes(record)
            written.replace(self._path)
            self._saved = record
        except OSError as error:
            log.warning("state_not_saved", file=str(self._path), why=error.strerror)


def _decode(record: bytes) -> _Record:
    try:
        return msgspec.json.decode(record, type=_Record)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Record()
