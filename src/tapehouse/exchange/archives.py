"""Daily archives in the layout of data.binance.vision: zipped CSV in microseconds, each with its `.CHECKSUM`."""

import hashlib
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO

import polars as pl
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from tapehouse.exchange.market_view import MarketView
from tapehouse.exchange.messages import aggregated, decimal_text, notional_text
from tapehouse.exchange.rows import kline_row
from tapehouse.market.windows import DAY, INTERVALS, SECOND

_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9]+)-(?P<kind>[A-Za-z0-9]+)-(?P<day>\d{4}-\d{2}-\d{2})\.zip(?P<checksum>\.CHECKSUM)?", re.ASCII
)
_ROWS_AT_ONCE = 100_000
_KEPT = 64
_MICROSECONDS_SINCE = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * SECOND


class Archives(AbstractContextManager["Archives"]):
    """Makes the archive of a day that is over when it is first asked for, and keeps the last few on disk."""

    def __init__(self, market: MarketView) -> None:
        self._market = market
        self._folder = tempfile.TemporaryDirectory(prefix="tapehouse-archives-")
        self._lock = Lock()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def routes(self) -> list[Route]:
        """Return the routes of trades, aggregates and klines."""
        base = "/data/spot/daily"
        return [
            Route(f"{base}/trades/{{symbol}}/{{name}}", self._answer, methods=["GET", "HEAD"]),
            Route(f"{base}/aggTrades/{{symbol}}/{{name}}", self._answer, methods=["GET", "HEAD"]),
            Route(f"{base}/klines/{{symbol}}/{{interval}}/{{name}}", self._answer, methods=["GET", "HEAD"]),
        ]

    async def _answer(self, request: Request) -> Response:
        path = await run_in_threadpool(self._path, request.url.path.split("/")[4], dict(request.path_params))
        if path is None:
            return PlainTextResponse("<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
        return FileResponse(path)

    def _path(self, folder: str, asked: dict[str, str]) -> Path | None:
        """Return the file asked for, None when there is none (yet)."""
        match = _NAME.fullmatch(asked["name"])
        if not match or match["symbol"] != asked["symbol"] or match["symbol"] not in self._market.tape.pairs:
            return None
        if match["kind"] != asked.get("interval", folder) or (folder == "klines" and match["kind"] not in INTERVALS):
            return None
        start = _start_of(match["day"])
        if start is None or start + DAY > self._market.now() or start + DAY <= self._market.tape.starts_at:
            return None
        with self._lock:
            archive = self._made(folder, match["symbol"], match["kind"], match["day"], start)
        return archive.with_name(archive.name + ".CHECKSUM") if match["checksum"] else archive

    def _made(self, folder: str, symbol: str, kind: str, day: str, start: int) -> Path:
        archive = Path(self._folder.name) / folder / f"{symbol}-{kind}-{day}.zip"
        if archive.exists():
            return archive
        archive.parent.mkdir(exist_ok=True)
        self._forget_oldest()
        divisor = 1 if start >= _MICROSECONDS_SINCE else 1000
        unfinished = archive.with_suffix(".part")
        inside = zipfile.ZipInfo(f"{symbol}-{kind}-{day}.csv", date_time=(1980, 1, 1, 0, 0, 0))
        inside.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(unfinished, "w") as bundle, bundle.open(inside, "w", force_zip64=True) as member:
            self._write(member, folder, symbol, kind, start, divisor)
        with unfinished.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
        archive.with_name(archive.name + ".CHECKSUM").write_text(f"{digest}  {archive.name}\n")
        return unfinished.rename(archive)

    def _forget_oldest(self) -> None:
        made = sorted(Path(self._folder.name).glob("*/*.zip"), key=lambda path: path.stat().st_mtime)
        for archive in made[: max(len(made) - _KEPT + 1, 0)]:
            archive.unlink()
            archive.with_name(archive.name + ".CHECKSUM").unlink()

    def _write(self, member: IO[bytes], folder: str, symbol: str, kind: str, start: int, divisor: int) -> None:
        if folder == "klines":
            for row in self._kline_rows(symbol, kind, start, divisor):
                member.write(",".join(map(str, row)).encode() + b"\n")
            return
        columns = _trade_columns if folder == "trades" else _aggregate_columns
        for rows in self._days_trades(symbol, start):
            text = columns(rows, divisor).write_csv(include_header=False, quote_style="never")
            member.write(text.encode())

    def _kline_rows(self, symbol: str, interval: str, start: int, divisor: int) -> Iterator[list[object]]:
        windows = self._market.windows(symbol, interval, start, start + DAY - 1)
        return (kline_row(window, interval, divisor) for window in windows)

    def _days_trades(self, symbol: str, start: int) -> Iterator[pl.DataFrame]:
        """Yield the trades of a day in pieces that never part an aggregate."""
        tape = self._market.tape
        first, last = tape.id_at(symbol, start), tape.id_at(symbol, start + DAY) - 1
        while first <= last:
            rows = tape.trades(symbol, first, min(first + _ROWS_AT_ONCE - 1, last))
            if not rows.height:
                return
            if int(rows["last_trade_id"].item(-1)) < last:
                rows = rows.filter(pl.col("aggregate_id") != pl.col("aggregate_id").last())
            first = int(rows["last_trade_id"].item(-1)) + 1
            yield rows


def _start_of(day: str) -> int | None:
    try:
        return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * SECOND
    except ValueError:
        return None


def _trade_columns(rows: pl.DataFrame, divisor: int) -> pl.DataFrame:
    worth = pl.col("price").cast(pl.Int128) * pl.col("quantity").cast(pl.Int128)
    return rows.filter(pl.col("first_trade_id") == pl.col("last_trade_id")).select(
        "first_trade_id",
        decimal_text("price").alias("price"),
        decimal_text("quantity").alias("quantity"),
        worth.map_elements(notional_text, return_dtype=pl.String).alias("worth"),
        pl.col("traded_at") // divisor,
        _python_bool("buyer_is_maker"),
        pl.lit("True").alias("best"),
    )


def _aggregate_columns(rows: pl.DataFrame, divisor: int) -> pl.DataFrame:
    return aggregated(rows).select(
        "aggregate_id",
        decimal_text("price").alias("price"),
        decimal_text("quantity").alias("quantity"),
        "first_trade_id",
        "last_trade_id",
        pl.col("traded_at") // divisor,
        _python_bool("buyer_is_maker"),
        pl.lit("True").alias("best"),
    )


def _python_bool(column: str) -> pl.Expr:
    return pl.when(pl.col(column)).then(pl.lit("True")).otherwise(pl.lit("False")).alias(column)
