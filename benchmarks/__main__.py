"""Run the benchmarks, print their figures, and put them into RESULTS.md: `python -m benchmarks [--quick] [NAME...]`."""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import (
    bench_ages,
    bench_context,
    bench_kafka,
    bench_queries,
    bench_size,
    bench_start,
    bench_steady,
    bench_sustained,
)
from benchmarks.measuring import Figure, messages_decoded_a_second

RESULTS = Path(__file__).parent / "RESULTS.md"
LIBRARIES = ("polars", "deltalake", "msgspec", "picows", "cryptofeed")

Bench = tuple[str, Callable[[bool], Sequence[Figure]]]

BENCHES: dict[str, Bench] = {
    "sustained": ("The whole path", lambda quick: bench_sustained.run(15 if quick else 60)),
    "ages": ("How fresh", lambda quick: bench_ages.run(15 if quick else 40)),
    "memory": ("Memory under load", lambda quick: bench_steady.run_memory(40 if quick else 600)),
    "symbols": ("Many symbols", lambda quick: bench_steady.run_symbols(15 if quick else 60)),
    "rest": ("At rest", lambda quick: bench_steady.run_rest(20 if quick else 120)),
    "fold": ("Candles from stored trades", lambda quick: bench_queries.run_fold(1_000_000 if quick else 5_000_000)),
    "latest": ("Last prices under load", lambda quick: bench_queries.run_latest(10 if quick else 30)),
    "analytics": ("Analytics under load", lambda quick: bench_queries.run_analytics(10 if quick else 60)),
    "signals": ("Signals", lambda quick: _signals(10 if quick else 60)),
    "context": ("The market around it, polled", lambda quick: bench_context.run(quick=quick)),
    "size": ("Bytes a trade", lambda _quick: bench_size.run()),
    "kafka": ("Onto Kafka", lambda quick: bench_kafka.run(15 if quick else 40)),
    "spark": ("A backlog through Spark", lambda quick: _spark(600_000 if quick else 1_500_000)),
    "stream": ("How fresh, through Spark", lambda quick: _stream(15 if quick else 40)),
    "warehouse": ("A build of the warehouse", lambda quick: _warehouse(30 if quick else 365)),
    "start": ("Start and recovery", lambda quick: bench_start.run(2_000_000 if quick else 50_000_000)),
}


def _signals(minutes: int) -> Sequence[Figure]:
    from benchmarks import bench_signals  # noqa: PLC0415  # its peer, pandas, comes with the extra `cluster`

    return bench_signals.run(minutes)


def _spark(messages: int) -> Sequence[Figure]:
    from benchmarks import bench_spark  # noqa: PLC0415  # it needs the extra `cluster`

    return bench_spark.run(messages)


def _stream(seconds: float) -> Sequence[Figure]:
    from benchmarks import bench_stream  # noqa: PLC0415  # it needs the extra `cluster`

    return bench_stream.run(seconds)


def _warehouse(days: int) -> Sequence[Figure]:
    from benchmarks import bench_warehouse  # noqa: PLC0415  # it needs the extra `warehouse`

    return bench_warehouse.run(days)


def main() -> None:
    """Run those named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write RESULTS.md.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all when none is given")
    parser.add_argument("--quick", action="store_true", help="shorter runs, smaller tables")
    options = parser.parse_args()
    if unknown := set(options.names) - BENCHES.keys():
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    for name in options.names or BENCHES:
        title, bench = BENCHES[name]
        began, conditions = time.monotonic(), conditions_of(options.quick)
        section = f"{conditions}\n\n{as_table(bench(options.quick))}"
        print(f"## {title}\n\n{section}\n({name} took {time.monotonic() - began:.0f} s)\n", flush=True)
        RESULTS.write_text(with_section(RESULTS.read_text() if RESULTS.exists() else "", title, section))


def with_section(report: str, title: str, section: str) -> str:
    """Return the report with this section in the place of the one before; sections stand in the order of BENCHES."""
    parts = re.split(r"(?m)^## (.+)\n", report)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True)) | {title: section}
    told = [f"## {title}\n\n{sections[title].strip()}" for title, _ in BENCHES.values() if title in sections]
    return "\n\n".join([heading(), *told]) + "\n"


def as_table(figures: Sequence[Figure]) -> str:
    """Return the figures as a table."""
    rows = [f"| {each.name} | {each.shown} | {each.goal} | {_verdict(each)} |" for each in figures]
    return "\n".join(["| what | measured | goal | |", "|---|---|---|---|", *rows])


def _verdict(figure: Figure) -> str:
    return "" if figure.holds is None else "reached" if figure.holds else "**missed**"


def heading() -> str:
    """Return what a reader has to know of every section."""
    by_whom = (
        "Written by `make bench`, one section by `python -m benchmarks NAME`. Load, peer and platform share a machine;"
    )
    return f"# Benchmarks\n\n{by_whom}\neach section says which, and how busy it was."


def conditions_of(quick: bool) -> str:
    """Return when, where and with what a section was measured."""
    length = "a short run" if quick else "a full run"
    load, speed = os.getloadavg()[0], messages_decoded_a_second() / 1e6
    machine = f"{processor()}, {os.cpu_count()} processors, {memory():.0f} GB, load before it {load:.1f}"
    core = f"One of its cores decodes {speed:.2f} million trade messages a second with msgspec alone"
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return "\n".join(
        [
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}, {length}. {machine}.",
            f"{core}.",
            f"Python {platform.python_version()}, {libraries}.",
        ]
    )


def commit() -> str:
    """Return the commit that was measured."""
    asked = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), sys.platform)


def memory() -> float:
    """Return the machine's memory in gigabytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


if __name__ == "__main__":
    main()
