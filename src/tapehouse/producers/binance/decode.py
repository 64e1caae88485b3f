"""From the frames of a batch to typed messages. Nothing raises: what cannot be read becomes a `Rejected` (law 7)."""

from collections.abc import Sequence
from itertools import compress

import msgspec

from tapehouse.market.events import Rejected, Trade
from tapehouse.ports import Batch
from tapehouse.producers.binance.wire import (
    KLINES_TOPIC,
    TRADES_TOPIC,
    UNREADABLE,
    AggregateTrade,
    HistoricalTrade,
    KlineMessage,
    StreamMessage,
    TradeMessage,
)


class Other(msgspec.Struct, frozen=True):
    """A readable message that is neither a trade nor a kline; `event` is its type, empty for a reply to a command."""

    event: str
    payload: bytes
    received_at: int


class Messages(msgspec.Struct):
    """The messages of a batch by what they are; the three lists about trades have one entry a trade."""

    trades: list[TradeMessage] = msgspec.field(default_factory=list)
    payloads: list[bytes] = msgspec.field(default_factory=list)
    received_at: list[int] = msgspec.field(default_factory=list)
    klines: list[tuple[KlineMessage, bytes, int]] = msgspec.field(default_factory=list)
    other: list[Other] = msgspec.field(default_factory=list)
    rejected: list[Rejected] = msgspec.field(default_factory=list)


_decode = msgspec.json.Decoder(StreamMessage).decode
_decode_historical = msgspec.json.Decoder(HistoricalTrade).decode
_decode_aggregate = msgspec.json.Decoder(AggregateTrade).decode


def decode_stream(batch: Batch) -> Messages:
    """Sort the frames of a WebSocket. The fast path holds when each of them is a trade or a kline, as almost always."""
    if batch.binary:
        return _sort(batch)
    try:
        decoded = [_decode(frame).data for frame in batch.frames]
    except UNREADABLE:
        return _sort(batch)
    is_trade = [type(message) is TradeMessage for message in decoded]
    if all(is_trade):
        return Messages(decoded, batch.frames, batch.received_at)  # type: ignore[arg-type]  # just seen
    return _part(decoded, is_trade, batch)


def _part(decoded: list[TradeMessage | KlineMessage], is_trade: list[bool], batch: Batch) -> Messages:
    others = [place for place, trade in enumerate(is_trade) if not trade]
    return Messages(
        trades=list(compress(decoded, is_trade)),  # type: ignore[arg-type]  # that is what it selects
        payloads=list(compress(batch.frames, is_trade)),
        received_at=list(compress(batch.received_at, is_trade)),
        klines=[(decoded[place], batch.frames[place], batch.received_at[place]) for place in others],  # type: ignore[misc]  # the rest
    )


def decode_rest(batch: Batch) -> tuple[list[tuple[Trade, bytes]], list[Rejected]]:
    """Read the rows of a REST answer about trades; return (trade, its bytes) and what is refused."""
    decode = _decode_aggregate if batch.shape == "aggTrades" else _decode_historical
    trades, rejected = [], []
    for row, received_at in zip(batch.frames, batch.received_at, strict=True):
        try:
            trades.append((decode(row).to_trade(batch.symbol, received_at), row))
        except (*UNREADABLE, ValueError) as error:
            rejected.append(Rejected(TRADES_TOPIC, _reason(error), row, received_at))
    return trades, rejected


def reject(error: Exception, payload: bytes, received_at: int, topic: str = TRADES_TOPIC) -> Rejected:
    """Return the refusal of a message that could be read but cannot be true."""
    return Rejected(topic, _reason(error), payload, received_at)


def _sort(batch: Batch) -> Messages:
    messages = Messages()
    binary = set(batch.binary)
    for place, (frame, received_at) in enumerate(zip(batch.frames, batch.received_at, strict=True)):
        if place in binary:
            messages.rejected.append(Rejected(TRADES_TOPIC, "a binary message", frame, received_at))
            continue
        try:
            message = _decode(frame).data
        except UNREADABLE as error:
            _sort_unusual(frame, received_at, error, messages)
            continue
        if isinstance(message, TradeMessage):
            messages.trades.append(message)
            messages.payloads.append(frame)
            messages.received_at.append(received_at)
        else:
            messages.klines.append((message, frame, received_at))
    return messages


def _sort_unusual(frame: bytes, received_at: int, error: Exception, messages: Messages) -> None:
    event = _event_type(frame)
    if event is None or event in {"trade", "kline"}:
        topic = KLINES_TOPIC if event == "kline" else TRADES_TOPIC
        messages.rejected.append(Rejected(topic, _reason(error), frame, received_at))
    else:
        messages.other.append(Other(event, frame, received_at))


def _event_type(frame: bytes) -> str | None:
    """Return the event type of a message of another kind, "" of a reply, None when it is no message at all."""
    try:
        message = msgspec.json.decode(frame)
    except UNREADABLE:
        return None
    if not isinstance(message, dict):
        return None
    inner = message.get("data", message)
    if isinstance(inner, dict) and isinstance(inner.get("e"), str):
        return str(inner["e"])[:64]
    return "" if not message.keys().isdisjoint(_REPLY_KEYS) and "data" not in message else None


_REPLY_KEYS = frozenset({"result", "error", "id", "code"})


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (str(error) or type(error).__name__)[:200]


def concatenate(parts: Sequence[Messages]) -> Messages:
    """Return the messages of several batches as one, in order."""
    if len(parts) == 1:
        return parts[0]
    whole = Messages()
    for part in parts:
        whole.trades += part.trades
        whole.payloads += part.payloads
        whole.received_at += part.received_at
        whole.klines += part.klines
        whole.other += part.other
        whole.rejected += part.rejected
    return whole
