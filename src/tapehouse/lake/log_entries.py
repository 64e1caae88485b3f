"""The files of a table's log, wherever they lie."""

import msgspec


class LogEntry(msgspec.Struct, frozen=True):
    """A file of a table's log: its name, the version it belongs to, when it was written (seconds since 1970)."""

    name: str
    version: int
    written_at: float

    @property
    def is_checkpoint(self) -> bool:
        """Whether it holds a whole state of the table."""
        return ".checkpoint" in self.name


def is_entry(name: str) -> bool:
    """Tell whether a file of a log belongs to a version."""
    return name[:20].isdigit()


def entry_of(name: str, written_at: float) -> LogEntry:
    """Return a file of a log by its name, which begins with its version."""
    return LogEntry(name, int(name[:20]), written_at)
