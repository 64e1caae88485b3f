"""The peer: unmodified cryptofeed with nothing but a trades callback, on the same socket. Prints what it used.

`python -m benchmarks.cryptofeed_peer WS_URL REST_URL SECONDS`
"""

import asyncio
import json
import os
import resource
import sys
import time

from cryptofeed import FeedHandler, connection
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance

_plain = connection.connect
"""cryptofeed insists on wss; encryption would only add to what it costs."""


class LocalBinance(Binance):
    """Binance at the addresses given; cryptofeed has no setting for them."""


def main(ws_url: str, rest_url: str, seconds: float) -> None:
    """Count trades for some seconds after the first came; print messages, CPU and wall seconds as JSON."""
    LocalBinance.websocket_endpoints = [WebsocketEndpoint(ws_url.replace("ws://", "wss://"))]
    connection.connect = lambda address, **options: _plain(address.replace("wss://", "ws://"), **options)
    LocalBinance.rest_endpoints = [RestEndpoint(rest_url, routes=Routes("/api/v3/exchangeInfo"))]
    counted = 0
    began: tuple[float, float] | None = None

    async def trade(_trade: object, _received_at: float) -> None:
        nonlocal counted, began
        if began is None:
            began = (time.monotonic(), _cpu())
            asyncio.get_running_loop().call_later(seconds, finish)
        counted += 1

    def finish() -> None:
        assert began is not None
        print(json.dumps({"messages": counted, "cpu": _cpu() - began[1], "seconds": time.monotonic() - began[0]}))
        sys.stdout.flush()
        os._exit(0)  # there is nothing to save, and its own way to stop waits for the socket

    handler = FeedHandler(config={"log": {"disabled": True}})
    symbols = list(LocalBinance.symbol_mapping())
    handler.add_feed(LocalBinance(symbols=symbols, channels=[TRADES], callbacks={TRADES: trade}))
    handler.run(install_signal_handlers=False)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
