"""To which topic a frame of Binance belongs, and which trades it tells of; what cannot be true is refused."""

from collections.abc import Callable, Iterator, Sequence

from tapehouse.market.events import Rejected, Trade
from tapehouse.market.windows import closes_at
from tapehouse.ports import Batch, Route, Routed
from tapehouse.producers.binance.decode import Messages, decode_rest, decode_stream, reject
from tapehouse.producers.binance.symbols import asked_for
from tapehouse.producers.binance.wire import KLINES_TOPIC, TRADES_TOPIC, KlineMessage, rest_kline

UNKNOWN_EVENT = "unknown event"
NOT_ASKED_FOR = "a symbol that was not asked for"

_Asked = Callable[[str], bool]


def binance_route(wanted: Sequence[str]) -> Route:
    """Return the routing of a producer of these symbols and patterns."""
    asked = asked_for(wanted)

    def route(batch: Batch) -> Iterator[Routed]:
        match batch.shape:
            case "stream":
                yield from _stream(batch, asked)
            case "klines":
                yield from _rest_klines(batch)
            case _:
                yield from _rest_trades(batch)

    return route


def _stream(batch: Batch, asked: _Asked) -> Iterator[Routed]:
    if batch.binary:
        chosen = set(batch.binary)
        yield from (_refused(each, binary=True) for each in decode_stream(_only(batch, chosen, binary=True)).rejected)
        batch = _only(batch, chosen, binary=False)
    messages = decode_stream(batch)
    yield from _trades(messages, asked)
    for message, frame, received_at in messages.klines:
        yield _kline(message, frame, received_at, asked)
    for other in messages.other:
        yield Routed(TRADES_TOPIC, other.payload, other.received_at, reason=UNKNOWN_EVENT)
    yield from map(_refused, messages.rejected)


def _only(batch: Batch, chosen: set[int], *, binary: bool) -> Batch:
    """Return the frames that are chosen as binary ones, or those that are not as text."""
    places = [place for place in range(len(batch.frames)) if (place in chosen) is binary]
    return Batch(
        [batch.frames[place] for place in places],
        [batch.received_at[place] for place in places],
        binary=tuple(range(len(places))) if binary else (),
    )


def _trades(messages: Messages, asked: _Asked) -> Iterator[Routed]:
    for message, frame, received_at in zip(messages.trades, messages.payloads, messages.received_at, strict=True):
        try:
            trade = message.to_trade(received_at)
        except ValueError as error:
            yield _refused(reject(error, frame, received_at))
            continue
        if asked(trade.symbol):
            yield _trade(trade, frame)
        else:
            yield Routed(TRADES_TOPIC, frame, received_at, reason=NOT_ASKED_FOR)


def _trade(trade: Trade, frame: bytes) -> Routed:
    ids = (trade.first_trade_id, trade.last_trade_id)
    return Routed(TRADES_TOPIC, frame, trade.received_at, trade.symbol, ids, trade.traded_at)


def _kline(message: KlineMessage, frame: bytes, received_at: int, asked: _Asked) -> Routed:
    if not asked(message.s):
        return Routed(KLINES_TOPIC, frame, received_at, reason=NOT_ASKED_FOR)
    if not message.k.x:
        return Routed(KLINES_TOPIC, frame, received_at, message.s)
    try:
        kline = message.to_kline(received_at)
    except ValueError as error:
        return _refused(reject(error, frame, received_at, KLINES_TOPIC))
    told_to = kline.candle.last_trade_id if kline.candle is not None else -1
    ends = closes_at(kline.opened_at, kline.interval)
    return Routed(KLINES_TOPIC, frame, received_at, kline.symbol, traded_at=ends, told_to=told_to)


def _rest_trades(batch: Batch) -> Iterator[Routed]:
    trades, rejected = decode_rest(batch)
    yield from (_trade(trade, row) for trade, row in trades)
    yield from map(_refused, rejected)


def _rest_klines(batch: Batch) -> Iterator[Routed]:
    for row, received_at in zip(batch.frames, batch.received_at, strict=True):
        try:
            rest_kline(batch.symbol, "1m", row, received_at)
        except ValueError as error:
            yield _refused(reject(error, row, received_at, KLINES_TOPIC))
        else:
            yield Routed(KLINES_TOPIC, row, received_at, batch.symbol)


def _refused(rejected: Rejected, *, binary: bool = False) -> Routed:
    return Routed(rejected.topic, rejected.payload, rejected.received_at, reason=rejected.reason, binary=binary)
