"""A seeded market without end: any trade can be told from its id alone, so no trade need be kept.

Each minute of a symbol has a number of trades and a price to begin with (a small index); everything else of a trade is
a function of (seed, symbol, id). Ids are consecutive, taker orders sweep several prices at one time, and the fills of
an order at one price are one aggregate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from tapehouse.errors import ConfigError
from tapehouse.exchange.draws import draw, fraction
from tapehouse.exchange.listing import Listing, listings
from tapehouse.exchange.tapes import COLUMNS, Pair
from tapehouse.market.windows import MINUTE

CELL = 8
"""Ids are laid out in cells of eight, each divided into taker orders in one of the ways below."""
AGGREGATES_PER_CELL = 5
_ORDERS = (
    ((1,), (1,), (2, 1), (3,)),
    ((4,), (1,), (1,), (1,), (1,)),
    ((1, 1, 1), (2,), (3,)),
    ((1,), (1,), (1,), (1,), (4,)),
    ((2,), (2,), (1, 2), (1,)),
    ((1, 3), (1,), (2,), (1,)),
    ((1,), (2,), (1,), (2, 2)),
    ((1, 1, 2, 1), (3,)),
)
"""Ways to fill a cell: taker orders, each a run of fills at one price after the other."""
_BURST_LENGTH = 0.02
"""The part of a minute a burst takes."""
_INDEX_AHEAD = 360
"""Minutes the index is made ahead of what is asked."""


def _flat(kind: str) -> pl.Series:
    values: list[int] = []
    for orders in _ORDERS:
        start = rank = 0
        for order in orders:
            rows = [(start, level, rank + level) for level, fills in enumerate(order) for _ in range(fills)]
            values += [row[("start", "level", "rank").index(kind)] for row in rows]
            start, rank = start + sum(order), rank + len(order)
    return pl.Series(kind, values, dtype=pl.Int64)


_START, _LEVEL, _RANK = (_flat(kind) for kind in ("start", "level", "rank"))


@dataclass(frozen=True)
class GeneratorOptions:
    """What to generate; the same options give the same trades.

    `rate` is trades a second over all symbols, `starts_at` microseconds since 1970 UTC (taken down to the minute),
    `quiet` the part of the minutes of the smaller symbols in which nothing trades. `on_break` names symbols that are
    listed and do not trade.
    """

    seed: int = 1
    symbols: int | Sequence[str] = 3
    rate: float = 100.0
    starts_at: int = 0
    quiet: float = 0.1
    on_break: Sequence[str] = ()


class GeneratedTape:
    """The tape of a `GeneratorOptions`; it goes on for ever."""

    def __init__(self, options: GeneratorOptions) -> None:
        if not 0 < options.rate <= 10_000_000:
            raise ConfigError(f"a rate of {options.rate} trades a second: give one above 0 and up to 10,000,000")
        self._seed = options.seed
        self._options = options
        self._listings = listings(options.symbols)
        self.pairs: Mapping[str, Pair] = {listing.symbol: self._pair(listing) for listing in self._listings}
        self.starts_at = options.starts_at - options.starts_at % MINUTE
        self.ends_at: int | None = None
        self.rate = options.rate
        self._names = pl.Enum([listing.symbol for listing in self._listings])
        self._codes = {listing.symbol: code for code, listing in enumerate(self._listings)}
        self._symbols = self._symbol_frame()
        self._index = self._first_index()
        self._minutes = 0

    def between(self, start: int, end: int) -> pl.DataFrame:
        """Return the trades of every symbol told in [start, end), in the order they were told."""
        start = max(start, self.starts_at)
        slices = [
            self._within_minute(max(start, minute), min(end, minute + MINUTE))
            for minute in range(start - start % MINUTE, end, MINUTE)
        ]
        return pl.concat(slices) if slices else self._empty()

    def trades(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        """Return the rows of a symbol that hold an id of first..last, by id."""
        code = self._codes.get(symbol)
        first = max(first, self._first_id(code)) if code is not None else 0
        if code is None or last < first:
            return self._empty()
        self._reach_id(code, last)
        firsts = self._column(code, "first_trade_id")
        ids = pl.int_range(first, last + 1, eager=True)
        minute = firsts.search_sorted(ids, "right").cast(pl.Int64) - 1
        # Minutes without trades have the first id of the next: the last of them is the one that has the trade.
        rows = pl.DataFrame({"row": minute * len(self._listings) + code, "place": ids - firsts.gather(minute)})
        return self._told(rows)

    def id_at(self, symbol: str, time: int) -> int:
        """Return the first id told at or after a time."""
        code = self._codes[symbol]
        if time <= self.starts_at:
            return self._first_id(code)
        minute = (time - self.starts_at) // MINUTE
        self._reach_minute(minute + 1)
        row = self._index.row(minute * len(self._listings) + code, named=True)
        opened = self.starts_at + minute * MINUTE
        near = int(_places((time - opened) / MINUTE, row["burst_at"], row["burst_share"]) * row["trades"])
        low = row["first_trade_id"] + max(near - 2 * CELL, 0)
        high = row["first_trade_id"] + min(near + 2 * CELL, row["trades"]) - 1
        held = self.trades(symbol, low, high)
        return low + int(held["traded_at"].search_sorted(time, "left"))

    def id_of_aggregate(self, symbol: str, aggregate_id: int) -> int:
        """Return the first trade id of an aggregate."""
        code = self._codes[symbol]
        firsts = self._column(code, "first_aggregate_id")
        while int(firsts.item(-1)) <= aggregate_id:
            self._extend()
            firsts = self._column(code, "first_aggregate_id")
        minute = max(int(firsts.search_sorted(aggregate_id, "right")) - 1, 0)
        cell = max(aggregate_id - int(firsts.item(minute)), 0) // AGGREGATES_PER_CELL
        first = int(self._column(code, "first_trade_id").item(minute)) + cell * CELL
        held = self.trades(symbol, first, first + CELL - 1)
        return int(held["first_trade_id"].item(int(held["aggregate_id"].search_sorted(aggregate_id, "left"))))

    def _pair(self, listing: Listing) -> Pair:
        status = "BREAK" if listing.symbol in self._options.on_break else "TRADING"
        return Pair(listing.symbol, listing.base, listing.quote, listing.tick, listing.step, status)

    def _symbol_frame(self) -> pl.DataFrame:
        """Return one row a symbol: what its minutes and trades are made of."""
        weights = [0.0 if pair.status == "BREAK" else 1 / (place + 1) for place, pair in enumerate(self.pairs.values())]
        total = sum(weights) or 1.0
        return pl.DataFrame(
            {
                "code": pl.Series(range(len(weights)), dtype=pl.Int64),
                "tick": [listing.tick for listing in self._listings],
                "step": [listing.step for listing in self._listings],
                "lot": [listing.lot for listing in self._listings],
                "base_ticks": [listing.price // listing.tick for listing in self._listings],
                "a_minute": [self.rate * 60 * weight / total for weight in weights],
                "quiet": [0.0 if place < 2 else self._options.quiet for place in range(len(weights))],
            }
        )

    def _first_index(self) -> pl.DataFrame:
        """Return an index of no minutes, so that totals continue from it."""
        self._next_id = [1_000_000 * (listing.fame + 1) + 7 * code for code, listing in enumerate(self._listings)]
        self._next_aggregate = [first // 2 for first in self._next_id]
        return pl.DataFrame()

    def _first_id(self, code: int) -> int:
        self._reach_minute(0)
        return int(self._index["first_trade_id"].item(code))

    def _column(self, code: int, name: str) -> pl.Series:
        self._reach_minute(0)
        return self._index[name].gather_every(len(self._listings), code)

    def _reach_minute(self, minute: int) -> None:
        while self._minutes <= minute:
            self._extend(minute - self._minutes)

    def _reach_id(self, code: int, last: int) -> None:
        while self._next_id[code] <= last:
            if self._symbols["a_minute"].item(code) == 0:
                return
            self._extend()

    def _extend(self, minutes: int = 0) -> None:
        """Add minutes to the index; each is one row a symbol, minute after minute."""
        count = minutes + _INDEX_AHEAD
        rows = self._minute_rows(self._minutes, count)
        begun = pl.DataFrame(
            {"code": range(len(self._listings)), "id": self._next_id, "aggregate": self._next_aggregate}
        )
        rows = rows.join(begun, on="code", how="left", maintain_order="left").with_columns(
            first_trade_id=pl.col("id") + pl.col("trades").cum_sum().over("code") - pl.col("trades"),
            first_aggregate_id=pl.col("aggregate") + pl.col("aggregates").cum_sum().over("code") - pl.col("aggregates"),
        )
        last = rows.tail(len(self._listings))
        self._next_id = (last["first_trade_id"] + last["trades"]).to_list()
        self._next_aggregate = (last["first_aggregate_id"] + last["aggregates"]).to_list()
        self._index = (
            pl.concat([self._index, rows.drop("id", "aggregate")]) if self._minutes else rows.drop("id", "aggregate")
        )
        self._minutes += count

    def _minute_rows(self, begin: int, count: int) -> pl.DataFrame:
        minutes = pl.DataFrame({"minute": pl.int_range(begin, begin + count, eager=True)})
        rows = minutes.join(self._symbols, how="cross")
        # Keyed by the time itself: a history that began earlier has the same shape.
        at = pl.col("minute") + self.starts_at // MINUTE
        key = at * 1009 + pl.col("code")
        chance = [fraction(draw(key, self._seed, kind)) for kind in range(5)]
        return (
            rows.with_columns(
                burst_at=0.1 + 0.4 * chance[0],
                burst_share=pl.when(chance[1] < 0.3).then(0.2 + chance[1]).otherwise(_BURST_LENGTH),
                trades=pl.when(chance[2] < pl.col("quiet"))
                .then(0)
                .otherwise((pl.col("a_minute") * (0.5 + chance[3]) + chance[4]).floor().cast(pl.Int64)),
                ticks=self._price(at),
                next_ticks=self._price(at + 1),
            )
            .with_columns(key=draw(key, self._seed, 5))
            .with_columns(aggregates=self._aggregates(pl.col("trades")))
        )

    def _price(self, minute: pl.Expr) -> pl.Expr:
        """Return the price, in ticks, at the start of a minute: noise of several lengths around the listed one."""
        swing = pl.lit(0.0)
        for length, amplitude in ((720, 0.02), (60, 0.006), (10, 0.002), (1, 0.0004)):
            left, part = minute // length, (minute % length) / length
            ends = [fraction(draw((left + side) * 1009 + pl.col("code"), self._seed, 100 + length)) for side in (0, 1)]
            swing = swing + amplitude * (2 * (ends[0] + (ends[1] - ends[0]) * part) - 1)
        return (pl.col("base_ticks") * (1 + swing)).round().cast(pl.Int64)

    def _aggregates(self, trades: pl.Expr) -> pl.Expr:
        """Return how many aggregates the trades of a minute make: whole cells, and what fills the last one."""
        whole, rest = trades // CELL, trades % CELL
        last = _layout(pl.col("key"), whole) * CELL + (rest - 1).clip(0)
        begun = pl.when(rest > 0).then(pl.lit(_RANK).gather(last) + 1).otherwise(0)
        return whole * AGGREGATES_PER_CELL + begun

    def _within_minute(self, start: int, end: int) -> pl.DataFrame:
        minute = (start - self.starts_at) // MINUTE
        self._reach_minute(minute + 1)
        opened = self.starts_at + minute * MINUTE
        size = len(self._listings)
        held = self._index.slice(minute * size, size).select("trades", "burst_at", "burst_share").with_row_index("row")
        bounds = [
            (_place_expression((time - opened) / MINUTE) * pl.col("trades")).cast(pl.Int64) for time in (start, end)
        ]
        places = pl.int_ranges((bounds[0] - 2 * CELL).clip(0), pl.min_horizontal(bounds[1] + 2 * CELL, "trades"))
        rows = held.select(row=pl.col("row").cast(pl.Int64) + minute * size, place=places)
        told = self._told(rows.explode("place", empty_as_null=False, keep_nulls=False))
        inside = told.filter((pl.col("traded_at") >= start) & (pl.col("traded_at") < end))
        return inside.sort("traded_at", maintain_order=True)

    def _told(self, places: pl.DataFrame) -> pl.DataFrame:
        """Return the trades at (row of the index, place within its minute)."""
        cell = pl.col("place") // CELL
        told = (
            places.lazy()
            .with_columns(
                self._index[name].gather(places["row"]).alias(name)
                for name in (
                    "minute",
                    "code",
                    "trades",
                    "burst_at",
                    "burst_share",
                    "ticks",
                    "next_ticks",
                    "key",
                    "first_trade_id",
                    "first_aggregate_id",
                    "tick",
                    "step",
                    "lot",
                )
            )
            .with_columns(cell=cell, slot=_layout(pl.col("key"), cell) * CELL + pl.col("place") % CELL)
            .with_columns(
                order=pl.col("cell") * CELL + pl.lit(_START).gather(pl.col("slot")),
                level=pl.lit(_LEVEL).gather(pl.col("slot")),
                chance=draw(pl.col("key").cast(pl.Int64) + pl.col("place"), self._seed, 7),
            )
            .with_columns(order_chance=draw(pl.col("key").cast(pl.Int64) + pl.col("order"), self._seed, 8))
            .select(
                symbol=pl.col("code").cast(pl.UInt32).cat.to(self._names),
                first_trade_id=pl.col("first_trade_id") + pl.col("place"),
                last_trade_id=pl.col("first_trade_id") + pl.col("place"),
                aggregate_id=pl.col("first_aggregate_id")
                + pl.col("cell") * AGGREGATES_PER_CELL
                + pl.lit(_RANK).gather(pl.col("slot")),
                price=_ticks() * pl.col("tick"),
                quantity=_steps(pl.col("chance")) * pl.col("lot") * pl.col("step"),
                buyer_is_maker=_sells(),
                traded_at=_time() + self.starts_at + pl.col("minute") * MINUTE,
            )
        )
        return told.collect()

    def _empty(self) -> pl.DataFrame:
        return self._told(pl.DataFrame(schema={"row": pl.Int64, "place": pl.Int64})).select(COLUMNS)


def _layout(key: pl.Expr, cell: pl.Expr) -> pl.Expr:
    return (draw(key.cast(pl.Int64) + cell, 0, 6) % len(_ORDERS)).cast(pl.Int64)


def _sells() -> pl.Expr:
    return pl.col("order_chance") % 2 == 0


def _ticks() -> pl.Expr:
    """A buyer lifts the offers upwards, a seller hits the bids downwards."""
    middle = pl.col("ticks") + (pl.col("next_ticks") - pl.col("ticks")) * pl.col("order") // pl.col("trades")
    middle = middle + (pl.col("order_chance") // 2 % 5).cast(pl.Int64) - 2
    return pl.when(_sells()).then(middle - 1 - pl.col("level")).otherwise(middle + pl.col("level"))


_WIDTHS = pl.Series([2**power for power in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 7, 9, 8, 6)], dtype=pl.UInt64)


def _steps(chance: pl.Expr) -> pl.Expr:
    """Many small quantities and few large ones."""
    width = pl.lit(_WIDTHS).gather(chance % 16)
    return ((chance // 16) % width + 1).cast(pl.Int64)


def _time() -> pl.Expr:
    """Return the microseconds into the minute: even, but for a burst."""
    place = (pl.col("order") + fraction(pl.col("order_chance"))) / pl.col("trades")
    at, share = pl.col("burst_at"), pl.col("burst_share")
    pace = (1 - _BURST_LENGTH) / (1 - share)
    part = (
        pl.when(place < at)
        .then(place * pace)
        .when(place < at + share)
        .then(at * pace + (place - at) / share * _BURST_LENGTH)
        .otherwise((place - share) * pace + _BURST_LENGTH)
    )
    return (part * MINUTE).floor().cast(pl.Int64).clip(0, MINUTE - 1)


def _place_expression(part: float) -> pl.Expr:
    """Return where in the trades of the minute a part of it is reached: the inverse of `_time`."""
    at, share = pl.col("burst_at"), pl.col("burst_share")
    pace = (1 - _BURST_LENGTH) / (1 - share)
    return (
        pl.when(part < at * pace)
        .then(part / pace)
        .when(part < at * pace + _BURST_LENGTH)
        .then(at + (part - at * pace) / _BURST_LENGTH * share)
        .otherwise((part - _BURST_LENGTH) / pace + share)
    )


def _places(part: float, burst_at: float, burst_share: float) -> float:
    one = pl.DataFrame({"burst_at": [burst_at], "burst_share": [burst_share]})
    return float(one.select(_place_expression(part)).item())
