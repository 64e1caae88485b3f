"""A tape with everything that may go wrong on it: repeated, unordered, missing and late trades, refusals, klines."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from tapehouse.market.windows import MINUTE

MIDNIGHT = 1_723_161_600_000_000
"""2024-08-09 00:00, which lies in the middle of it."""
SUMS = "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"

Frame = tuple[int, bytes]
"""When it was received (microseconds), and the bytes."""


def kline(
    symbol: str, opens: datetime, row: dict[str, Any] | None, price: Decimal | None = None
) -> tuple[bytes, bytes]:
    """Return the exchange's closed kline of a minute: its message, and its row over REST.

    `row` has the columns of the candle, None for a minute without trades; then `price` is its flat price.
    """
    opened = int(opens.timestamp()) * 1000
    closes = opened + 59_999
    prices = [str(row[name]) if row else str(price) for name in ("open", "high", "low", "close")]
    sums = [f"{row[name]:.8f}" if row else "0" for name in SUMS]
    volume, quote, *bought = sums
    first, last, trades = (row["first_trade_id"], row["last_trade_id"], row["trades"]) if row else (-1, -1, 0)
    told = {"t": opened, "T": closes, "s": symbol, "i": "1m", "f": first, "L": last, "n": trades, "x": True, "B": "0"}
    told |= dict(zip("ohlcvqVQ", [*prices, *sums], strict=True))
    data = {"e": "kline", "E": closes + 1, "s": symbol, "k": told}
    message = json.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": data}).encode()
    return message, json.dumps([[opened, *prices, volume, closes, quote, trades, *bought, "0"]]).encode()


class Tape:
    """What is put on the topics, in parts; `late` comes when the candles it belongs to are final."""

    def __init__(self, recorded: list[Frame], market: list[Frame], oracle: Any) -> None:
        whole = [(at, frame.replace(b"BTC", b"SOL").replace(b"btc", b"sol")) for at, frame in market]
        self.aborted = whole[500:505]  # nobody ever tells them again
        held_back = [each for each in whole[10:] if each[0] < MIDNIGHT + 3 * MINUTE][::40]
        self.late = tuple(
            [(whole[-1][0], frame) for _, frame in held_back[place::2] + recorded[40 + place : 60 : 2]]
            for place in range(2)
        )
        told = [each for each in whole if each not in held_back and each not in self.aborted]
        awkward = told[:300] + told[250:310] + told[300:]
        awkward[100:140] = Random(3).sample(awkward[100:140], 40)
        regular = recorded[:40] + recorded[60:]
        poison = [(whole[0][0], b"{bad"), (whole[0][0], b'{"data":{"e":"listStatus"}}')]
        self.parts = regular[:9_000] + awkward[:300], [*poison, *awkward[300:], *regular[9_000:]]
        self.klines = list(self._klines(whole, oracle))

    @staticmethod
    def _klines(whole: list[Frame], oracle: Any) -> Iterator[Frame]:
        """Give every minute of the generated market as the exchange has it, and a quiet one after its end."""
        for symbol in ("ETHUSDT", "SOLUSDT"):
            minutes = minutes_of(symbol, whole, oracle)
            for opened, row in minutes.items():
                yield whole[-1][0], kline(symbol, opened, row)[0]
            yield whole[-1][0], kline(symbol, max(minutes) + timedelta(minutes=1), None, row["close"])[0]


def minutes_of(symbol: str, frames: list[Frame], oracle: Any) -> dict[datetime, dict[str, Any]]:
    """Return the candle of each minute in which a symbol was traded."""
    minutes: dict[datetime, list[Any]] = defaultdict(list)
    for trade in (oracle.Told(*told(frame)) for _, frame in frames if symbol.encode() in frame):
        minutes[oracle.opening(trade.traded_at, "1m")].append(trade)
    names = oracle.FIELDS.split(", ")
    return {opened: dict(zip(names, oracle.candle(trades), strict=True)) for opened, trades in minutes.items()}


def told(frame: bytes) -> tuple[int, Decimal, Decimal, str, datetime]:
    """Return id, price, quantity, the taker's side and time of a trade."""
    data = json.loads(frame)["data"]
    at = datetime.fromtimestamp(data["T"] / 1000, UTC)
    return data["t"], Decimal(data["p"]), Decimal(data["q"]), "sell" if data["m"] else "buy", at
