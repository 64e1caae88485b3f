"""The writer's place of a lake in a bucket: an object that its holder writes anew every few seconds.

It is there to tell a second platform early and by name. What keeps the tables right whatever this says is that the
numbers of commits fence: a batch's number is taken once, and who finds its own taken stops (docs/adr/0014).
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError as BucketError, PreconditionError
from obstore.store import S3Store

from tapehouse.errors import LakeError
from tapehouse.lake.objects import objects, refused_as_by_a_disk
from tapehouse.lake.refusals import explained

LEASE = "_tapehouse.lock"
RENEW_EVERY = 4.0
"""Seconds between two signs of life of the holder."""
SILENT_FOR = 15.0
"""Seconds without a sign of life after which a holder on another machine counts as dead."""
LOOK_EVERY = 0.5
_OVER = {"Z", "X"}
"""States of a process that has ended and is only not yet buried."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger(__name__)


class Holder(msgspec.Struct, frozen=True):
    """Who holds the place: its machine, its process there, when that was born; `beat` makes each sign of life new."""

    machine: str
    pid: int
    born: str
    command: str
    since: str
    beat: str
    released: bool = False

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be over: it said so, or was a process of this machine that is no more."""
        if self.released:
            return True
        return self.machine == machine() and bool(self.born) and born(self.pid) != self.born

    def is_same(self, other: "Holder") -> bool:
        """Tell whether this is a sign of life of the same process: one whose answer was lost."""
        return (self.machine, self.pid, self.born) == (other.machine, other.pid, other.born)

    def __str__(self) -> str:
        """Name it to a person."""
        return f"process {self.pid} on {self.machine.partition('/')[0]} ({self.command}) since {self.since}"


@contextmanager
def lease(root: str, options: Mapping[str, str], command: str, since: str) -> Iterator[None]:
    """Hold the place of the bucket's only writer; LakeError that names the holder when it is taken."""
    store = objects(root, options)
    me = Holder(machine(), os.getpid(), born(os.getpid()), command, since, "")
    with explained(f"take the writer's place of {root}"), refused_as_by_a_disk():
        tag = _take(store, me, root)
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(store, me, tag, ended.wait), name="lease", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join(SILENT_FOR)


def _take(store: S3Store, me: Holder, root: str) -> str:
    try:
        return _put(store, me, "create")
    except AlreadyExistsError:
        pass
    tag, holder = _read(store)
    deadline = time.monotonic() + SILENT_FOR
    while holder is not None and not holder.is_dead and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        seen, now_holding = _read(store)
        if seen != tag and now_holding is not None and not now_holding.released:
            raise LakeError(
                f"The lake at {root} is being written by {now_holding}. Stop it, wait for it, or set TAPEHOUSE_LAKE "
                "to another place: one lake has one writing process."
            )
        tag, holder = seen, now_holding
    try:
        return _put(store, me, tag)
    except PreconditionError:
        raise LakeError(f"The lake at {root} was taken by another process at the same moment. Start again.") from None


def _renew(store: S3Store, me: Holder, tag: str, ended: Callable[[float], bool]) -> None:
    """Give signs of life until the end, then the place back; stop when another has taken it."""
    over = False
    while not over:
        over = ended(RENEW_EVERY)
        try:
            tag = _put(store, msgspec.structs.replace(me, released=over), tag)
        except PreconditionError:
            tag, holder = _read(store)
            if holder is None or not holder.is_same(me):
                log.warning("lease_lost", holder=str(holder), what_follows="the next commit here is refused")
                return
        except (BucketError, OSError) as error:
            log.warning("lease_not_renewed", why=str(error)[:200])


def _read(store: S3Store) -> tuple[str, Holder | None]:
    found = obstore.get(store, LEASE)
    try:
        holder = msgspec.json.decode(bytes(found.bytes()), type=Holder)
    except msgspec.MsgspecError:  # not ours: nobody gives signs of life in it
        holder = None
    return str(found.meta["e_tag"]), holder


def _put(store: S3Store, holder: Holder, expected: str) -> str:
    """Write the object where it is still as expected (its tag; `create`: not there), and return its tag."""
    told = msgspec.json.encode(msgspec.structs.replace(holder, beat=uuid.uuid4().hex))
    stored = obstore.put(store, LEASE, told, mode="create" if expected == "create" else {"e_tag": expected})
    return str(stored["e_tag"])


def machine() -> str:
    """Return a name of this machine since it was started, as processes of it that see each other share it."""
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    return f"{socket.gethostname()}/{boot}"


def born(pid: int) -> str:
    """Return when a process of this machine was born, in the system's own count; empty when there is none."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if told[0] in _OVER else told[19]
