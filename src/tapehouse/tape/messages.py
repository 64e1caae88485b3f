"""What a writer sends to Kafka: frames as messages, and what waits cut into transactions of one size."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tapehouse.catalog import DEAD_LETTERS
from tapehouse.ports import Batch, Routed
from tapehouse.tape.codec import headers_of, key_of


class Message(NamedTuple):
    """What `Producer.produce` takes; `timestamp` in milliseconds, 0 for now."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp: int


def to_messages(taken: Iterable[tuple[Batch, Routed]]) -> Iterator[Message]:
    """Give the message of each frame; those that came together share their headers."""
    headers: list[tuple[str, bytes]] = []
    beside: Batch | None = None
    received_at = -1
    for batch, routed in taken:
        if routed.reason or routed.binary:
            yield _unusual(batch, routed)
            continue
        if batch is not beside or routed.received_at != received_at:
            beside, received_at = batch, routed.received_at
            headers = headers_of(batch.shape, received_at, symbol=batch.symbol)
        yield Message(routed.topic, _key(batch, routed), routed.frame, headers, received_at // 1000)


def _unusual(batch: Batch, routed: Routed) -> Message:
    refusal = (routed.reason, routed.topic) if routed.reason else None
    headers = headers_of(batch.shape, routed.received_at, symbol=batch.symbol, binary=routed.binary, refusal=refusal)
    topic = DEAD_LETTERS if refusal else routed.topic
    return Message(topic, _key(batch, routed), routed.frame, headers, routed.received_at // 1000)


def _key(batch: Batch, routed: Routed) -> bytes | None:
    return key_of(routed.symbol) if routed.symbol else batch.symbol.encode() or None


def in_pieces(batches: Sequence[Batch], most_frames: int) -> Iterator[list[Batch]]:
    """Cut batches into lists of at most so many frames, in order."""
    piece: list[Batch] = []
    room = most_frames
    for batch in batches:
        for start in range(0, len(batch.frames), most_frames):
            part = _part(batch, start, start + most_frames)
            if len(part.frames) > room:
                yield piece
                piece, room = [], most_frames
            piece.append(part)
            room -= len(part.frames)
    if piece:
        yield piece


def _part(batch: Batch, start: int, end: int) -> Batch:
    if start == 0 and end >= len(batch.frames):
        return batch
    binary = tuple(place - start for place in batch.binary if start <= place < end)
    return Batch(batch.frames[start:end], batch.received_at[start:end], batch.shape, batch.symbol, binary)
