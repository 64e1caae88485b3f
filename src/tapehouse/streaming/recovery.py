"""The normal start: what the lake holds becomes the ledgers again, whatever ended the last run (crash-only).

`silver/coverage` is written a few seconds behind bronze, so the trades received since its last row are read again and
their windows are computed anew; a candle that was written already comes out equal and is not written twice.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES, COVERAGE, KLINES, TRADES
from tapehouse.lake.history import highest_revisions
from tapehouse.market.candles import Candle, as_candles, reduce_frame, to_candles
from tapehouse.market.coverage import Ranges, overlay
from tapehouse.market.events import Kline, Trade
from tapehouse.market.ledger import LONGEST_EMPTY_RUN, CandleRow, Check, Ledger
from tapehouse.market.mentions import CoinFinder
from tapehouse.market.signals import Detection
from tapehouse.market.windows import DAY, INTERVALS, MINUTE, SECOND, closes_at, kept_from, opened_at
from tapehouse.ports import Hole, Lake
from tapehouse.streaming.columns import minute_of
from tapehouse.streaming.comparisons import left_over
from tapehouse.streaming.context import Context, recall_context
from tapehouse.streaming.ledgers import Ledgers
from tapehouse.streaming.rows import candle_rows, klines_of, to_time
from tapehouse.streaming.signals import Signals
from tapehouse.streaming.view import to_trades

MARGIN = 60 * SECOND
"""How far back before the last coverage row trades are read again: more than arrivals are out of order on the tape."""
DAYS_SEARCHED = 31
"""How many UTC days back the last candle of a symbol is looked for day by day; further back, all are read at once."""


class Recovered(msgspec.Struct):
    """What the platform knew when it ended: a ledger a symbol, the last trade of each, the holes, the newest time."""

    ledgers: Ledgers
    last: dict[str, Trade]
    holes: list[Hole]
    known_at: int
    unsaid: list[tuple[str, int, int]]
    """Ranges (symbol, first id, last id) that bronze holds and `silver/coverage` does not name yet."""
    context: Context
    covered_to: int
    """Time of receipt (microseconds) up to which `silver/coverage` names what bronze holds."""
    signals: Signals
    disputes: list[Check]
    """Candles that differ from the exchange's and that nobody has looked into yet."""


def recover(
    lake: Lake, wanted: Sequence[str], detection: Detection | None = None, pins: Mapping[str, str] | None = None
) -> Recovered:
    """Read the lake; return ledgers of the wanted symbols (or patterns) that go on where the last commit ended.

    `detection` is what is a signal; `pins` name the coins of tickers.
    """
    held, missing, known_at = read_coverage(lake)
    tail = _tail(lake, known_at - MARGIN)
    unsaid = _unsaid(tail, held)
    ledgers = Ledgers(wanted)
    for symbol, ranges in held.items():
        for first, last_id in ranges:
            _hold(ledgers, symbol, first, last_id)
    for symbol, first, last_id in unsaid:
        _hold(ledgers, symbol, first, last_id)
    for symbol, ranges in missing.items():
        if symbol in ledgers:
            ledgers[symbol].coverage.expect(ranges[-1][1])
    _recall_newest(lake, ledgers)
    _refold(lake, ledgers, tail)
    last = _last_trades(lake, ledgers, tail)
    holes = [hole for ledger in ledgers.values() for hole in _holes(lake, ledger, last)]
    times = [known_at, *_times(ledgers, tail)]
    signals = Signals(detection or Detection(), pins or {}, since=max(known_at - MARGIN, 0))
    signals.read_from(lake)
    context = recall_context(lake, CoinFinder(wanted, pins))
    disputes = _resume_comparing(lake, ledgers)
    return Recovered(ledgers, last, holes, max(times), unsaid, context, known_at, signals, disputes)


def _unsaid(tail: pl.DataFrame, held: dict[str, list[tuple[int, int]]]) -> list[tuple[str, int, int]]:
    covered = {symbol: Ranges(ranges) for symbol, ranges in held.items()}
    return [
        (symbol, *missing)
        for symbol, first, last in ranges_of(tail)
        for missing in covered.get(symbol, Ranges()).missing(first, last)
    ]


def _hold(ledgers: Ledgers, symbol: str, first: int, last: int) -> None:
    ledger = ledgers.admit(symbol)
    if ledger is not None:
        ledger.coverage.held.add(first, last)


def read_coverage(lake: Lake) -> tuple[dict[str, list[tuple[int, int]]], dict[str, list[tuple[int, int]]], int]:
    """Return the ranges held and missing by symbol, and the newest `known_at` (microseconds, 0 without any)."""
    rows = (
        lake.scan(COVERAGE)
        .sort("known_at", "status", descending=[False, True], maintain_order=True)
        .select("symbol", "first_trade_id", "last_trade_id", pl.col("status") == "held", "known_at")
        .collect()
    )
    held: dict[str, list[tuple[int, int]]] = {}
    missing: dict[str, list[tuple[int, int]]] = {}
    for (symbol,), group in rows.group_by("symbol"):
        ours, lacking = overlay(group.select("first_trade_id", "last_trade_id", "status").iter_rows())
        held[str(symbol)] = list(ours)
        if lacking:
            missing[str(symbol)] = list(lacking)
    newest = rows["known_at"].to_physical().max()
    return held, missing, int(newest) if isinstance(newest, int) else 0


def ranges_of(trades: pl.DataFrame) -> list[tuple[str, int, int]]:
    """Return the runs of consecutive ids in trades (in any order) as (symbol, first id, last id)."""
    runs = (
        trades.lazy()
        .select("symbol", "first_trade_id", "last_trade_id")
        .sort("symbol", "first_trade_id")
        .with_columns(
            follows=(pl.col("first_trade_id") <= pl.col("last_trade_id").shift(1) + 1)
            & (pl.col("symbol") == pl.col("symbol").shift(1))
        )
        .with_columns(run=(~pl.col("follows").fill_null(value=False)).cum_sum())
        .group_by("run", "symbol")
        .agg(pl.col("first_trade_id").min(), pl.col("last_trade_id").max())
        .select("symbol", "first_trade_id", "last_trade_id")
        .sort("symbol", "first_trade_id")
        .collect()
    )
    return list(runs.iter_rows())


def recall_days(
    lake: Lake, ledger: Ledger, time: int, pending: Iterable[CandleRow] = (), told: Iterable[Kline] = ()
) -> None:
    """Give a ledger back what is written of the UTC day of a time and of the days beside it.

    `pending` are candles, `told` klines that are still on their way to the lake.

    Where those hold no trades on one side of it, further days are recalled until some do: windows change up to the
    nearest trade.
    """
    pending = sorted((row for row in pending if row.symbol == ledger.symbol), key=lambda row: -row.revision)
    told = [kline for kline in told if kline.symbol == ledger.symbol and kline.interval == "1m"]
    first, last = opened_at(time, "1d") - DAY, opened_at(time, "1d") + DAY
    reach = range(time - LONGEST_EMPTY_RUN * MINUTE, min(time + LONGEST_EMPTY_RUN * MINUTE, ledger.horizon))
    _recall_between(lake, ledger, first, last, pending, told)
    while first > reach.start and not ledger.holds_between(first, opened_at(time, "1m")):
        first -= DAY
        _recall_between(lake, ledger, first, first, pending, told)
    while last + DAY < reach.stop and not ledger.holds_between(closes_at(opened_at(time, "1m"), "1m"), last + DAY):
        last += DAY
        _recall_between(lake, ledger, last, last, pending, told)


def _recall_between(
    lake: Lake, ledger: Ledger, first: int, last: int, pending: Iterable[CandleRow], told: Iterable[Kline]
) -> None:
    days = [day for day in range(first, last + DAY, DAY) if not ledger.has_recalled(day)]
    if not days:
        return
    names = [to_time(day).date().isoformat() for day in days]
    chosen = pl.col("symbol") == ledger.symbol
    rows = highest_revisions(lake.scan(CANDLES, dates=names).filter(chosen)).collect()
    klines = lake.scan(KLINES, dates=names).filter(chosen, pl.col("interval") == "1m").collect()
    ours = [row for row in pending if opened_at(row.opened_at, "1d") in days]
    on_their_way = [kline for kline in told if opened_at(kline.opened_at, "1d") in days]
    ledger.recall([*ours, *candle_rows(rows)], [*on_their_way, *klines_of(klines)], days)


def fold_bronze(trades: pl.LazyFrame) -> dict[tuple[str, int], Candle]:
    """Fold rows of bronze/trades into 1m candles by (symbol, opening)."""
    timed = trades.with_columns(pl.col("traded_at").to_physical()).with_columns(minute=minute_of())
    reduced = reduce_frame(as_candles(timed), ["symbol", "minute"]).collect()
    return dict(zip(reduced.select("symbol", "minute").iter_rows(), to_candles(reduced), strict=True))


def _tail(lake: Lake, received_from: int) -> pl.DataFrame:
    trades = lake.scan(TRADES).select(Trade.__struct_fields__)
    if received_from > 0:
        trades = trades.filter(pl.col("received_at") >= to_time(received_from))
    return trades.collect()


def _recall_newest(lake: Lake, ledgers: dict[str, Ledger]) -> None:
    """Recall the windows that can still change by themselves, and the last candle of each symbol."""
    newest = lake.scan(CANDLES).select(pl.col("date").max()).collect().item()
    wanted = {symbol for symbol, ledger in ledgers.items() if ledger.coverage.held}
    searched: list[date] = [newest - timedelta(days=back) for back in range(DAYS_SEARCHED)] if newest else []
    for dates in (searched[:2], *([day] for day in searched[2:])):
        if wanted:
            wanted -= _recall_dates(lake, ledgers, wanted, dates)
    for day, silent in _last_days(lake, wanted):
        _recall_dates(lake, ledgers, silent, [day, day - timedelta(days=1)])


def _last_days(lake: Lake, wanted: Collection[str]) -> list[tuple[date, list[str]]]:
    """Return the days of the last candles of symbols that fell silent long ago, each with its symbols."""
    if not wanted:
        return []
    traded = lake.scan(CANDLES).filter(
        pl.col("symbol").is_in(list(wanted)), pl.col("interval") == "1m", pl.col("trades") > 0
    )
    last = traded.group_by("symbol").agg(pl.col("date").max()).group_by("date").agg("symbol").sort("date")
    return list(last.collect().iter_rows())


def _recall_dates(lake: Lake, ledgers: dict[str, Ledger], wanted: Collection[str], dates: Sequence[date]) -> set[str]:
    names = [day.isoformat() for day in dates]
    chosen = pl.col("symbol").is_in(list(wanted))
    rows = highest_revisions(lake.scan(CANDLES, dates=names).filter(chosen)).collect()
    opened = pl.col("opened_at").to_physical()
    last_traded = rows.filter(pl.col("trades") > 0, pl.col("interval") == "1m").group_by("symbol").agg(opened.max())
    horizons = {symbol: at + MINUTE for symbol, at in last_traded.iter_rows()}
    kept = pl.DataFrame(
        [(symbol, name, kept_from(name, horizon)) for symbol, horizon in horizons.items() for name in INTERVALS],
        schema={"symbol": pl.String, "interval": pl.String, "kept_from": pl.Int64},
        orient="row",
    )
    last = last_traded.rename({"opened_at": "last_opened"})
    needed = (
        rows.join(kept, on=["symbol", "interval"], how="inner")
        .join(last, on="symbol", how="inner")
        .filter((opened >= pl.col("kept_from")) | ((pl.col("interval") == "1m") & (opened == pl.col("last_opened"))))
    )
    by_symbol: dict[str, list[CandleRow]] = defaultdict(list)
    for row in candle_rows(needed):
        by_symbol[row.symbol].append(row)
    klines: dict[str, list[Kline]] = defaultdict(list)
    told = lake.scan(KLINES, dates=names).filter(chosen, pl.col("interval") == "1m").collect()
    for kline in klines_of(told):
        if kline.opened_at >= kept_from("1m", horizons.get(kline.symbol, 0)):
            klines[kline.symbol].append(kline)
    for symbol, candles in by_symbol.items():
        ledgers[symbol].recall(candles, klines[symbol])
    return set(by_symbol)


def _refold(lake: Lake, ledgers: dict[str, Ledger], tail: pl.DataFrame) -> None:
    """Compute anew the windows that trades of the tail belong to, and those after the last one written."""
    timed = tail.with_columns(pl.col("traded_at").to_physical()).select("symbol", minute=minute_of()).unique()
    touched = timed.filter(pl.col("symbol").is_in(list(ledgers)))
    for (symbol,), rows in touched.group_by("symbol"):
        ledger = ledgers[str(symbol)]
        old = [minute for minute in rows["minute"] if minute < kept_from("1m", ledger.horizon)]
        for day in {opened_at(minute, "1d") for minute in old}:
            recall_days(lake, ledger, day)
    started = [(symbol, ledger.settled_to) for symbol, ledger in ledgers.items() if ledger.coverage.held]
    for (symbol, minute), candle in _fold_windows(lake, touched, started).items():
        ledgers[symbol].restore([(minute, candle)])


def _fold_windows(
    lake: Lake, touched: pl.DataFrame, started: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Candle]:
    if not started:
        return {}
    settled = pl.LazyFrame(started, schema={"symbol": pl.String, "settled_to": pl.Int64}, orient="row")
    earliest = min([settled_to for _, settled_to in started] + touched["minute"].to_list())
    trades = lake.scan(TRADES).select(Trade.__struct_fields__)
    if earliest > 0:
        trades = trades.filter(pl.col("traded_at") >= to_time(earliest))
    minute = minute_of(pl.col("traded_at").to_physical())
    marked = (
        trades.with_columns(minute=minute)
        .join(settled, on="symbol", how="inner")
        .join(touched.lazy().with_columns(touched=True), on=["symbol", "minute"], how="left")
    )
    return fold_bronze(marked.filter((pl.col("minute") >= pl.col("settled_to")) | pl.col("touched")))


def _resume_comparing(lake: Lake, ledgers: dict[str, Ledger]) -> list[Check]:
    """Tell the ledgers which windows of the last day were never compared; return the differences not looked into."""
    newest = max((ledger.horizon for ledger in ledgers.values()), default=0)
    if not newest:
        return []
    left = left_over(lake, newest - DAY)
    for symbol, ledger in ledgers.items():
        ledger.uncompared |= left.uncompared.get(symbol, set())
    return [check for check in left.disputes if check.symbol in ledgers]


def _last_trades(lake: Lake, ledgers: dict[str, Ledger], tail: pl.DataFrame) -> dict[str, Trade]:
    """Return the trade with the highest id of each symbol."""
    newest = tail.group_by("symbol").agg(pl.all().max_by("last_trade_id"))
    last = {
        trade.symbol: trade
        for trade in to_trades(newest)
        if trade.symbol in ledgers and trade.last_trade_id == ledgers[trade.symbol].coverage.last
    }
    silent = [
        (symbol, ledger.coverage.last, ledger.newest())
        for symbol, ledger in ledgers.items()
        if symbol not in last and ledger.newest() >= 0
    ]
    if silent:
        dates = sorted({to_time(minute).date().isoformat() for _, _, minute in silent})
        keys = pl.LazyFrame([key[:2] for key in silent], schema=["symbol", "last_trade_id"], orient="row")
        rows = lake.scan(TRADES, dates=dates).select(Trade.__struct_fields__)
        found = rows.join(keys, on=["symbol", "last_trade_id"], how="semi").collect()
        last |= {trade.symbol: trade for trade in to_trades(found)}
    return last


def _holes(lake: Lake, ledger: Ledger, last: dict[str, Trade]) -> Iterable[Hole]:
    missing = ledger.coverage.missing()
    if not missing:
        return
    ids = pl.col("first_trade_id"), pl.col("last_trade_id")
    candles = (
        highest_revisions(lake.scan(CANDLES).filter(pl.col("symbol") == ledger.symbol, pl.col("interval") == "1m"))
        .filter(pl.col("trades") > 0)
        .select(pl.col("opened_at").to_physical(), *ids)
        .sort("first_trade_id")
        .collect()
    )
    ended = last[ledger.symbol].traded_at if ledger.symbol in last else ledger.horizon
    for first, last_id in missing:
        before = candles.filter(pl.col("last_trade_id") < first)["opened_at"]
        after = candles.filter(pl.col("first_trade_id") > last_id)["opened_at"]
        begins = before[-1] if len(before) else ended - DAY
        ends = closes_at(after[0], "1m") if len(after) else ended + MINUTE
        yield Hole(ledger.symbol, first, last_id, begins, ends)


def _times(ledgers: dict[str, Ledger], tail: pl.DataFrame) -> Iterable[int]:
    received = tail["received_at"].to_physical().max()
    if isinstance(received, int):
        yield received
    yield from (row.known_at for ledger in ledgers.values() for row in ledger.rows("1m"))
