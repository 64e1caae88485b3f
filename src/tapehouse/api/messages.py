"""The live socket's language, protocol 1: what a client may say, and each message to it, encoded once.

Decimals are strings here (see `encoding`). Every message has a `type`; those about the market have the `sequence` of
the state they show, which never goes back while the server runs. Trades carry their ids: what overlaps is seen by them.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from tapehouse.api.asked import IntervalName
from tapehouse.api.context_rows import ATTRIBUTIONS, version_fields
from tapehouse.api.encoding import as_text, time_text, to_json
from tapehouse.api.rows import candle_fields, trade_fields
from tapehouse.api.signal_rows import signal_fields
from tapehouse.market.coins import base_of
from tapehouse.market.context import Version
from tapehouse.market.events import Trade
from tapehouse.market.ledger import CandleRow
from tapehouse.market.signals import Signal
from tapehouse.market.windows import INTERVALS

PROTOCOL = 1
MOST_SYMBOLS = 20
"""Most symbols in one subscription; prices come of all."""

Channel = Literal["candles", "trades", "prices", "health", "market", "sentiment", "news", "signals"]
StateKind = Literal["snapshot", "catch_up"]


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client wants from now on, in place of what it wanted before."""

    symbols: Annotated[tuple[str, ...], msgspec.Meta(max_length=MOST_SYMBOLS)]
    interval: IntervalName = "1m"
    channels: tuple[Channel, ...] = ("candles", "trades", "prices", "health")


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subscribe: Subscribe


_decoder = msgspec.json.Decoder(_Command)


def read_command(text: str) -> Subscribe:
    """Read what a client sent; raise msgspec.DecodeError that says what is wrong with it."""
    wanted = _decoder.decode(text).subscribe
    return msgspec.structs.replace(wanted, symbols=tuple(symbol.upper() for symbol in wanted.symbols))


def hello(symbols: list[str], sequence: int) -> str:
    """Greet: what there is to subscribe to, and which asset each symbol is a price of."""
    bases = {symbol: base_of(symbol) for symbol in symbols}
    return _message("hello", sequence, protocol=PROTOCOL, symbols=symbols, bases=bases, intervals=list(INTERVALS))


def error(title: str, detail: str) -> str:
    """Tell a client what was wrong with its message; the connection goes on."""
    return to_json({"type": "error", "title": title, "detail": detail}).decode()


def candles(sequence: int, symbol: str, interval: str, rows: Iterable[CandleRow], horizon: int) -> str:
    """Tell the candles of one symbol that changed."""
    fields = [candle_fields(row, as_text, horizon) for row in rows]
    return _message("candles", sequence, symbol=symbol, interval=interval, candles=fields)


def trades(sequence: int, symbol: str, rows: Iterable[Trade], skipped: int) -> str:
    """Tell the newest trades of one symbol; `skipped` older ones happened since the last message and are not in it."""
    return _message("trades", sequence, symbol=symbol, trades=[_trade(row) for row in rows], skipped=skipped)


def prices(sequence: int, entries: list[dict[str, object]]) -> str:
    """Tell the last price of symbols that traded."""
    return _message("prices", sequence, prices=entries)


def price(trade: Trade, day: CandleRow | None) -> dict[str, object]:
    """Return one symbol's entry among the prices; `day_open` is the first price held since 00:00 UTC."""
    opened = day.candle.open if day is not None and day.candle is not None else None
    return {
        "symbol": trade.symbol,
        "price": as_text(trade.price),
        "traded_at": time_text(trade.traded_at),
        "day_open": None if opened is None else as_text(opened),
    }


def state(
    kind: StateKind,
    sequence: int,
    wanted: Subscribe,
    of: dict[str, tuple[list[CandleRow], list[Trade]]],
    horizon: int,
    skipped_messages: int = 0,
) -> str:
    """Tell where things stand: all that is asked for (`snapshot`), or what changed lately (`catch_up`)."""
    return _message(
        kind,
        sequence,
        interval=wanted.interval,
        skipped_messages=skipped_messages,
        candles={s: [candle_fields(row, as_text, horizon) for row in rows] for s, (rows, _) in of.items()},
        trades={s: [_trade(trade) for trade in last] for s, (_, last) in of.items()},
    )


def market(sequence: int, coins: Iterable[tuple[str, Version]], whole: Version | None) -> str:
    """Tell the coins of symbols, and, where it is given, the market as a whole."""
    rows = [{**_version(coin), "symbol": symbol} for symbol, coin in coins]
    told = {} if whole is None else {"global": _version(whole)}
    return _message("market", sequence, attribution=ATTRIBUTIONS["market_data"], market=rows, **told)


def sentiment(sequence: int, days: Iterable[Version]) -> str:
    """Tell days of the Fear & Greed index."""
    rows = [_version(day) for day in days]
    return _message("sentiment", sequence, attribution=ATTRIBUTIONS["sentiment"], sentiment=rows)


def news(sequence: int, stories: Iterable[Version]) -> str:
    """Tell stories, newest last."""
    return _message("news", sequence, news=[_version(story) for story in stories])


def signals(sequence: int, changed: Iterable[Signal]) -> str:
    """Tell signals, each as it is known now; one of an open window has revision 0, and is gone when `retracted`."""
    return _message("signals", sequence, signals=[signal_fields(signal) for signal in changed])


def health(sequence: int, report: dict[str, object]) -> str:
    """Tell the health of the data."""
    return _message("health", sequence, **report)


def _version(version: Version) -> dict[str, object]:
    return version_fields(version, exact_numbers=False)


def _trade(trade: Trade) -> dict[str, object]:
    return trade_fields(trade, as_text)


def _message(kind: str, sequence: int, **fields: object) -> str:
    return to_json({"type": kind, "sequence": sequence, **fields}).decode()
