"""What every benchmark uses: figures, percentiles, and the CPU and memory of another process as Linux tells them."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

TRIES = 200
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Figure:
    """One number of the report; `goal` is what the project asks for, `holds` whether it is reached."""

    name: str
    value: float
    unit: str
    goal: str = ""
    holds: bool | None = None

    @property
    def shown(self) -> str:
        """The value as a person reads it."""
        digits = 0 if abs(self.value) >= 1000 else 1 if abs(self.value) >= 100 else 2
        return f"{self.value:,.{digits}f} {self.unit}".strip()


def at_most(name: str, value: float, unit: str, limit: float) -> Figure:
    """Return a figure whose goal is a limit from above."""
    return Figure(name, value, unit, f"<= {limit:g} {unit}", value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Figure:
    """Return a figure whose goal is a limit from below."""
    return Figure(name, value, unit, f">= {limit:,.0f} {unit}", value >= limit)


def cpu_seconds(process: int) -> float:
    """Return the CPU time all threads of a process have used."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_megabytes(process: int) -> float:
    """Return the memory a process occupies now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE / MEGABYTE


def mapped_megabytes(process: int) -> float:
    """Return how much of that is files mapped into memory: libraries' code, which the system can drop and read again.

    How much of a library counts as occupied is the kernel's choice: it maps what lies around the pages touched.
    """
    return int(Path(f"/proc/{process}/statm").read_text().split()[2]) * _PAGE / MEGABYTE


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def check(claim: bool, text: str) -> None:
    """Refuse to report a speed whose result is wrong."""
    if not claim:
        raise SystemExit(f"The result is wrong, so its speed means nothing: {text}")


def messages_decoded_a_second() -> float:
    """Return how many trade messages msgspec alone makes structs of in a second: how fast a core of the machine is.

    The median of several tries.
    """
    decode = msgspec.json.Decoder(_Trade).decode
    frames = [
        f'{{"e":"trade","E":1723161000{number:03},"s":"BTCUSDT","t":{number},"p":"61837.00000000","q":"0.00123000",'
        f'"T":1723161000{number:03},"m":true,"M":true}}'.encode()
        for number in range(1_000)
    ]
    taken = []
    for _ in range(TRIES):
        began = time.perf_counter()
        for frame in frames:
            decode(frame)
        taken.append(time.perf_counter() - began)
    return len(frames) / quantile(taken, 0.5)


class _Trade(msgspec.Struct):
    e: str
    E: int
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
