"""The archives of data.binance.vision: one zip of CSV a symbol and day, with its sha256 beside it.

Lines of `SYMBOL-trades-DAY.csv`: id, price, quantity, quote quantity, time, buyer is maker, best match; the time is in
microseconds from 2025-01-01, in milliseconds before.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import httpx
import polars as pl

from tapehouse.catalog import PRICE
from tapehouse.errors import UpstreamError
from tapehouse.producers.binance.bounds import can_be_true
from tapehouse.producers.binance.wire import MICROSECONDS_FROM

LARGEST_ARCHIVE = 4 * 1024**3
"""Bytes of a zip at most; the busiest day of BTCUSDT is some 150 MB."""
PIECE = 8 * 1024**2
"""Bytes of CSV that are read at once."""
COLUMNS = ("trade_id", "price", "quantity", "quote_quantity", "time", "buyer_is_maker", "best_match")
TIMEOUT = httpx.Timeout(30.0)
_UNREADABLE = (zipfile.BadZipFile, zlib.error, IndexError, OSError, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises of a file that is damaged, empty, cut, packed in an unknown way, or locked by a password."""


def archive_url(base: str, symbol: str, day: date) -> str:
    """Return the address of a day's trades."""
    return f"{base.rstrip('/')}/data/spot/daily/trades/{symbol}/{symbol}-trades-{day.isoformat()}.zip"


def download(url: str, target: Path, tell: Callable[[int, int], None]) -> bool:
    """Bring an archive and prove it by its checksum; False when there is none (yet).

    `tell` is called with the bytes that came and the bytes there are (0 when not said). Raise UpstreamError when it
    cannot be had, or is not what its checksum says.
    """
    try:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True, max_redirects=3) as client:
            told = client.get(f"{url}.CHECKSUM")
            if told.status_code == httpx.codes.NOT_FOUND:
                return False
            told.raise_for_status()
            found = _fetch(client, url, target, tell)
    except httpx.HTTPError as error:
        raise UpstreamError(f"{url} cannot be had: {error or type(error).__name__}") from error
    expected = told.text.split()[0].lower() if told.text.split() else ""
    if found != expected:
        target.unlink()
        raise UpstreamError(f"{url} is damaged: its sha256 is {found}, its checksum file says {expected or 'nothing'}")
    return True


def _fetch(client: httpx.Client, url: str, target: Path, tell: Callable[[int, int], None]) -> str:
    digest, came = hashlib.sha256(), 0
    with client.stream("GET", url) as answer, target.open("wb") as file:
        answer.raise_for_status()
        there_are = int(answer.headers.get("content-length", 0))
        for chunk in answer.iter_bytes(1024**2):
            came += len(chunk)
            if came > LARGEST_ARCHIVE:
                raise UpstreamError(f"{url} is larger than {LARGEST_ARCHIVE} bytes")
            digest.update(chunk)
            file.write(chunk)
            tell(came, there_are)
    return digest.hexdigest()


def read_trades(path: Path, symbol: str, received_at: int) -> Iterator[tuple[pl.DataFrame, list[bytes]]]:
    """Yield the trades of an archive in pieces, as (columns, lines that cannot be true).

    The columns are those of accepted trades: symbol, first_trade_id, last_trade_id, price, quantity, taker_side,
    traded_at, event_at, received_at, source, payload (the line). Raise UpstreamError when it is no such archive.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
            rest = b""
            while piece := file.read(PIECE):
                whole, _, rest = (rest + piece).rpartition(b"\n")
                yield _columns(whole, symbol, received_at)
            yield _columns(rest, symbol, received_at)
    except _UNREADABLE as error:
        raise UpstreamError(f"{path.name} is not an archive of trades: {error}") from error


def _columns(text: bytes, symbol: str, received_at: int) -> tuple[pl.DataFrame, list[bytes]]:
    lines = [line for line in text.replace(b"\r", b"").split(b"\n") if line and not line.startswith(b"id,")]
    texts = pl.Series("line", [line.decode("ascii", "replace") for line in lines], pl.String)
    fields = texts.str.split_exact(",", len(COLUMNS) - 1)
    frame = pl.DataFrame({"payload": pl.Series(lines, dtype=pl.Binary)}).with_columns(
        fields.struct.rename_fields(list(COLUMNS)).struct.unnest()
    )
    time = pl.col("time").cast(pl.Int64, strict=False)
    read = frame.with_columns(
        first_trade_id=pl.col("trade_id").cast(pl.Int64, strict=False),
        price_text=pl.col("price"),
        quantity_text=pl.col("quantity"),
        price=pl.col("price").cast(PRICE, strict=False),
        quantity=pl.col("quantity").cast(PRICE, strict=False),
        traded_at=pl.when(time < MICROSECONDS_FROM).then(time * 1000).otherwise(time),
        maker=pl.col("buyer_is_maker").str.to_lowercase(),
    )
    told_side = pl.col("maker").is_in(["true", "false"]).fill_null(value=False)
    good = read.select(can_be_true(pl.lit(received_at)) & told_side).to_series()
    columns = read.filter(good).select(
        pl.lit(symbol).alias("symbol"),
        "first_trade_id",
        pl.col("first_trade_id").alias("last_trade_id"),
        "price",
        "quantity",
        pl.when(pl.col("maker") == "true").then(pl.lit("sell")).otherwise(pl.lit("buy")).alias("taker_side"),
        "traded_at",
        pl.lit(None, pl.Int64).alias("event_at"),
        pl.lit(received_at, pl.Int64).alias("received_at"),
        pl.lit("archive").alias("source"),
        "payload",
    )
    return columns, read.filter(~good)["payload"].to_list()
