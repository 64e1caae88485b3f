"""Unmodified cryptofeed, told where the exchange is: prints what it reports as lines of JSON until SIGINT.

`python cryptofeed_reader.py WS_URL REST_URL`
"""

import json
import sys

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, Routes, WebsocketEndpoint
from cryptofeed.defines import CANDLES, TRADES
from cryptofeed.exchanges import Binance

PLAIN_TCP = {"ssl": False, "server_hostname": None}
"""cryptofeed takes wss addresses only, but hands these options to its WebSocket library: no TLS."""


def show(kind, **fields):
    print(json.dumps({"kind": kind} | fields, default=str), flush=True)  # noqa: T201  # the test reads it


async def show_trade(trade, _received_at):
    show(
        "aggregate",
        symbol=trade.symbol,
        id=trade.id,
        side=trade.side,
        price=trade.price,
        quantity=trade.amount,
        time=round(trade.timestamp * 1000),
    )


async def show_candle(candle, _received_at, kind="candle"):
    show(
        kind,
        symbol=candle.symbol,
        opened=round(candle.start * 1000),
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
        trades=candle.trades,
    )


async def ask(feed, symbol):
    async for trades in feed.trades(symbol):
        for trade in trades:
            # No side: cryptofeed 2.4.1 reads that of REST the wrong way round, unlike that of the stream.
            show(
                "rest_aggregate",
                symbol=symbol,
                id=trade["id"],
                price=trade["price"],
                quantity=trade["amount"],
                time=round(trade["timestamp"] * 1000),
            )
    async for candles in feed.candles(symbol):
        for candle in candles:
            await show_candle(candle, None, "rest_candle")


def main(ws_url, rest_url):
    Binance.websocket_endpoints = [WebsocketEndpoint(ws_url.replace("ws://", "wss://"), options=PLAIN_TCP)]
    Binance.rest_endpoints = [RestEndpoint(rest_url, routes=Routes("/api/v3/exchangeInfo"))]
    Binance.api = f"{rest_url}/api/v3/"
    symbols = Binance.symbols()
    show("symbols", names=symbols)
    feeds = FeedHandler(config={"log": {"disabled": True}, "uvloop": False})
    callbacks = {TRADES: show_trade, CANDLES: show_candle}
    feed = Binance(symbols=symbols, channels=[TRADES, CANDLES], callbacks=callbacks, candle_interval="1m")
    feed._sync_run_coroutine(ask(feed, symbols[0]))
    feeds.add_feed(feed)
    feeds.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
