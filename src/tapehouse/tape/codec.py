"""A record of the tape on Kafka: the frame's bytes are its value, what is known besides stands in its headers.

Used by whoever writes, follows or computes from the topics, so that all mean the same.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeGuard, get_args

import msgspec

from tapehouse.catalog import VENUE
from tapehouse.ports import Batch, Shape

Headers = Sequence[tuple[str, bytes | None]]

LATEST = 4_102_444_800_000_000
"""Microseconds: the year 2100; nothing is received later."""
_SHAPES = frozenset(get_args(Shape))


class Record(msgspec.Struct, frozen=True, gc=False):
    """What a reader gets of one message; `timestamp` is Kafka's own, in milliseconds."""

    value: bytes | None
    headers: Headers | None
    timestamp: int


class _Meaning(msgspec.Struct, frozen=True, gc=False):
    """What the headers of a record say."""

    shape: Shape
    symbol: str
    received_at: int
    binary: bool


@lru_cache(maxsize=8192)
def key_of(symbol: str) -> bytes:
    """Return the key of everything about a symbol: it stays in order, on one partition."""
    return f"{VENUE}:{symbol}".encode()


def headers_of(
    shape: Shape,
    received_at: int,
    *,
    symbol: str = "",
    binary: bool = False,
    refusal: tuple[str, str] | None = None,
) -> list[tuple[str, bytes]]:
    """Return the headers of a frame received at a time (microseconds UTC).

    `symbol` is that of its `Batch`; `refusal` is the reason for which it is on `dead-letters`, and the topic it would
    have been on.
    """
    headers = [("shape", shape.encode()), ("received_at", b"%d" % received_at)]
    if symbol:
        headers.append(("symbol", symbol.encode()))
    if binary:
        headers.append(("binary", b"1"))
    if refusal is not None:
        headers += [("reason", refusal[0].encode()), ("topic", refusal[1].encode())]
    return headers


def to_batches(records: Iterable[Record]) -> list[Batch]:
    """Return records as the batches they were appended in: neighbours of like shape and symbol become one.

    A record nobody of ours wrote is a frame of the stream, received when Kafka says; whether it can be read is for the
    one who decodes it to say.
    """
    batches: list[Batch] = []
    binary: list[int] = []
    for record in records:
        meaning = _meaning(record)
        last = batches[-1] if batches else None
        if last is None or last.shape != meaning.shape or last.symbol != meaning.symbol:
            _mark_binary(batches, binary)
            last = Batch([], [], meaning.shape, meaning.symbol)
            batches.append(last)
        if meaning.binary:
            binary.append(len(last.frames))
        last.frames.append(record.value or b"")
        last.received_at.append(meaning.received_at)
    _mark_binary(batches, binary)
    return batches


def _mark_binary(batches: list[Batch], binary: list[int]) -> None:
    if binary:
        batches[-1] = msgspec.structs.replace(batches[-1], binary=tuple(binary))
        binary.clear()


def _meaning(record: Record) -> _Meaning:
    headers = dict(record.headers or ())
    shape = _text(headers.get("shape"))
    told = headers.get("received_at") or b""
    received_at = int(told) if told.isdigit() and len(told) <= len(str(LATEST)) else LATEST
    return _Meaning(
        shape=shape if _is_shape(shape) else "stream",
        symbol=_text(headers.get("symbol")),
        received_at=received_at if received_at < LATEST else max(record.timestamp, 0) * 1000,
        binary=headers.get("binary") == b"1",
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")[:64]


def _is_shape(text: str) -> TypeGuard[Shape]:
    return text in _SHAPES
