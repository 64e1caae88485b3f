"""Many stream trades at once, as columns: the fast path of the fold. It decides as `TradeMessage.to_trade` does."""

from collections.abc import Sequence

import polars as pl

from tapehouse.catalog import PRICE, TABLES, TIME, TRADES
from tapehouse.market.events import Rejected
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.ports import Batch
from tapehouse.producers.binance.bounds import can_be_true
from tapehouse.producers.binance.decode import Messages, concatenate, decode_stream, reject
from tapehouse.producers.binance.plain import read_plain
from tapehouse.producers.binance.wire import EARLIEST, LATEST, MICROSECONDS_FROM

TRADE_COLUMNS = {
    name: pl.Int64() if kind == TIME else kind
    for name, kind in TABLES[TRADES].schema.items()
    if name not in ("venue", "date")
}
"""Accepted trades on their way to bronze: exact decimals, times in microseconds."""


def stream_columns(messages: Messages) -> tuple[pl.DataFrame, list[Rejected]]:
    """Return the trades of stream messages with the columns TRADE_COLUMNS, and those that cannot be true.

    Raises OverflowError when a number does not fit 64 bits (the slow path then says which).
    """
    frame = _exactly(_read(messages))
    good = frame.select(_can_be_true()).to_series()
    rejected = [] if good.all() else list(_refusals(messages, good))
    return _trades(frame.filter(good) if rejected else frame), rejected


def read_stream(batches: Sequence[Batch]) -> tuple[pl.DataFrame, Messages]:
    """Return the trades in the exchange's very form as columns, and what else the frames of the stream tell.

    All of it comes as messages where a trade is written otherwise or cannot be true, or a message is binary: the order
    in which trades came decides about them, so that all of a read go one way.
    """
    if not any(batch.binary for batch in batches):
        frames = [frame for batch in batches for frame in batch.frames]
        received_at = [time for batch in batches for time in batch.received_at]
        columns, is_plain = plain_columns(pl.Series(frames, dtype=pl.Binary), pl.Series(received_at, dtype=pl.Int64))
        rest = (~is_plain).arg_true().to_list()
        messages = decode_stream(Batch([frames[place] for place in rest], [received_at[place] for place in rest]))
        if not (columns.height and messages.trades):
            return columns, messages
    return pl.DataFrame(schema=TRADE_COLUMNS), concatenate([decode_stream(batch) for batch in batches])


def plain_columns(payload: pl.Series, received_at: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
    """Return the trades of the frames in the exchange's very form, and which frames those are (`read_plain`).

    No trade at all where one of them cannot be true: the other way says which and why.
    """
    told = read_plain(payload, received_at)
    is_plain = told["symbol"].is_not_null()
    frame = _exactly(told if is_plain.all() else told.filter(is_plain))
    if frame.select(_can_be_true().all()).item():
        return _trades(frame), is_plain
    return pl.DataFrame(schema=TRADE_COLUMNS), pl.repeat(value=False, n=len(payload), eager=True)


def _exactly(told: pl.DataFrame) -> pl.DataFrame:
    return told.with_columns(
        price=_exact("price_text"),
        quantity=_exact("quantity_text"),
        traded_at=_microseconds("traded_at"),
        event_at=_microseconds("event_at"),
    )


def _trades(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        "symbol",
        "first_trade_id",
        pl.col("first_trade_id").alias("last_trade_id"),
        "price",
        "quantity",
        pl.when("buyer_is_maker").then(pl.lit("sell")).otherwise(pl.lit("buy")).alias("taker_side"),
        "traded_at",
        "event_at",
        "received_at",
        pl.lit("stream").alias("source"),
        "payload",
    )


def _read(messages: Messages) -> pl.DataFrame:
    try:
        return pl.DataFrame(_series(messages))
    except TypeError as error:  # the types were checked as they were decoded: what Polars refuses is too wide
        raise OverflowError("a number that does not fit 64 bits") from error


def _series(messages: Messages) -> list[pl.Series]:
    trades = messages.trades
    return [
        pl.Series("symbol", [trade.s for trade in trades], pl.String),
        pl.Series("first_trade_id", [trade.t for trade in trades], pl.Int64),
        pl.Series("price_text", [trade.p for trade in trades], pl.String),
        pl.Series("quantity_text", [trade.q for trade in trades], pl.String),
        pl.Series("buyer_is_maker", [trade.m for trade in trades], pl.Boolean),
        pl.Series("traded_at", [trade.T for trade in trades], pl.Int64),
        pl.Series("event_at", [trade.E for trade in trades], pl.Int64),
        pl.Series("received_at", messages.received_at, pl.Int64),
        pl.Series("payload", messages.payloads, pl.Binary),
    ]


def _exact(column: str) -> pl.Expr:
    return pl.col(column).cast(PRICE, strict=False)


def _microseconds(column: str) -> pl.Expr:
    time = pl.col(column).clip(lower_bound=0)  # far below zero, the product would wrap round to a time that may be
    return pl.when(time < MICROSECONDS_FROM).then(time * 1000).otherwise(time)


def _can_be_true() -> pl.Expr:
    traded, event = pl.col("traded_at"), pl.col("event_at")
    told_in_time = event.is_between(EARLIEST, LATEST - 1) & ((event - traded).abs() <= DAY)
    return can_be_true(pl.col("received_at")) & told_in_time.fill_null(value=False)


def _refusals(messages: Messages, good: pl.Series) -> Sequence[Rejected]:
    refused = []
    for place in (~good).arg_true().to_list():
        payload, received_at = messages.payloads[place], messages.received_at[place]
        try:
            messages.trades[place].to_trade(received_at)
        except ValueError as error:
            refused.append(reject(error, payload, received_at))
        else:
            raise AssertionError(f"the two paths disagree about {payload!r}")
    return refused


def minute_of(traded_at: pl.Expr | None = None) -> pl.Expr:
    """Return the opening (microseconds) of the 1m window a trade belongs to."""
    time = pl.col("traded_at") if traded_at is None else traded_at
    return time - time % MINUTE
