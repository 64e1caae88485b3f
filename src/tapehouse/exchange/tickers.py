"""Descriptions of symbols and their tickers. The book is nominal: one tick on each side of the last price."""

from typing import Any

from tapehouse.exchange.market_view import MarketView
from tapehouse.exchange.messages import notional_text, price_text
from tapehouse.exchange.tapes import Pair
from tapehouse.market.windows import DAY

_LARGEST_PRICE = 10**14
_LARGEST_QUANTITY = 9 * 10**17


def last_price(market: MarketView, symbol: str) -> str:
    """Return the price of the last trade, zero before the first."""
    return price_text(market.price(symbol) or 0)


def book_ticker(market: MarketView, symbol: str) -> dict[str, str]:
    """Return best bid and ask."""
    price, pair = market.price(symbol) or 0, market.pair(symbol)
    quantity = price_text(1000 * pair.quantity_step)
    return {
        "symbol": symbol,
        "bidPrice": price_text(max(price - pair.price_tick, 0)),
        "bidQty": quantity,
        "askPrice": price_text(price + pair.price_tick),
        "askQty": quantity,
    }


def day_ticker(market: MarketView, symbol: str, divisor: int) -> dict[str, Any]:
    """Return what the last 24 hours were, by whole minutes."""
    candle, start = market.day(symbol)
    book = book_ticker(market, symbol)
    price = market.price(symbol) or 0
    begun, high, low = (candle.open, candle.high, candle.low) if candle else (price, price, price)
    volume, worth = (candle.volume, candle.quote_volume) if candle else (0, 0)
    change = price - begun
    return {
        "symbol": symbol,
        "priceChange": signed_text(change),
        "priceChangePercent": f"{change * 100 / begun:.3f}" if begun else "0.000",
        "weightedAvgPrice": price_text(worth // volume if volume else 0),
        "prevClosePrice": price_text(begun),
        "lastPrice": price_text(price),
        "lastQty": price_text(0),
        "bidPrice": book["bidPrice"],
        "bidQty": book["bidQty"],
        "askPrice": book["askPrice"],
        "askQty": book["askQty"],
        "openPrice": price_text(begun),
        "highPrice": price_text(high),
        "lowPrice": price_text(low),
        "volume": price_text(volume),
        "quoteVolume": notional_text(worth),
        "openTime": start // divisor,
        "closeTime": (start + DAY) // divisor,
        "firstId": candle.first_trade_id if candle else -1,
        "lastId": candle.last_trade_id if candle else -1,
        "count": candle.trades if candle else 0,
    }


def signed_text(units: int) -> str:
    """Return units of 10^-8 that may be negative."""
    return f"-{price_text(-units)}" if units < 0 else price_text(units)


def symbol_description(pair: Pair) -> dict[str, Any]:
    """Return what `exchangeInfo` says of a symbol."""
    return {
        "symbol": pair.symbol,
        "status": pair.status,
        "baseAsset": pair.base,
        "baseAssetPrecision": 8,
        "quoteAsset": pair.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT",
            "LIMIT_MAKER",
            "MARKET",
            "STOP_LOSS",
            "STOP_LOSS_LIMIT",
            "TAKE_PROFIT",
            "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(pair),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }


def _filters(pair: Pair) -> list[dict[str, Any]]:
    tick, step = price_text(pair.price_tick), price_text(pair.quantity_step)
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": price_text(_LARGEST_PRICE), "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": price_text(_LARGEST_QUANTITY), "stepSize": step},
        {"filterType": "ICEBERG_PARTS", "limit": 10},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": price_text(0),
            "maxQty": price_text(_LARGEST_QUANTITY),
            "stepSize": price_text(0),
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ]
