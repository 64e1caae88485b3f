"""Records of the tape as Spark reads them: Arrow columns in its Python workers, batches on the driver."""

from collections.abc import Iterator

import polars as pl
import pyarrow as pa
from pyspark.sql import DataFrame, functions as sql

from tapehouse.catalog import TRADES_TOPIC
from tapehouse.market.events import Rejected
from tapehouse.ports import Batch
from tapehouse.producers.binance.decode import Messages, decode_stream
from tapehouse.streaming.columns import plain_columns, stream_columns
from tapehouse.tape.codec import LATEST, Record, headers_of, to_batches

_HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
_RECORD = (("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("timestamp", pa.int64()))
RAW = pa.schema([*_RECORD, ("headers", _HEADERS), ("payload", pa.binary()), ("received_at", pa.int64())])
"""A record, `timestamp` being Kafka's own (milliseconds); of a decoded one `received_at` (microseconds), no headers."""
RAW_DDL = (
    "topic string, partition int, offset long, timestamp long, headers array<struct<key:string,value:binary>>, "
    "payload binary, received_at long"
)
"""The same for Spark."""


def records_of(source: DataFrame) -> DataFrame:
    """Return the columns of Kafka's records that are read here."""
    times = sql.unix_millis("timestamp").alias("timestamp")
    return source.select("topic", "partition", "offset", times, "headers", sql.col("value").alias("payload"))


def decode(records: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the trades of the stream among records, as columns beside where they stood, and the other records."""
    framed = records.select(_is_framed()).to_series()
    taken, rest = records.filter(framed), records.filter(~framed)
    received_at = taken.select(_received_at()).to_series()
    columns, is_plain = plain_columns(taken["payload"], received_at)
    trades = taken.filter(is_plain).drop("headers", "payload").hstack(columns)
    more, others = _decode_by_json(taken.filter(~is_plain), received_at.filter(~is_plain))
    return pl.concat([trades, more]), pl.concat([others, rest])


def _decode_by_json(taken: pl.DataFrame, received_at: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    frames = taken["payload"].to_list()
    messages = decode_stream(Batch(frames, received_at.to_list()))
    columns, refused = _columns(messages)
    accepted = {id(payload) for payload in messages.payloads} - {id(each.payload) for each in refused}
    is_trade = pl.Series([id(frame) in accepted for frame in frames], dtype=pl.Boolean)
    return taken.filter(is_trade).drop("headers", "payload").hstack(columns), taken.filter(~is_trade)


def batches_of(collected: pa.Table) -> list[Batch]:
    """Return collected records, decoded or not, as batches in the order of the tape."""
    in_order = collected.sort_by([(name, "ascending") for name in ("topic", "partition", "offset")])
    return to_batches(_records(in_order))


def received_to(collected: pa.Table) -> int:
    """Return the time (microseconds) up to which every partition of trades among these records was read, 0 without."""
    records = pl.DataFrame(pl.from_arrow(collected)).filter(pl.col("topic") == TRADES_TOPIC)
    received_at = pl.coalesce(_received_at(), pl.col("timestamp") * 1000)
    newest = records.group_by("partition").agg(received_at.max().alias("received_at"))
    return int(newest["received_at"].min() or 0)  # type: ignore[arg-type]  # a column of integers


def _columns(messages: Messages) -> tuple[pl.DataFrame, list[Rejected]]:
    """Return the trades; where one of them has a number that fits no column, none: the driver says which."""
    try:
        return stream_columns(messages)
    except OverflowError:
        columns, _ = stream_columns(Messages())
        return columns, [Rejected("", "", payload, 0) for payload in messages.payloads]


def _is_framed() -> pl.Expr:
    """Tell which records are frames of the stream about trades with no more than a time said of them."""
    first, second = (pl.col("headers").list.get(place, null_on_oob=True) for place in (0, 1))
    return pl.all_horizontal(
        pl.col("topic") == TRADES_TOPIC,
        pl.col("payload").is_not_null(),
        pl.col("headers").list.len() == 2,
        first.struct.field("key") == "shape",
        first.struct.field("value") == b"stream",
        second.struct.field("key") == "received_at",
        _received_at().is_between(0, LATEST - 1),
    ).fill_null(value=False)


def _received_at() -> pl.Expr:
    told = pl.col("headers").list.get(1, null_on_oob=True).struct.field("value")
    is_number = told.bin.encode("hex").str.contains(r"^(?:3[0-9]){1,16}$")
    number = pl.when(is_number).then(told).otherwise(pl.lit(b""))  # one that is no UTF-8 would make the cast fail
    return number.cast(pl.String).cast(pl.Int64, strict=False)


def _records(collected: pa.Table) -> Iterator[Record]:
    """Give collected rows back as records; a decoded trade has the headers it came with."""
    rows = collected.select(["payload", "timestamp", "headers"]).to_pydict()
    told = collected["received_at"].to_pylist() if "received_at" in collected.column_names else [None] * len(collected)
    for payload, timestamp, headers, received_at in zip(
        rows["payload"], rows["timestamp"], rows["headers"], told, strict=True
    ):
        if received_at is not None:
            yield Record(payload, headers_of("stream", received_at), timestamp)
        else:
            yield Record(payload, [(header["key"], header["value"]) for header in headers or ()], timestamp)
