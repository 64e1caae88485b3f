"""A seeded market without end: any trade can be told from its id alone, so no trade need be kept.

Each minute of a symbol has a number of trades, a price to begin with and a burst (the index, one small row a minute);
everything else of a trade is a function of the seed, the minute and its place in it. Ids are consecutive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import RLock

import polars as pl

from tapehouse.errors import ConfigError
from tapehouse.exchange.cells import AGGREGATES_PER_CELL, CELL, CELLS, draw_cells
from tapehouse.exchange.index import MinuteIndex
from tapehouse.exchange.listing import listings
from tapehouse.exchange.tapes import Pair
from tapehouse.market.windows import MINUTE

_MARGIN = 2 * CELL
"""Trades read on either side of where a time should be: an order's trades all have the time of its first."""
_TOLD_OF_MINUTE = (
    "code", "opened", "first_trade_id", "first_aggregate_id", "cell", "ticks", "drift", "tick", "lot",
    "gap", "burst_from", "burst_trades", "burst_gain", "side",
)  # fmt: skip


@dataclass(frozen=True)
class GeneratorOptions:
    """What to generate; the same options give the same trades.

    `rate` is trades a second over all symbols, `starts_at` microseconds since 1970 UTC, `quiet` the part of the
    minutes of the smaller symbols in which nothing trades, `bursts` the part of the minutes that have a fifth to a half
    of their trades within a second or so. Of every `surges` minutes of a symbol one is a surge (see `surges`), 0 makes
    none; they come on top of the rate. `on_break` names symbols that are listed and do not trade.
    """

    seed: int = 1
    symbols: int | str | Sequence[str] = 3
    rate: float = 100.0
    starts_at: int = 0
    quiet: float = 0.1
    bursts: float = 0.3
    surges: int = 0
    on_break: Sequence[str] = ()


class GeneratedTape:
    """The tape of a `GeneratorOptions`; it goes on for ever. Safe to ask from several threads."""

    def __init__(self, options: GeneratorOptions) -> None:
        if not 0 < options.rate <= 10_000_000:
            raise ConfigError(f"a rate of {options.rate} trades a second: give one above 0 and up to 10,000,000")
        if not 0 <= options.quiet <= 1:
            raise ConfigError(f"quiet minutes: {options.quiet} is no part of them, give 0 to 1")
        if not 0 <= options.bursts <= 1:
            raise ConfigError(f"minutes with a burst: {options.bursts} is no part of them, give 0 to 1")
        if options.surges < 0:
            raise ConfigError(f"one surge in {options.surges} minutes: give 0, for none, or more")
        listed = listings(options.symbols)
        on_break = {symbol.upper() for symbol in options.on_break}
        self.pairs: Mapping[str, Pair] = {
            listing.symbol: listing.pair("BREAK" if listing.symbol in on_break else "TRADING") for listing in listed
        }
        self.starts_at = options.starts_at
        self.ends_at: int | None = None
        self.rate = options.rate
        self._origin = options.starts_at - options.starts_at % MINUTE
        self._names = pl.Enum(list(self.pairs))
        self._codes = {symbol: code for code, symbol in enumerate(self.pairs)}
        self._cells = draw_cells(options.seed)
        trading = [pair.status == "TRADING" for pair in self.pairs.values()]
        self._index = MinuteIndex(
            options.seed,
            listed,
            trading,
            rate=options.rate,
            quiet=options.quiet,
            bursts=options.bursts,
            surges=options.surges,
            origin=self._origin,
            cells=self._cells,
        )
        self._first_ids: dict[str, int] = {}
        self._lock = RLock()

    def between(self, start: int, end: int) -> pl.DataFrame:
        """Return the trades of every symbol told in [start, end), in the order they were told."""
        start = max(start, self.starts_at)
        minutes = range(start - start % MINUTE, end, MINUTE)
        pieces = [self._within_minute(max(start, minute), min(end, minute + MINUTE)) for minute in minutes]
        return pl.concat(pieces) if pieces else self._told(_NO_PLACES)

    def trades(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        """Return the rows of a symbol that hold an id of first..last, by id."""
        if symbol not in self._codes:
            return self._told(_NO_PLACES)
        return self._numbered(symbol, max(first, self._first_id(symbol)), last)

    def id_at(self, symbol: str, time: int) -> int:
        """Return the first id told at or after a time."""
        return self._first_id(symbol) if time <= self.starts_at else self._id_at(symbol, time)

    def id_of_aggregate(self, symbol: str, aggregate_id: int) -> int:
        """Return the first trade id of an aggregate; of the next one there is when it does not exist."""
        with self._lock:
            minute = self._index.reach_aggregate(self._codes[symbol], aggregate_id)
        if minute is None:
            return self._first_id(symbol)
        cell = max(aggregate_id - minute["first_aggregate_id"], 0) // AGGREGATES_PER_CELL
        first = minute["first_trade_id"] + cell * CELL
        held = self._numbered(symbol, first, first + CELL - 1)
        found = int(held["first_trade_id"].item(int(held["aggregate_id"].search_sorted(aggregate_id, "left"))))
        return max(found, self._first_id(symbol))

    def _first_id(self, symbol: str) -> int:
        if symbol not in self._first_ids:
            self._first_ids[symbol] = self._id_at(symbol, self.starts_at)
        return self._first_ids[symbol]

    def _id_at(self, symbol: str, time: int) -> int:
        with self._lock:
            minute = self._index.minute(self._codes[symbol], (time - self._origin) // MINUTE)
        if not minute["trades"]:
            return int(minute["first_trade_id"])
        passed = time - minute["opened"]
        near = int(pl.DataFrame([minute]).select(_places_at(passed)).item())
        low = minute["first_trade_id"] + max(near - _MARGIN, 0)
        high = minute["first_trade_id"] + min(near + _MARGIN, minute["trades"]) - 1
        held = self._numbered(symbol, low, high)
        return int(low + held["traded_at"].search_sorted(time, "left"))

    def _numbered(self, symbol: str, first: int, last: int) -> pl.DataFrame:
        if last < first:
            return self._told(_NO_PLACES)
        with self._lock:
            places = self._index.places(self._codes[symbol], first, last)
        return self._told(places)

    def _within_minute(self, start: int, end: int) -> pl.DataFrame:
        with self._lock:
            minutes = self._index.all_of((start - self._origin) // MINUTE)
        opened = start - start % MINUTE
        low = (_places_at(start - opened) - _MARGIN).clip(0)
        high = pl.min_horizontal(_places_at(end - opened) + _MARGIN, "trades")
        places = minutes.select(*_TOLD_OF_MINUTE, place=pl.int_ranges(low, pl.max_horizontal(low, high)))
        told = self._told(places.explode("place", empty_as_null=False, keep_nulls=False))
        inside = told.filter((pl.col("traded_at") >= start) & (pl.col("traded_at") < end))
        return inside.sort("traded_at", maintain_order=True)

    def _told(self, places: pl.DataFrame) -> pl.DataFrame:
        """Return the trades at places of minutes: rows of the index, each with a `place`."""
        cell, inside = pl.col("place") // CELL, pl.col("place") % CELL
        cut = {name: pl.lit(self._cells[name]).gather(pl.col("slot")) for name in self._cells.columns}
        at = pl.col("place") - inside + pl.col("begins")
        moment = at + pl.col("moment")
        burst = (moment - pl.col("burst_from")).clip(0, pl.col("burst_trades")) * pl.col("burst_gain")
        return (
            places.lazy()
            .with_columns(slot=(pl.col("cell") + cell) % CELLS * CELL + inside)
            .with_columns(cut["begins"], cut["moment"])
            .select(
                symbol=pl.col("code").cat.to(self._names),
                first_trade_id=pl.col("first_trade_id") + pl.col("place"),
                last_trade_id=pl.col("first_trade_id") + pl.col("place"),
                aggregate_id=pl.col("first_aggregate_id") + cell * AGGREGATES_PER_CELL + cut["rank"],
                price=(pl.col("ticks") + (pl.col("drift") * at).cast(pl.Int64) + cut["ticks"]) * pl.col("tick"),
                quantity=cut["steps"] * pl.col("lot"),
                buyer_is_maker=_sells(cut["sells"]),
                traded_at=pl.col("opened") + (moment * pl.col("gap") - burst).cast(pl.Int64).clip(0, MINUTE - 1),
            )
            .collect()
        )


def _sells(usually: pl.Expr) -> pl.Expr:
    """Tell whether the taker sells: in a surge, all but the first order of a cell are of its side."""
    follows = (pl.col("side") != 0) & (pl.col("begins") > 0)
    return pl.when(follows).then(pl.col("side") < 0).otherwise(usually)


_NO_PLACES = pl.DataFrame(
    schema=dict.fromkeys(_TOLD_OF_MINUTE, pl.Int64)
    | {"code": pl.UInt32, "place": pl.Int64}
    | dict.fromkeys(("drift", "gap", "burst_from", "burst_trades", "burst_gain"), pl.Float64)
)


def _places_at(passed: int) -> pl.Expr:
    """Return how many trades of a minute have been told so many microseconds into it: the inverse of their times."""
    gap, burst = pl.col("gap"), pl.col("burst_trades")
    begins = pl.col("burst_from") * gap
    within = gap - pl.col("burst_gain")
    told = (
        pl.when(passed < begins)
        .then(passed / gap)
        .when(passed < begins + burst * within)
        .then(pl.col("burst_from") + (passed - begins) / within)
        .otherwise((passed - burst * within) / gap + burst)
    )
    return pl.when(pl.col("trades") == 0).then(0).otherwise(told).cast(pl.Int64)
