"""CoinGecko's API over the exchange's own market: the same prices, each answer kept for a minute as the real one does.

Numbers are floats and may come with an exponent, as the real ones do: it is for the reader to keep them exact.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tapehouse.exchange.context.answers import Answer, json_answer, to_time
from tapehouse.exchange.context.coins import Coin, coins_of, listed
from tapehouse.exchange.market_view import MarketView
from tapehouse.market.windows import DAY, INTERVALS, MINUTE, SECOND

_KEYS = ("x-cg-demo-api-key", "x-cg-pro-api-key")
_MOST_KEPT = 256
_MOST_A_PAGE = 250
_PRICE = 10**8
_NOTIONAL = 10**16
_WHOLE_MARKET = 1.25
"""How many times the coins that are listed here the whole market is worth."""

Query = Mapping[str, str]


class _Refused(Exception):  # noqa: N818  # an answer, not an error
    """A question that is answered with CoinGecko's flat kind of error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class CoinGecko:
    """Answers of `/api/v3`: a key beginning with `bad` is refused, any other and none is taken."""

    name = "coingecko"

    def __init__(self, market: MarketView) -> None:
        self._market = market
        self._coins = coins_of(market.tape.pairs.values())
        self._kept: dict[tuple[str, ...], tuple[int, Answer]] = {}
        self._questions: dict[str, Callable[[Query], Any]] = {
            "ping": lambda _: {"gecko_says": "(V3) To the Moon!"},
            "coins/list": lambda _: listed(self._coins),
            "coins/markets": self._markets,
            "simple/price": self._prices,
            "global": self._global,
        }

    def answer(self, path: str, query: Query, headers: Mapping[str, str]) -> Answer:
        """Answer a path below `/api/v3`."""
        if any(headers.get(name, "").startswith("bad") for name in _KEYS):
            return json_answer({"error": {"status": _status(10010, "API Key Invalid")}}, 401)
        minute = self._market.now() // MINUTE
        question = (path, *(f"{name}={query[name]}" for name in sorted(query)))
        kept = self._kept.get(question)
        if kept is None or kept[0] != minute:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            kept = self._kept[question] = (minute, self._fresh(path, query))
        return kept[1]

    def refusal(self, status: int) -> Answer:
        """Refuse in the nested kind of error, which the limits have."""
        return json_answer({"status": _status(status, "You've exceeded the Rate Limit, or we are not well.")}, status)

    def _fresh(self, path: str, query: Query) -> Answer:
        chart = path.removeprefix("coins/").removesuffix("/market_chart")
        try:
            if path == f"coins/{chart}/market_chart":
                return json_answer(self._chart(chart, query))
            if path not in self._questions:
                return json_answer({"error": "Incorrect path. Please check https://www.coingecko.com/api/"}, 404)
            return json_answer(self._questions[path](query))
        except _Refused as refused:
            return json_answer({"error": str(refused)}, refused.status)

    def _markets(self, query: Query) -> list[dict[str, Any]]:
        _needed(query, "vs_currency")
        ranked = self._ranked()
        wanted = _names(query.get("ids", ""))
        rows = [self._row(coin, rank) for rank, coin in enumerate(ranked, 1) if not wanted or coin.id in wanted]
        size = min(_number(query, "per_page", 100), _MOST_A_PAGE)
        first = (max(_number(query, "page", 1), 1) - 1) * size
        return rows[first : first + size]

    def _prices(self, query: Query) -> dict[str, dict[str, Any]]:
        wanted = _names(_needed(query, "ids"))
        currencies = _names(_needed(query, "vs_currencies"))
        found = {}
        for coin in self._coins:
            if coin.id in wanted:
                row = self._row(coin, 0)
                entry = dict.fromkeys(currencies, row["current_price"])
                for asked, field in _BESIDES_THE_PRICE.items():
                    if query.get(f"include_{asked}") == "true":
                        entry |= {f"{currency}_{asked}": row[field] for currency in currencies}
                if query.get("include_last_updated_at") == "true":
                    entry["last_updated_at"] = self._market.now() // SECOND
                found[coin.id] = entry
        return found

    def _global(self, _query: Query) -> dict[str, Any]:
        rows = {coin.symbol.lower(): self._row(coin, rank) for rank, coin in enumerate(self._ranked(), 1)}
        total = sum(row["market_cap"] or 0 for row in rows.values()) * _WHOLE_MARKET
        volume = sum(row["total_volume"] or 0 for row in rows.values()) * _WHOLE_MARKET
        before = total - sum(row["market_cap_change_24h"] or 0 for row in rows.values()) * _WHOLE_MARKET
        largest = {name: (row["market_cap"] or 0) * 100 / total for name, row in list(rows.items())[:10] if total}
        return {
            "data": {
                "active_cryptocurrencies": len(rows),
                "upcoming_icos": 0,
                "ongoing_icos": 0,
                "ended_icos": 0,
                "markets": 1,
                "total_market_cap": {"usd": total},
                "total_volume": {"usd": volume},
                "market_cap_percentage": largest,
                "market_cap_change_percentage_24h_usd": (total - before) * 100 / before if before else 0.0,
                "updated_at": self._market.now() // SECOND,
            }
        }

    def _chart(self, coin_id: str, query: Query) -> dict[str, list[list[float]]]:
        _needed(query, "vs_currency")
        coin = next((coin for coin in self._coins if coin.id == coin_id), None)
        if coin is None:
            raise _Refused(404, "coin not found")
        days = _number(query, "days", 1)
        interval = "5m" if days <= 1 else "1h" if days <= 90 else "1d"
        count = days * DAY // INTERVALS[interval]
        windows = self._market.klines(coin.pair, interval, count, None, None)
        closes = [(window.opened_at // 1000, window.close / _PRICE, window.candle) for window in windows]
        return {
            "prices": [[at, price] for at, price, _ in closes],
            "market_caps": [[at, price * coin.supply] for at, price, _ in closes],
            "total_volumes": [[at, candle.quote_volume / _NOTIONAL if candle else 0.0] for at, _, candle in closes],
        }

    def _ranked(self) -> Sequence[Coin]:
        return sorted(self._coins, key=lambda coin: -(self._market.price(coin.pair) or 0) * coin.supply)

    def _row(self, coin: Coin, rank: int) -> dict[str, Any]:
        """Return a coin as `/coins/markets` has it; without a trade yet, its numbers are null."""
        head = {"id": coin.id, "symbol": coin.symbol.lower(), "name": coin.name, "image": "missing_large.png"}
        tail = {
            "circulating_supply": float(coin.supply),
            "total_supply": float(coin.most or coin.supply),
            "max_supply": None if coin.most is None else float(coin.most),
            "roi": None,
            "last_updated": to_time(self._market.now()).isoformat(timespec="milliseconds")[:-6] + "Z",
        }
        units = self._market.price(coin.pair)
        if units is None:
            return head | dict.fromkeys(_NUMBERS) | tail
        return head | self._numbers(coin, units / _PRICE, rank) | tail

    def _numbers(self, coin: Coin, price: float, rank: int) -> dict[str, Any]:
        day, _ = self._market.day(coin.pair)
        opened, high, low = (day.open / _PRICE, day.high / _PRICE, day.low / _PRICE) if day else (price, price, price)
        worth, change = price * coin.supply, price - opened
        percent = round(change * 100 / opened, 5) if opened else 0.0
        return {
            "current_price": price,
            "market_cap": round(worth),
            "market_cap_rank": rank,
            "fully_diluted_valuation": round(price * (coin.most or coin.supply)),
            "total_volume": day.quote_volume / _NOTIONAL if day else 0,
            "high_24h": high,
            "low_24h": low,
            "price_change_24h": change,
            "price_change_percentage_24h": percent,
            "market_cap_change_24h": change * coin.supply,
            "market_cap_change_percentage_24h": percent,
            "ath": high * 1.5,
            "ath_change_percentage": round(price * 100 / (high * 1.5) - 100, 5),
            "ath_date": "2025-10-06T18:57:42.558Z",
            "atl": low / 1000,
            "atl_change_percentage": round(price * 100_000 / low - 100, 5),
            "atl_date": "2013-07-06T00:00:00.000Z",
        }


_BESIDES_THE_PRICE = {
    "market_cap": "market_cap",
    "24hr_vol": "total_volume",
    "24hr_change": "price_change_percentage_24h",
}
_NUMBERS = (
    "current_price",
    "market_cap",
    "market_cap_rank",
    "fully_diluted_valuation",
    "total_volume",
    "high_24h",
    "low_24h",
    "price_change_24h",
    "price_change_percentage_24h",
    "market_cap_change_24h",
    "market_cap_change_percentage_24h",
    "ath",
    "ath_change_percentage",
    "ath_date",
    "atl",
    "atl_change_percentage",
    "atl_date",
)


def _status(code: int, text: str) -> dict[str, object]:
    return {"error_code": code, "error_message": text}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _needed(query: Query, name: str) -> str:
    if not query.get(name):
        raise _Refused(422, f"Missing parameter {name}")
    return query[name]


def _number(query: Query, name: str, otherwise: int) -> int:
    text = query.get(name, "")
    return min(int(text), 365) if text.isdecimal() else otherwise
