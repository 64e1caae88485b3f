"""The ten recorded minutes of BTCUSDT as they came off the wire."""

import gzip
import io
from collections.abc import Callable, Iterator

import pytest
import zstandard

Frame = tuple[int, bytes]
"""When it was received, and the bytes."""


@pytest.fixture(scope="session")
def ten_minutes(recordings) -> list[Frame]:
    """Every trade message of 2024-08-08 23:54 to 2024-08-09 00:05, in order of arrival."""
    frames = []
    for day in ("20240808", "20240809"):
        with gzip.open(recordings / "1-binance-ws" / f"hftbacktest_spot_btcusdt_{day}.gz", "rt") as lines:
            for line in lines:
                stamp, _, message = line.strip().partition(" ")
                if '@trade"' in message[:40]:
                    frames.append((int(stamp) // 1000, message.encode()))
    return frames


@pytest.fixture(scope="session")
def zst_lines(recordings) -> Callable[[str], Iterator[str]]:
    """The lines of a compressed recording."""

    def read(name: str) -> Iterator[str]:
        with (recordings / name).open("rb") as stored:
            yield from io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(stored), "utf-8")

    return read
