"""The oracle: candles against the exchange's klines, column by column; a difference is looked into before it counts."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import polars as pl
import structlog

from tapehouse.catalog import CANDLES, KLINES, TRADES
from tapehouse.errors import UpstreamError
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import Candle
from tapehouse.market.events import Kline, Trade
from tapehouse.market.fixed_point import to_decimal
from tapehouse.market.ledger import Check
from tapehouse.market.proof import CLOSED, QUIET, differences
from tapehouse.market.windows import MINUTE, closes_at
from tapehouse.ports import Batch, Hole, Lake, Tape
from tapehouse.producers.binance.wire import rest_kline
from tapehouse.streaming.comparisons import dates_between
from tapehouse.streaming.fold import Fold
from tapehouse.streaming.ledgers import Ledgers
from tapehouse.streaming.recovery import fold_bronze
from tapehouse.streaming.rows import CANDLE_SCALES, Row, candle_rows, klines_of, to_time

log = structlog.get_logger(__name__)


class Oracle(Protocol):
    """Who can tell the exchange's klines."""

    async def klines(self, symbol: str, start: int, end: int) -> list[bytes]:
        """Return the 1m klines that open in [start, end) (microseconds), as rows of the REST answer."""


class Witness(Oracle, Protocol):
    """An oracle that tells trades as well."""

    async def repair(self, hole: Hole, tape: Tape) -> bool | None:
        """Put the trades of a range of ids on a tape; True when these are all of them."""


class Finding(msgspec.Struct, frozen=True):
    """What looking into a candle that differs came to; `status` says who was alone.

    `rows` are to be recorded, one a column; `corrected` is what the candle must be, None where it is to stay.
    """

    check: Check
    status: str
    rows: Sequence[Row]
    corrected: Candle | None = None


class Verification(msgspec.Struct, frozen=True):
    """What a comparison of a range came to; counts are 1m windows, and each of the range is in one of them."""

    symbol: str
    windows: int
    agreeing: int
    unproved: int
    without_kline: int
    differing: Sequence[Check]
    not_held: int = 0

    @property
    def compared(self) -> int:
        """How many windows were held against a kline."""
        return self.agreeing + len(self.differing)


def verify(lake: Lake, symbol: str, start: int, end: int, klines: Sequence[Kline] | None = None) -> Verification:
    """Compare the stored 1m candles that open in [start, end) with the stored klines, or with those given."""
    dates = dates_between(start, end)
    ours = _in_range(lake.scan(CANDLES, dates=dates), symbol, start, end)
    rows = {row.opened_at: row for row in candle_rows(highest_revisions(ours).collect())}
    if klines is None:
        klines = klines_of(_in_range(lake.scan(KLINES, dates=dates), symbol, start, end).collect())
    told = {kline.opened_at: kline for kline in klines}
    proved = {opened: row for opened, row in rows.items() if row.state in {CLOSED, QUIET}}
    checks = [
        Check(symbol, opened, differences(row.candle, row.flat, told[opened]))
        for opened, row in sorted(proved.items())
        if opened in told
    ]
    windows = len(range(-(-start // MINUTE) * MINUTE, end, MINUTE))
    return Verification(
        symbol=symbol,
        windows=windows,
        agreeing=sum(1 for check in checks if not check.differences),
        unproved=len(rows.keys() - proved.keys()),
        without_kline=len(proved.keys() - told.keys()),
        differing=[check for check in checks if check.differences],
        not_held=windows - len(rows),
    )


async def klines_between(lake: Lake, oracle: Oracle, symbol: str, start: int, end: int) -> list[Kline]:
    """Return the exchange's 1m klines of [start, end): the stored ones, and over REST those that are not stored.

    Raise UpstreamError when some are not stored and the exchange does not answer.
    """
    stored = klines_of(_in_range(lake.scan(KLINES, dates=dates_between(start, end)), symbol, start, end).collect())
    known = {kline.opened_at: kline for kline in stored}
    rows = _in_range(lake.scan(CANDLES, dates=dates_between(start, end)), symbol, start, end)
    opened = rows.select(pl.col("opened_at").to_physical().unique().sort()).collect()["opened_at"]
    lacking = [at for at in opened if at not in known]
    if lacking:
        for kline in await _told(oracle, symbol, lacking[0], lacking[-1] + MINUTE):
            known.setdefault(kline.opened_at, kline)
    return [kline for _, kline in sorted(known.items())]


async def look_into(check: Check, lake: Lake, witness: Witness, known_at: int) -> Finding:
    """Derive a differing candle again, from bronze and over REST; return what is to be done about it.

    `status` says who was alone: `recomputed` when bronze gives the exchange's numbers, which the candle is then
    corrected to, `kline_corrected` when the exchange's REST kline gives ours, `trades_differ` when its trades over REST
    give its numbers, so that those stored are wrong, and `stays` when the two versions remain.
    """
    told = {column: theirs for column, _, theirs in check.differences}
    computed = await asyncio.to_thread(bronze_candle, lake, check.symbol, check.opened_at)
    if _gives(computed, told):
        status = "recomputed"
    elif await _told_otherwise(check, computed, witness):
        status = "kline_corrected"
    elif _gives(await _candle_over_rest(check, computed, witness), told):
        status = "trades_differ"
    else:
        status = "stays"
    log.warning("candle_differs", symbol=check.symbol, opened_at=to_time(check.opened_at).isoformat(), status=status)
    corrected = computed if status == "recomputed" else None
    return Finding(check, status, discrepancies(check, status, known_at), corrected)


def _gives(candle: Candle | None, told: Mapping[str, int | None]) -> bool:
    return candle is not None and all(getattr(candle, column) == theirs for column, theirs in told.items())


async def _told_otherwise(check: Check, computed: Candle | None, oracle: Oracle) -> bool:
    """Tell whether the exchange's kline, asked for again, gives our numbers."""
    now_told = await _told(oracle, check.symbol, check.opened_at, closes_at(check.opened_at, "1m"))
    flat = {column: ours for column, ours, _ in check.differences}.get("close")
    return any(not differences(computed, kline.close if flat is None else flat, kline) for kline in now_told)


class _Gathered:
    """A tape that keeps what is put on it."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def append(self, batch: Batch) -> None:
        self.batches.append(batch)


async def _candle_over_rest(check: Check, computed: Candle | None, witness: Witness) -> Candle | None:
    """Fold the trades that the exchange tells now of a window, by its ids as we and it know them.

    None when they are not known, or when it does not tell all of them.
    """
    told = {column: theirs for column, _, theirs in check.differences}
    firsts = [computed.first_trade_id if computed else None, told.get("first_trade_id")]
    lasts = [computed.last_trade_id if computed else None, told.get("last_trade_id")]
    ids = [known for known in (*firsts, *lasts) if known is not None and known >= 0]
    if not ids:
        return None
    gathered, end = _Gathered(), closes_at(check.opened_at, "1m")
    if not await witness.repair(Hole(check.symbol, min(ids), max(ids), check.opened_at, end), gathered):
        return None
    ledgers = Ledgers([check.symbol])
    Fold(ledgers, lambda *_: 0, lambda *_: None).take(gathered.batches)
    return ledgers[check.symbol].summary("1m", check.opened_at)


async def _told(oracle: Oracle, symbol: str, start: int, end: int) -> list[Kline]:
    try:
        return [rest_kline(symbol, "1m", row, 0) for row in await oracle.klines(symbol, start, end)]
    except ValueError as error:
        raise UpstreamError(f"the exchange's klines of {symbol} cannot be read: {error}") from error


def bronze_candle(lake: Lake, symbol: str, opened: int) -> Candle | None:
    """Fold the stored trades of one 1m window, None when there are none."""
    chosen = (pl.col("symbol") == symbol) & pl.col("traded_at").is_between(
        to_time(opened), to_time(closes_at(opened, "1m")), closed="left"
    )
    trades = lake.scan(TRADES, dates=[to_time(opened).date().isoformat()]).select(Trade.__struct_fields__)
    return fold_bronze(trades.filter(chosen)).get((symbol, opened))


def discrepancies(check: Check, status: str, known_at: int) -> list[Row]:
    """Return rows of silver/discrepancies, one a column, with both versions."""
    opened = to_time(check.opened_at)
    return [
        {
            "symbol": check.symbol,
            "interval": "1m",
            "opened_at": opened,
            "column": column,
            "ours": shown(column, ours),
            "theirs": shown(column, theirs),
            "status": status,
            "known_at": to_time(known_at),
            "date": opened.date(),
        }
        for column, ours, theirs in check.differences
    ]


def shown(column: str, units: int | None) -> str:
    """Return a column's value as people write it."""
    if units is None:
        return ""
    scale = CANDLE_SCALES.get(column)
    return str(units) if scale is None else f"{to_decimal(units, scale):f}".rstrip("0").rstrip(".")


def _in_range(frame: pl.LazyFrame, symbol: str, start: int, end: int) -> pl.LazyFrame:
    within = pl.col("opened_at").is_between(to_time(start), to_time(end), closed="left")
    return frame.filter(pl.col("symbol") == symbol, pl.col("interval") == "1m", within)
