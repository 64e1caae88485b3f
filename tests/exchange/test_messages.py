"""The bytes of the streams: many messages framed at once are those framed one by one."""

import polars as pl
import pytest

from tapehouse.exchange.messages import frame_of, frames_of

SIZES = (1, 2, 125, 126, 127, 128, 255, 256, 300, 511, 1000, 1023)
"""Around where a length takes another form (RFC 6455, 5.2), and with every kind of byte in it."""


@pytest.mark.parametrize("size", SIZES)
def test_a_message_of_any_size_is_framed_as_one_alone_is(size: int):
    text = "x" * size
    assert frames_of(pl.Series([text])) == frame_of(text.encode())


def test_many_messages_are_their_frames_in_order():
    texts = [chr(65 + place % 26) * size for place, size in enumerate(SIZES * 3)]
    assert frames_of(pl.Series(texts)) == b"".join(frame_of(text.encode()) for text in texts)


def test_every_size_up_to_the_longest_keeps_each_byte_of_its_length():
    texts = ["y" * size for size in range(1, 1024)]
    assert frames_of(pl.Series(texts)) == b"".join(frame_of(text.encode()) for text in texts)


def test_no_messages_are_no_bytes():
    assert frames_of(pl.Series([], dtype=pl.String)) == b""
