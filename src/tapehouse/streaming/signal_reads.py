"""What signals rest on, read from the lake: candles, what was said before, the prices others told, the index's days."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import polars as pl

from tapehouse.catalog import CANDLES, MARKET_DATA, SENTIMENT, SIGNALS
from tapehouse.lake.history import highest_revisions, latest_versions
from tapehouse.market.divergences import Told
from tapehouse.market.ledger import CandleRow
from tapehouse.market.proof import CLOSED
from tapehouse.market.seasons import HOUR, WEEK, WEEKS, Seasons
from tapehouse.market.signals import Detection, Signal
from tapehouse.market.watch import TELLING_INTERVAL, Watch, reach
from tapehouse.market.windows import DAY, INTERVALS, opened_at
from tapehouse.ports import Lake
from tapehouse.producers.coingecko.wire import MARKETS, PRICES
from tapehouse.streaming.rows import candle_rows, signals_of, to_time

_PRICE = "current_price"
_SIGNAL = ("kind", "symbol", "interval", "opened_at")

_fields = msgspec.json.Decoder(dict[str, object])


class Span(msgspec.Struct, frozen=True, order=True):
    """The windows of one symbol and interval that open in [start, end) (microseconds UTC)."""

    symbol: str
    interval: str
    start: int
    end: int


class SignalReads:
    """Reads of one lake; `coins` are coins (CoinGecko's ids) by the symbol that tells their price."""

    def __init__(self, lake: Lake, detection: Detection) -> None:
        self._lake = lake
        self._detection = detection

    def watches(self, spans: Iterable[Span], coins: Mapping[str, str], *, said: bool = True) -> dict[Span, Watch]:
        """Return a watch that can judge each span, with all that is stored of it; they share nothing.

        `coins` are coins (CoinGecko's ids) by the symbol that tells their price. Without `said` they do not know which
        signals are stored.
        """
        found: dict[Span, Watch] = {}
        for together in _begun_together(spans):
            found |= self._watches(together, coins, said=said)
        return found

    def _watches(self, spans: Sequence[Span], coins: Mapping[str, str], *, said: bool) -> dict[Span, Watch]:
        back = reach(self._detection)
        begun = {span: _longer(span, back) for span in spans}
        candles, seasons = self._candles(list(begun.values())), self._seasons(spans)
        signals = self._signals(spans) if said else {}
        told = self._told([span for span in spans if span.interval == TELLING_INTERVAL], coins)
        found = {}
        for span in spans:
            watch = Watch(span.symbol, span.interval, begun[span].start, self._detection, seasons[span])
            of_coin = told.get(coins[span.symbol], ()) if span.interval == TELLING_INTERVAL else ()
            watch.recall(candles.get(begun[span], ()), signals.get(span, ()), of_coin)
            found[span] = watch
        return found

    def recent_candles(self, since: int) -> list[tuple[str, str, int]]:
        """Return (symbol, interval, opening) of each candle of which something became known at a time or later."""
        watched = pl.col("interval").is_in([*self._detection.intervals, "1h"])
        rows = self._lake.scan(CANDLES).filter(pl.col("known_at") >= to_time(since), watched)
        return rows.select("symbol", "interval", pl.col("opened_at").to_physical()).unique().collect().rows()

    def recent_tellings(self, since: int) -> list[tuple[str, int]]:
        """Return (coin, as of when) of each price that was told at a time or later."""
        dates = [day for day in self._lake.dates(MARKET_DATA) if day >= to_time(since).date().isoformat()]
        chosen = pl.col("known_at") >= to_time(since), pl.col("source").is_in([MARKETS, PRICES])
        rows = self._lake.scan(MARKET_DATA, dates=dates).filter(*chosen)
        return rows.select("key", pl.col("observed_at").to_physical()).unique().collect().rows()

    def recent_index_days(self, since: int) -> set[int]:
        """Return the UTC days of which the index was told at a time or later."""
        rows = self._lake.scan(SENTIMENT).filter(pl.col("known_at") >= to_time(since))
        return {at // DAY * DAY for at in rows.select(pl.col("observed_at").to_physical()).collect()["observed_at"]}

    def index(self) -> dict[int, int]:
        """Return the Fear & Greed index by UTC day."""
        rows = latest_versions(self._lake, SENTIMENT).select(pl.col("observed_at").to_physical(), "fields")
        return {at // DAY * DAY: index_value(fields) for at, fields in rows.iter_rows()}

    def said_of(self, symbol: str) -> list[Signal]:
        """Return the newest revision of every signal about a symbol."""
        return signals_of(newest_signals(self._lake.scan(SIGNALS).filter(pl.col("symbol") == symbol)).collect())

    def _candles(self, spans: Sequence[Span]) -> dict[Span, list[CandleRow]]:
        rows = self._rows(spans[0].interval, spans).sort("opened_at")
        by_symbol = {str(symbol): part for (symbol,), part in rows.group_by("symbol", maintain_order=True)}
        return {
            span: candle_rows(by_symbol[span.symbol].filter(_opened_in(span)))
            for span in spans
            if span.symbol in by_symbol
        }

    def _rows(self, interval: str, spans: Sequence[Span]) -> pl.DataFrame:
        chosen = _of_symbols(spans), pl.col("interval") == interval, *_within(spans)
        return highest_revisions(self._lake.scan(CANDLES, dates=self._dates(CANDLES, spans)).filter(*chosen)).collect()

    def _seasons(self, spans: Sequence[Span]) -> dict[Span, Seasons]:
        if INTERVALS[spans[0].interval] > HOUR:
            return {span: Seasons(0) for span in spans}
        hours = {span: _hours(span) for span in spans}
        proved = pl.when(pl.col("state") == CLOSED).then(pl.col("volume").to_physical()).otherwise(0)
        rows = self._rows("1h", list(hours.values())).select("symbol", pl.col("opened_at").to_physical(), proved)
        by_symbol: dict[str, list[tuple[int, int]]] = {}
        for symbol, opened, volume in rows.sort("opened_at").iter_rows():
            by_symbol.setdefault(symbol, []).append((opened, volume))
        found = {}
        for span in spans:
            found[span] = Seasons(hours[span].start)
            for opened, volume in by_symbol.get(span.symbol, ()):
                found[span].tell(opened, volume)
        return found

    def _signals(self, spans: Sequence[Span]) -> dict[Span, list[Signal]]:
        chosen = _of_symbols(spans), pl.col("interval") == spans[0].interval, *_within(spans)
        rows = newest_signals(self._lake.scan(SIGNALS, dates=self._dates(SIGNALS, spans)).filter(*chosen)).collect()
        by_symbol: dict[str, list[Signal]] = {}
        for signal in signals_of(rows):
            by_symbol.setdefault(signal.symbol, []).append(signal)
        return {
            span: [each for each in by_symbol.get(span.symbol, ()) if span.start <= each.opened_at < span.end]
            for span in spans
        }

    def _told(self, spans: Sequence[Span], coins: Mapping[str, str]) -> dict[str, list[Told]]:
        """Return what was told of the coins of these symbols, by coin."""
        ids = sorted({coins[span.symbol] for span in spans if span.symbol in coins})
        if not ids:
            return {}
        chosen = pl.col("key").is_in(ids), pl.col("source").is_in([MARKETS, PRICES])
        start, end = min(span.start for span in spans), max(span.end for span in spans)
        observed = pl.col("observed_at").is_between(_time(start), _time(end), closed="left")
        rows = self._lake.scan(MARKET_DATA, dates=self._dates(MARKET_DATA, spans)).filter(*chosen, observed)
        times = [pl.col(name).to_physical() for name in ("observed_at", "known_at")]
        found: dict[str, list[Told]] = {}
        for coin, *told in rows.select("key", *times, "source", "fields").collect().iter_rows():
            price = price_told(*told)
            if price is not None:
                found.setdefault(coin, []).append(price)
        return found

    def _dates(self, table: str, spans: Iterable[Span]) -> list[str]:
        """Return the days of a table that may have rows of these spans; a telling is filed by when it was received."""
        beside = 1 if table == MARKET_DATA else 0
        reached = [(_time(span.start).date(), _time(span.end).date()) for span in spans]
        first, last = min(pair[0] for pair in reached), max(pair[1] for pair in reached)
        bounds = first - timedelta(days=beside), last + timedelta(days=beside)
        return [day for day in self._lake.dates(table) if bounds[0].isoformat() <= day <= bounds[1].isoformat()]


def newest_signals(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return of each signal the row that counts, in no order."""
    return rows.sort("revision").unique(_SIGNAL, keep="last")


def index_value(fields: str) -> int:
    """Return the value of a day of the index from its stored fields."""
    value = _fields.decode(fields)["value"]
    return int(str(value))


def price_told(observed_at: int, known_at: int, source: str, fields: str) -> Told | None:
    """Return the price in stored fields, None where there is none above zero."""
    price = _fields.decode(fields).get(_PRICE)
    return Told(observed_at, known_at, source, price) if isinstance(price, str) and float(price) > 0 else None


def _begun_together(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Give the spans of one interval that begin on one day together: they are read at once."""
    found: dict[tuple[str, int], list[Span]] = {}
    for span in spans:
        found.setdefault((span.interval, span.start // DAY), []).append(span)
    yield from found.values()


def _of_symbols(spans: Iterable[Span]) -> pl.Expr:
    return pl.col("symbol").is_in(sorted({span.symbol for span in spans}))


def _longer(span: Span, windows: int) -> Span:
    return msgspec.structs.replace(span, start=span.start - windows * INTERVALS[span.interval])


def _hours(span: Span) -> Span:
    """Return the hours whose volumes tell the seasons of a span."""
    return Span(span.symbol, "1h", opened_at(span.start, "1h") - WEEKS * WEEK, span.end)


def _within(spans: Sequence[Span]) -> tuple[pl.Expr, ...]:
    opened = pl.col("opened_at")
    return (
        opened >= _time(min(span.start for span in spans)),
        opened < _time(max(span.end for span in spans)),
    )


def _opened_in(span: Span) -> pl.Expr:
    return (pl.col("opened_at") >= _time(span.start)) & (pl.col("opened_at") < _time(span.end))


def _time(microseconds: int) -> datetime:
    """Return the time, of 1970 where it would lie before."""
    return to_time(max(microseconds, 0))
