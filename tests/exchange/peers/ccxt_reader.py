"""Unmodified ccxt and ccxt.pro, told where the exchange is: print what they report as lines of JSON until SIGINT.

`python ccxt_reader.py WS_URL REST_URL`
"""

import asyncio
import contextlib
import json
import sys

import ccxt.pro

MARKET = "BTC/USDT"
OPTIONS = {"fetchMarkets": {"types": ["spot"]}, "tradesLimit": 100_000}
"""Of the exchange's markets only spot is asked for; the cache holds what comes between two looks at it."""


def show(kind, **fields):
    print(json.dumps({"kind": kind} | fields), flush=True)  # noqa: T201  # the test reads it


def show_trade(kind, trade):
    show(
        kind,
        symbol=trade["symbol"],
        id=trade["id"],
        side=trade["side"],
        price=trade["price"],
        quantity=trade["amount"],
        time=trade["timestamp"],
    )


def show_candle(kind, row):
    opened, begun, high, low, close, volume = row
    show(kind, symbol=MARKET, opened=opened, open=begun, high=high, low=low, close=close, volume=volume)


async def ask(client):
    show("symbols", names=list(await client.load_markets()))
    for trade in await client.fetch_trades(MARKET, limit=1000):
        show_trade("rest_aggregate", trade)
    for row in await client.fetch_ohlcv(MARKET, "1m"):
        show_candle("rest_candle", row)


async def follow_trades(client):
    while True:
        for trade in await client.watch_trades(MARKET):
            show_trade("trade", trade)


async def follow_candles(client):
    """A candle is over when the next one is spoken of: ccxt does not tell that the exchange closed it."""
    current = None
    while True:
        for row in await client.watch_ohlcv(MARKET, "1m"):
            if current and row[0] > current[0]:
                show_candle("candle", current)
            current = list(row)


async def main(ws_url, rest_url):
    client = ccxt.pro.binance({"options": OPTIONS})
    client.number = str
    client.urls["api"]["public"] = f"{rest_url}/api/v3"
    client.urls["api"]["ws"]["spot"] = f"{ws_url}/ws"
    try:
        await ask(client)
        await asyncio.gather(follow_trades(client), follow_candles(client))
    finally:
        await client.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], sys.argv[2]))
