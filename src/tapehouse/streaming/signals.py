"""The signals of every symbol that is followed: what a unit brings is judged, and what follows from it goes with it.

Both engines keep them here, beside their books (law 5). The newest windows of each symbol and interval are watched in
memory; a correction of what is older is judged on what the lake holds around it. Nothing else is remembered over a
restart: a unit that was cut short between its candles and its signals is judged again at the next start.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from tapehouse.market.coins import coin_traded
from tapehouse.market.context import Version, canonical
from tapehouse.market.divergences import Told
from tapehouse.market.ledger import CandleRow, Ledger
from tapehouse.market.proof import OPEN
from tapehouse.market.seasons import HOUR, WEEK, WEEKS
from tapehouse.market.sentiments import PATIENCE, extremes
from tapehouse.market.signals import WHOLE_MARKET, Detection, Signal
from tapehouse.market.watch import TELLING_INTERVAL, Watch, reach
from tapehouse.market.windows import DAY, INTERVALS, opened_at
from tapehouse.ports import Lake
from tapehouse.producers.coingecko.wire import MARKETS, PRICES
from tapehouse.streaming.signal_reads import SignalReads, Span, index_value, price_told

SPARE = 60
"""Newest windows that can be judged in memory: repairs mostly come within the hour."""
MOST_AT_ONCE = 20_000
"""Windows of one symbol that are read and judged at once."""

Key = tuple[str, str]
"""Symbol and interval."""
Telling = tuple[str, Told]
"""A coin and what was told of it."""


class Signals:
    """One a process, used from the engine's thread; `read_from` is to be called before anything else.

    `pins` name the coins of tickers. What became known from `since` on (microseconds) may lack its signals in the lake.
    """

    def __init__(self, detection: Detection, pins: Mapping[str, str], since: int = 0) -> None:
        self.detection = detection
        self._back = reach(detection)
        self._pins = pins
        self._since: int | None = since
        self._reads: SignalReads
        self._watches: dict[Key, Watch] = {}
        self._coins: dict[str, str] = {}

    def read_from(self, lake: Lake) -> None:
        """Read what is not in memory from this lake."""
        self._reads = SignalReads(lake, self.detection)

    def derive(
        self, candles: Sequence[CandleRow], versions: Sequence[Version], ledgers: Mapping[str, Ledger], known_at: int
    ) -> list[Signal]:
        """Return the revisions of signals that follow from candles and tellings which the lake does not hold yet.

        `ledgers` are those that settled the candles: nothing stored is newer than they know.
        """
        since, self._since = self._since, None
        if not self.detection.intervals or (since is None and not candles and not versions):
            return []
        self._note_coins(ledgers)
        rows = [row for row in candles if row.interval in self.detection.intervals or row.interval == "1h"]
        told = [telling for version in versions if (telling := _telling(version)) is not None]
        spans = [] if since is None else self._unsaid(since, ledgers)
        self._watch(spans, rows, told, ledgers)
        older = [*self._touch(spans), *self._put(rows, ledgers), *self._tell(told)]
        found = [signal for watch in self._watches.values() for signal in watch.derive(known_at)]
        for span in _merged(older, self._back):
            found += self._judge(span, rows, told, known_at)
        for watch in self._watches.values():
            if len(watch.series) > self._back + 2 * SPARE:
                watch.forget(len(watch.series) - self._back - SPARE)
        return found + self._judge_index(versions, since, known_at)

    def foresee(self, ledger: Ledger) -> list[Signal]:
        """Return what would be signals of a symbol if its open windows ended now."""
        found: list[Signal] = []
        for interval in self.detection.intervals if ledger.newest() >= 0 else ():
            opened = opened_at(ledger.newest(), interval)
            candle, watch = ledger.summary(interval, opened), self._watches.get((ledger.symbol, interval))
            if candle is not None and watch is not None:
                row = CandleRow(ledger.symbol, interval, opened, candle, None, OPEN, 0, 0)
                found += watch.foresee(row)
        return found

    # What is to be judged anew

    def _note_coins(self, ledgers: Mapping[str, Ledger]) -> None:
        if len(ledgers) != len(self._coins):
            self._coins = {symbol: coin_traded(symbol, self._pins) or "" for symbol in ledgers}

    def _symbols_of(self, coin: str) -> Iterator[str]:
        if TELLING_INTERVAL in self.detection.intervals:
            yield from (symbol for symbol, traded in self._coins.items() if traded == coin)

    def _unsaid(self, since: int, ledgers: Mapping[str, Ledger]) -> list[Span]:
        """Return the windows whose signals may not be stored: those that rest on what became known last."""
        found: list[Span] = []
        for symbol, interval, opened in self._reads.recent_candles(since):
            if symbol in ledgers:
                found += self._resting_on(symbol, interval, opened, ledgers[symbol])
        for coin, observed_at in self._reads.recent_tellings(since):
            found += [_minute(symbol, observed_at) for symbol in self._symbols_of(coin)]
        return found

    def _resting_on(self, symbol: str, interval: str, opened: int, ledger: Ledger) -> list[Span]:
        """Return the windows that rest on a candle: it and those after it, and of an hour the same hour weeks later."""
        found: list[Span] = []
        if interval in self.detection.intervals:
            found.append(Span(symbol, interval, opened, opened + (self._back + 1) * INTERVALS[interval]))
        for week in range(1, WEEKS + 1) if interval == "1h" else ():
            hour = opened + week * WEEK
            if hour < ledger.settled_to:
                shorter = (name for name in self.detection.intervals if INTERVALS[name] <= HOUR)
                found += [Span(symbol, name, hour, hour + HOUR) for name in shorter]
        return found

    def _watch(
        self, spans: Iterable[Span], rows: Iterable[CandleRow], told: Iterable[Telling], ledgers: Mapping[str, Ledger]
    ) -> None:
        """Begin to watch what is heard of for the first time, or goes on far behind what is watched."""
        first: dict[Key, int] = {(span.symbol, span.interval): 0 for span in spans}
        first |= {(symbol, TELLING_INTERVAL): 0 for coin, _ in told for symbol in self._symbols_of(coin)}
        for row in rows:
            for interval in {row.interval, *self.detection.intervals} if row.interval == "1h" else (row.interval,):
                first.setdefault((row.symbol, interval), row.opened_at)
        wanted = []
        for (symbol, interval), opened in first.items():
            watch, step, settled_to = (
                self._watches.get((symbol, interval)),
                INTERVALS[interval],
                ledgers[symbol].settled_to,
            )
            if interval not in self.detection.intervals or not settled_to:
                continue
            if watch is None or watch.series.place(opened) > len(watch.series) + self._back:
                end = opened_at(settled_to - 1, interval) + step
                wanted.append(Span(symbol, interval, end - SPARE * step, end))
        for span, watch in self._reads.watches(wanted, self._coins).items():
            self._watches[span.symbol, span.interval] = watch

    def _touch(self, spans: Iterable[Span]) -> list[Span]:
        """Have windows judged anew; return those that are too old to be judged in memory."""
        older = []
        for span in spans:
            watch = self._watches.get((span.symbol, span.interval))
            if watch is None:
                continue
            judged_from = watch.series.opened(self._back)
            watch.touch(max(span.start, judged_from), span.end)
            if span.start < judged_from:
                older.append(Span(span.symbol, span.interval, span.start, min(span.end, judged_from)))
        return older

    def _put(self, rows: Iterable[CandleRow], ledgers: Mapping[str, Ledger]) -> list[Span]:
        resting: list[Span] = []
        for row in rows:
            watch = self._watches.get((row.symbol, row.interval))
            if watch is not None and row.opened_at >= watch.series.origin:
                watch.recall([row])
            if row.interval == "1h":
                for interval in self.detection.intervals:
                    if (of_hours := self._watches.get((row.symbol, interval))) is not None:
                        of_hours.seasons.put(row)
            resting += self._resting_on(row.symbol, row.interval, row.opened_at, ledgers[row.symbol])
        return self._touch(resting)

    def _tell(self, told: Iterable[Telling]) -> list[Span]:
        touched: list[Span] = []
        for coin, price in told:
            for symbol in self._symbols_of(coin):
                if (watch := self._watches.get((symbol, TELLING_INTERVAL))) is not None:
                    watch.recall(told=[price])
                    touched.append(_minute(symbol, price.observed_at))
        return self._touch(touched)

    # What is judged on the lake

    def _judge(self, span: Span, rows: Sequence[CandleRow], told: Sequence[Telling], known_at: int) -> list[Signal]:
        """Judge windows on what is stored around them and what is about to be stored."""
        [watch] = self._reads.watches([span], self._coins).values()
        of_symbol = sorted((row for row in rows if row.symbol == span.symbol), key=lambda row: row.opened_at)
        around = range(watch.series.origin, span.end)
        watch.recall(row for row in of_symbol if row.interval == span.interval and row.opened_at in around)
        for row in of_symbol:
            if row.interval == "1h":
                watch.seasons.put(row)
        if span.interval == TELLING_INTERVAL:
            watch.recall(told=[price for coin, price in told if coin == self._coins[span.symbol]])
        watch.touch(span.start, span.end)
        return watch.derive(known_at)

    def _judge_index(self, versions: Iterable[Version], since: int | None, known_at: int) -> list[Signal]:
        told = {
            version.observation.observed_at // DAY * DAY: index_value(canonical(version.observation.fields))
            for version in versions
            if version.observation.kind == "sentiment"
        }
        changed = {*told, *(self._reads.recent_index_days(since) if since is not None else ())}
        if not changed:
            return []
        values = self._reads.index() | told
        said = {signal.opened_at: signal for signal in self._reads.said_of(WHOLE_MARKET)}
        days = {day + later * DAY for day in changed for later in range(PATIENCE + 1)} & values.keys()
        return extremes(values, days, said, self.detection, known_at)


def _telling(version: Version) -> Telling | None:
    told = version.observation
    if told.source not in {MARKETS, PRICES}:
        return None
    price = price_told(told.observed_at, version.known_at, told.source, canonical(told.fields))
    return None if price is None else (told.key, price)


def _minute(symbol: str, time: int) -> Span:
    opened = opened_at(time, TELLING_INTERVAL)
    return Span(symbol, TELLING_INTERVAL, opened, opened + INTERVALS[TELLING_INTERVAL])


def _merged(spans: Iterable[Span], back: int) -> Iterator[Span]:
    """Put together spans that are read together anyway, at most about MOST_AT_ONCE windows in one."""
    current: Span | None = None
    for span in sorted(spans):
        step = INTERVALS[span.interval]
        if current is not None and (current.symbol, current.interval) == (span.symbol, span.interval):
            near = span.start <= current.end + back * step
            if span.end <= current.end:
                continue
            if near and span.end - current.start <= MOST_AT_ONCE * step:
                current = msgspec.structs.replace(current, end=span.end)
                continue
            yield current
            current = msgspec.structs.replace(span, start=max(span.start, current.end))
            continue
        if current is not None:
            yield current
        current = span
    if current is not None:
        yield current
