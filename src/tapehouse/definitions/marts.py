"""The tables the warehouse publishes: dimensions, facts, hours and days."""

from collections.abc import Mapping

import polars as pl

from tapehouse.definitions.table import AMOUNT, NOTIONAL, PRICE, TIME, WAREHOUSE, Table

DIM_DATE, DIM_SOURCE, DIM_SYMBOL = "gold/dim_date", "gold/dim_source", "gold/dim_symbol"
MARKET_SNAPSHOTS, SENTIMENT_DAILY, NEWS_ITEMS = "gold/fct_market_snapshot", "gold/fct_sentiment_daily", "gold/fct_news"
SYMBOL_HOURS, MARKET_DAYS = "gold/agg_symbol_hour", "gold/agg_market_day"

_DIM_DATE = {
    "date": pl.Date(),
    **dict.fromkeys(("year", "quarter", "month", "day", "iso_year", "iso_week", "iso_weekday"), pl.Int64()),
    "is_weekend": pl.Boolean(),
}
_DIM_SOURCE = {
    "source": pl.String(),
    "kind": pl.String(),
    "upstream": pl.String(),
    "first_known_at": TIME,
    "last_known_at": TIME,
}
_DIM_SYMBOL = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "base_asset": pl.String(),
    "quote_asset": pl.String(),
    "tick_size": PRICE,
    "step_size": PRICE,
    "status": pl.String(),
    "coingecko_id": pl.String(),
    "valid_from": TIME,
    "valid_to": TIME,
    "is_current": pl.Boolean(),
}
_MARKET_SNAPSHOTS = {
    "source": pl.String(),
    "coin": pl.String(),
    "observed_at": TIME,
    "price": AMOUNT,
    "market_cap": AMOUNT,
    "volume_24h": AMOUNT,
    "circulating_supply": AMOUNT,
    "market_cap_rank": pl.Int64(),
    "known_at": TIME,
    "loaded_at": TIME,
    "date": pl.Date(),
}
_SENTIMENT_DAILY = {
    "source": pl.String(),
    "date": pl.Date(),
    "value": pl.Int64(),
    "classification": pl.String(),
    "known_at": TIME,
    "loaded_at": TIME,
}
_NEWS_ITEMS = {
    "source": pl.String(),
    "key": pl.String(),
    "story": pl.String(),
    "published_at": TIME,
    "title": pl.String(),
    "link": pl.String(),
    "publisher": pl.String(),
    "tickers": pl.List(pl.String()),
    "sentiment": pl.Float64(),
    "tone": pl.String(),
    "known_at": TIME,
    "loaded_at": TIME,
    "date": pl.Date(),
}
_SYMBOL_HOURS = {
    "venue": pl.String(),
    "symbol": pl.String(),
    "opened_at": TIME,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), PRICE),
    "quote_volume": NOTIONAL,
    "trades": pl.Int64(),
    "taker_buy_volume": PRICE,
    "taker_buy_quote_volume": NOTIONAL,
    "vwap": PRICE,
    **dict.fromkeys(("return", "volatility", "taker_imbalance"), pl.Float64()),
    **dict.fromkeys(("busiest_price", "value_area_low", "value_area_high"), PRICE),
    **dict.fromkeys(("signals", "spikes", "news"), pl.Int64()),
    "news_sentiment": pl.Float64(),
    "fear_greed": pl.Int64(),
    "completeness": pl.Float64(),
    "corrections": pl.Int64(),
    "known_at": TIME,
    "loaded_at": TIME,
    "date": pl.Date(),
}
_MARKET_DAYS = {
    "date": pl.Date(),
    "symbols": pl.Int64(),
    **dict.fromkeys(("mean_return", "btc_return", "mean_correlation"), pl.Float64()),
    "dollar_volume": NOTIONAL,
    "market_cap": AMOUNT,
    **dict.fromkeys(("btc_dominance", "eth_dominance"), pl.Float64()),
    **dict.fromkeys(("fear_greed", "fear_greed_change"), pl.Int64()),
    "fear_greed_return_correlation": pl.Float64(),
    "news": pl.Int64(),
    "spikes": pl.Int64(),
    "completeness": pl.Float64(),
}


def _mart(name: str, row: str, schema: Mapping[str, pl.DataType], sort_by: tuple[str, ...], *by: str) -> Table:
    """Return a table the warehouse publishes; `by` are its partitions."""
    return Table(name, row, "gold", schema, sort_by, by, WAREHOUSE)


MART_TABLES = (
    _mart(DIM_DATE, "a UTC day from 2009 to 2040", _DIM_DATE, ("date",)),
    _mart(DIM_SOURCE, "a source: the exchange, a kind of CoinGecko's answers, a feed", _DIM_SOURCE, ("source",)),
    _mart(DIM_SYMBOL, "a version of what is known of a symbol", _DIM_SYMBOL, ("venue", "symbol", "valid_from")),
    _mart(
        MARKET_SNAPSHOTS,
        "what a source tells of a coin at a moment, in US dollars",
        _MARKET_SNAPSHOTS,
        ("coin", "observed_at"),
        "date",
    ),
    _mart(SENTIMENT_DAILY, "a day's Fear & Greed index", _SENTIMENT_DAILY, ("source", "date")),
    _mart(NEWS_ITEMS, "an item of news as it was last told", _NEWS_ITEMS, ("published_at", "source", "key"), "date"),
    _mart(SYMBOL_HOURS, "an hour of a symbol", _SYMBOL_HOURS, ("symbol", "opened_at"), "date"),
    _mart(MARKET_DAYS, "a UTC day of the market as a whole", _MARKET_DAYS, ("date",)),
)
