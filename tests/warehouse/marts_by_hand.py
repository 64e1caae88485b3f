"""The marts computed once more: from the lake's rows, by Polars where it can and in plain Python, never by SQL."""

import itertools
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal, localcontext

import polars as pl

from tapehouse.catalog import CANDLES, MARKET_DATA, NEWS, SENTIMENT, SIGNALS, TABLES
from tapehouse.lake.delta import DeltaLake
from tapehouse.lake.history import highest_revisions

LEVELS = 24
UNIT = Decimal("0.00000001")
HOUR = timedelta(hours=1)


def candles(lake: DeltaLake, interval: str) -> pl.DataFrame:
    """The candles of an interval as they count, in order."""
    rows = highest_revisions(lake.scan(CANDLES).filter(pl.col("interval") == interval)).drop("interval").collect()
    return rows.sort("symbol", "opened_at")


def symbol_hours(lake: DeltaLake) -> dict[tuple[str, datetime], dict]:
    """The rows of agg_symbol_hour by symbol and hour, without when they were loaded."""
    minutes = defaultdict(list)
    for row in candles(lake, "1m").iter_rows(named=True):
        minutes[row["symbol"], row["opened_at"].replace(minute=0)].append(row)
    news, index, seen = _news(lake), fear_and_greed(lake), _signals(lake)
    return {
        (symbol, hour): _hour(of_hour)
        | {"signals": seen[symbol, hour].total(), "spikes": seen[symbol, hour]["volume_spike", "1m"]}
        | _said(news, symbol.removesuffix("USDT"), hour)
        | {"fear_greed": index.get(hour.date().isoformat())}
        for (symbol, hour), of_hour in minutes.items()
    }


def _hour(minutes: list[dict]) -> dict:
    traded = [row for row in minutes if row["trades"]] or [row for row in minutes if row["open"] is not None]
    sums = {name: sum(row[name] for row in minutes) for name in _SUMS}
    prices = {
        "open": traded[0]["open"] if traded else None,
        "high": max((row["high"] for row in traded), default=None),
        "low": min((row["low"] for row in traded), default=None),
        "close": next((row["close"] for row in reversed(minutes) if row["close"] is not None), None),
    }
    return {
        **prices,
        **sums,
        "vwap": _divided(sums["quote_volume"], sums["volume"]),
        "return": float(prices["close"]) / float(prices["open"]) - 1 if traded else None,
        "volatility": _volatility(minutes),
        "taker_imbalance": float(2 * sums["taker_buy_volume"] - sums["volume"]) / float(sums["volume"])
        if sums["volume"]
        else None,
        **_profile(minutes, prices["low"], prices["high"]),
        "completeness": sum(row["state"] in {"closed", "quiet"} for row in minutes) / 60,
        "corrections": sum(row["revision"] - 1 for row in minutes),
        "known_at": max(row["known_at"] for row in minutes),
    }


_SUMS = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")


def _divided(amount: Decimal, by: Decimal) -> Decimal | None:
    if not by:
        return None
    with localcontext(prec=80):
        return (amount / by).quantize(UNIT, ROUND_HALF_EVEN)


def _volatility(minutes: list[dict]) -> float | None:
    priced = [row for row in minutes if row["close"]]
    closes = [priced[0]["open"], *(row["close"] for row in priced)] if priced else []
    squares = [math.log(float(after) / float(before)) ** 2 for before, after in itertools.pairwise(closes)]
    return math.sqrt(sum(squares)) if squares else None


def _profile(minutes: list[dict], low: Decimal | None, high: Decimal | None) -> dict:
    volumes: dict[int, Decimal] = defaultdict(Decimal)
    for row in minutes:
        if row["volume"]:
            part = (
                0.0
                if high == low
                else (float(row["quote_volume"]) / float(row["volume"]) - float(low)) / float(high - low)
            )
            volumes[min(LEVELS - 1, max(0, math.floor(part * LEVELS)))] += row["volume"]
    ranked = sorted(volumes, key=lambda level: (-volumes[level], level))
    chosen, held = [], Decimal(0)
    for level in ranked:
        if held * 10 < sum(volumes.values()) * 7:
            chosen.append(level)
        held += volumes[level]
    if not chosen:
        return dict.fromkeys(("busiest_price", "value_area_low", "value_area_high"))
    with localcontext(prec=80):
        at = lambda part, parts: low + ((high - low) * part / parts).quantize(UNIT, ROUND_DOWN)  # noqa: E731
        return {
            "busiest_price": at(2 * ranked[0] + 1, 2 * LEVELS),
            "value_area_low": at(min(chosen), LEVELS),
            "value_area_high": at(max(chosen) + 1, LEVELS),
        }


def _signals(lake: DeltaLake) -> dict[tuple[str, datetime], Counter]:
    """How many signals of each kind and interval stand in each hour of a symbol."""
    newest = {}
    for row in lake.scan(SIGNALS).sort("revision").collect().iter_rows(named=True):
        newest[row["kind"], row["symbol"], row["interval"], row["opened_at"]] = row["state"]
    seen = defaultdict(Counter)
    for (kind, symbol, interval, opened_at), state in newest.items():
        if state != "retracted":
            seen[symbol, opened_at.replace(minute=0)][kind, interval] += 1
    return seen


def _newest(lake: DeltaLake, table: str, *also: str) -> list[dict]:
    rows = lake.scan(table).sort("known_at").unique(("source", "key", *also), keep="last").collect()
    return [row | json.loads(row["fields"]) for row in rows.sort("observed_at", "source", "key").iter_rows(named=True)]


def _news(lake: DeltaLake) -> list[dict]:
    return _newest(lake, NEWS)


def _said(news: list[dict], ticker: str, hour: datetime) -> dict:
    said = [item for item in news if ticker in item["tickers"] and hour <= item["observed_at"] < hour + HOUR]
    return {
        "news": len({item["story"] for item in said}),
        "news_sentiment": statistics.fmean(item["sentiment"] for item in said) if said else None,
    }


def fear_and_greed(lake: DeltaLake) -> dict[str, int]:
    """The index by ISO day."""
    return {row["key"]: row["value"] for row in _newest(lake, SENTIMENT)}


def market_snapshots(lake: DeltaLake) -> pl.DataFrame:
    """What is told of coins, without when it was loaded."""
    amounts = {"price": "current_price", "market_cap": "market_cap", "volume_24h": "total_volume"} | {
        name: name for name in ("circulating_supply", "market_cap_rank")
    }
    rows = [
        {"source": row["source"], "coin": row["key"].partition("/")[0], "known_at": row["known_at"]}
        | {"observed_at": row["observed_at"], "date": row["observed_at"].date()}
        | {name: _decimal(row.get(field)) for name, field in amounts.items()}
        for row in _newest(lake, MARKET_DATA, "observed_at")
        if row["source"] != "coingecko_global"
    ]
    ranked = [row | {"market_cap_rank": row["market_cap_rank"] and int(row["market_cap_rank"])} for row in rows]
    return _frame("gold/fct_market_snapshot", ranked)


def _decimal(told: object) -> Decimal | None:
    return None if told is None else Decimal(str(told))


def news(lake: DeltaLake) -> pl.DataFrame:
    """Items of news as they were last told, without when they were loaded."""
    told = [row | {"published_at": row["observed_at"], "date": row["observed_at"].date()} for row in _news(lake)]
    return _frame("gold/fct_news", told)


def sentiment_daily(lake: DeltaLake) -> pl.DataFrame:
    """The index by day, without when it was loaded."""
    told = _newest(lake, SENTIMENT)
    days = [
        row | {"date": date.fromisoformat(row["key"]), "classification": row["value_classification"]} for row in told
    ]
    return _frame("gold/fct_sentiment_daily", days)


def signals(lake: DeltaLake) -> pl.DataFrame:
    """Signals as they count, without when they were loaded."""
    key = ("kind", "venue", "symbol", "interval", "opened_at")
    return lake.scan(SIGNALS).sort("revision").unique(key, keep="last").collect()


def sources(lake: DeltaLake) -> pl.DataFrame:
    """Who has told something, and since when and until when."""
    told = {("binance", "candles"): candles(lake, "1h")["known_at"].to_list()}
    kinds = {"market_data": (MARKET_DATA, "observed_at"), "sentiment": (SENTIMENT,), "news": (NEWS,)}
    for kind, table in kinds.items():
        for row in _newest(lake, *table):
            told.setdefault((row["source"], kind), []).append(row["known_at"])
    rows = [
        {"source": source, "kind": kind, "first_known_at": min(known), "last_known_at": max(known)}
        | {"upstream": "coingecko" if source.startswith("coingecko_") else source.partition(":")[0]}
        for (source, kind), known in told.items()
    ]
    return _frame("gold/dim_source", rows)


def dates(_lake: DeltaLake) -> pl.DataFrame:
    """The days of the calendar, as Python counts them."""
    return _frame("gold/dim_date", list(_days(date(2009, 1, 1), date(2040, 12, 31))))


def _days(first: date, last: date) -> Iterator[dict]:
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        iso = day.isocalendar()
        yield {"date": day, "year": day.year, "quarter": (day.month + 2) // 3, "month": day.month, "day": day.day} | {
            "iso_year": iso.year,
            "iso_week": iso.week,
            "iso_weekday": iso.weekday,
            "is_weekend": day.weekday() in {5, 6},
        }


def _frame(table: str, rows: list[dict]) -> pl.DataFrame:
    schema = {name: kind for name, kind in schema_of(table).items() if name != "loaded_at"}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


COMPUTED = {
    "fct_market_snapshot": market_snapshots,
    "fct_news": news,
    "fct_sentiment_daily": sentiment_daily,
    "fct_signal": signals,
    "dim_source": sources,
    "dim_date": dates,
}
"""Marts that are compared row by row."""


def return_of_index(hours: dict[tuple[str, datetime], dict], index: dict[str, int], last: date) -> float:
    """The correlation of the index with the mean return of the symbols, over the days up to this one."""
    by_day = defaultdict(lambda: defaultdict(list))
    for (symbol, hour), told in sorted(hours.items()):
        by_day[hour.date()][symbol].append(told)
    days = [day for day in sorted(by_day) if day <= last and day.isoformat() in index]
    returns = [
        statistics.fmean(float(of[-1]["close"]) / float(of[0]["open"]) - 1 for of in by_day[day].values())
        for day in days
    ]
    return statistics.correlation([index[day.isoformat()] for day in days], returns)


def mean_correlation(hours: dict[tuple[str, datetime], dict], day: datetime) -> float | None:
    """The mean over all pairs of symbols of the correlation of their 24 hourly returns."""
    series = [
        [hours.get((symbol, day + number * HOUR), {}).get("return") for number in range(24)]
        for symbol in sorted({symbol for symbol, _ in hours})
    ]
    whole = [returns for returns in series if None not in returns]
    pairs = [(one, other) for place, one in enumerate(whole) for other in whole[place + 1 :]]
    return statistics.fmean(statistics.correlation(*pair) for pair in pairs) if pairs else None


def schema_of(table: str) -> dict[str, pl.DataType]:
    """The columns the catalog says a table has."""
    return dict(TABLES[table].schema)
