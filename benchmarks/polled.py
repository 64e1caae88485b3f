"""The platform around the sources that are polled, on a clock that runs faster: `python -m benchmarks.polled`.

A trade comes four times a second (of the machine's clock), so that what a commit takes is part of the base. With the
word `base` nothing is polled.
"""

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path

import uvloop

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("_RJEM_MALLOC_CONF", "muzzy_decay_ms:0")

from benchmarks.upstreams import COINS, FEEDS
from tapehouse.api.main import create_app, serve
from tapehouse.lake.maintenance import Maintenance
from tapehouse.pipeline import Parts, run
from tapehouse.ports import Batch, Tape
from tapehouse.producers.polling import Clock
from tapehouse.profiles.process import (
    announce,
    give_memory_back,
    keep_memory_together,
    let_go_of_the_start,
    when_told_to_stop,
)
from tapehouse.profiles.sources import polled_sources
from tapehouse.profiles.storage import open_lake
from tapehouse.settings import Settings, load_settings
from tapehouse.streaming.embedded import EmbeddedEngine
from tapehouse.streaming.recovery import recover
from tapehouse.streaming.view import LiveView
from tapehouse.tape.local import LocalTape

TRADE_EVERY = 0.25


class Trades:
    """A source of one trade now and then, in place of an exchange."""

    def __init__(self, now) -> None:  # noqa: ANN001
        self._now = now

    async def run(self, tape: Tape) -> None:
        """Tell trades until cancelled."""
        for number in itertools.count(1):
            at = self._now()
            told = {"e": "trade", "E": at // 1000, "s": "BTCUSDT", "t": number, "p": "61700.1", "q": "0.001"}
            told |= {"T": at // 1000, "m": True, "M": True}
            frame = json.dumps({"stream": "btcusdt@trade", "data": told}).encode()
            await tape.append(Batch([frame], [at]))
            await asyncio.sleep(TRADE_EVERY)

    async def close(self) -> None:
        """Nothing is open."""


def parts(settings: Settings, clock: Clock, *, polls: bool) -> Parts:
    """Put the platform together as `tapehouse up` does, on this clock."""
    lake = open_lake(settings)
    recovered = recover(lake, ["BTCUSDT"])
    view, tape = LiveView(), LocalTape()
    view.context.recall(lake)
    names = ("coingecko", "fear_greed", "rss") if polls else ()
    polled = polled_sources(settings, names, clock, lambda: [f"C{n}USDT" for n in range(COINS)])
    app = create_app(view, lake, lambda: [source.status() for source in polled], settings)
    return Parts(
        source=None,
        polled=[Trades(clock.now), *polled],  # type: ignore[list-item]  # trades by the same method
        tape=tape,
        engine=EmbeddedEngine(lake, view, recovered, now=clock.now),
        lake=lake,
        maintenance=Maintenance(lake),
        serve=lambda: serve(app, "127.0.0.1", settings.api_port, announce(settings)),
        now=clock.now,
        give_memory_back=give_memory_back,
        past={},
    )


async def main(url: str, began: float, speed: float, folder: Path, *, polls: bool) -> None:
    """Run until SIGTERM."""
    fast = speed == 1
    settings = load_settings(
        _env_file=None,
        lake=str(folder / "delta"),
        state=folder / "state",
        api_port=0,
        coingecko_url=f"{url}/gecko",
        fear_greed_url=f"{url}/fng/",
        rss_feeds=(f"{url}/feeds/fast",) if fast else tuple(f"{url}/feeds/{n}" for n in range(FEEDS)),
        **({"rss_interval": 1.0} if fast else {}),
    )
    clock = Clock(
        lambda: int((began + (time.time() - began) * speed) * 1e6),
        lambda seconds: asyncio.sleep(seconds / speed),
    )
    stopped = when_told_to_stop()
    running = asyncio.create_task(run(parts(settings, clock, polls=polls)))
    let_go_of_the_start()
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        print("ended")


if __name__ == "__main__":
    keep_memory_together()
    address, start, times, place, what = sys.argv[1:]
    uvloop.run(main(address, float(start), float(times), Path(place), polls=what == "polled"))
