"""Unmodified python-binance, told where the exchange is: prints what it reports as lines of JSON until SIGINT.

`python python_binance_reader.py WS_URL REST_URL`
"""

import asyncio
import contextlib
import json
import sys

from binance import AsyncClient, BinanceSocketManager

SYMBOL = "BTCUSDT"
MOST_WAITING = 100_000
"""Its queue of 100 messages is for slower streams."""
KLINE = {
    "opened": "t",
    "open": "o",
    "high": "h",
    "low": "l",
    "close": "c",
    "volume": "v",
    "quote_volume": "q",
    "trades": "n",
    "taker_buy_volume": "V",
    "taker_buy_quote_volume": "Q",
    "first_trade_id": "f",
    "last_trade_id": "L",
}
ROW = ("opened", "open", "high", "low", "close", "volume", "ends", "quote_volume", "trades",
       "taker_buy_volume", "taker_buy_quote_volume")  # fmt: skip


def show(kind, **fields):
    print(json.dumps({"kind": kind} | fields), flush=True)  # noqa: T201  # the test reads it


def show_trade(kind, told, number, price, quantity, time, maker):
    side = "sell" if told[maker] else "buy"
    show(kind, symbol=SYMBOL, id=told[number], side=side, price=told[price], quantity=told[quantity], time=told[time])


async def ask(client):
    described = await client.get_exchange_info()
    show("symbols", names=[symbol["symbol"] for symbol in described["symbols"]])
    recent = await client.get_recent_trades(symbol=SYMBOL, limit=1000)
    older = await client.get_historical_trades(symbol=SYMBOL, limit=1000, fromId=recent[0]["id"] - 1000)
    for trade in [*older, *recent]:
        show_trade("rest_trade", trade, "id", "price", "qty", "time", "isBuyerMaker")
    for trade in await client.get_aggregate_trades(symbol=SYMBOL, limit=1000):
        show_trade("rest_aggregate", trade, "a", "p", "q", "T", "m")
    for row in await client.get_klines(symbol=SYMBOL, interval="1m"):
        show("rest_candle", symbol=SYMBOL, **dict(zip(ROW, row, strict=False)))


async def follow(client):
    streams = [f"{SYMBOL.lower()}@trade", f"{SYMBOL.lower()}@kline_1m"]
    sockets = BinanceSocketManager(client, max_queue_size=MOST_WAITING)
    async with sockets.multiplex_socket(streams) as socket:
        while True:
            told = (await socket.recv())["data"]
            if told["e"] == "trade":
                show_trade("trade", told, "t", "p", "q", "T", "m")
            elif told["k"]["x"]:
                show("candle", symbol=told["s"], **{name: told["k"][letter] for name, letter in KLINE.items()})


async def main(ws_url, rest_url):
    AsyncClient.API_URL = f"{rest_url}/api"
    BinanceSocketManager.STREAM_URL = f"{ws_url}/"
    client = await AsyncClient.create()
    try:
        await ask(client)
        await follow(client)
    finally:
        await client.close_connection()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], sys.argv[2]))
