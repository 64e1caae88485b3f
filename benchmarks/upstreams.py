"""The upstreams of the market's context, many of each, in a process of their own: `python -m benchmarks.upstreams`.

Two hundred feeds, four hundred coins and their past, the Fear & Greed index; on a clock that runs `speed` times faster.
One feed, `fast`, has a story a second that says when it was first served.
"""

import json
import random
import sys
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FEEDS, COINS = 200, 400
STORY_EVERY = 7_200
"""Seconds between two stories of one feed."""
ITEMS = 25
DAY = 86_400
WORDS = (
    *("bitcoin", "ether", "market", "surge", "falls", "exchange", "miners", "record", "bridge", "upgrade", "court"),
    *("lender", "custody", "hack", "fund", "buyers", "sellers", "network", "stablecoin", "volume", "token", "wallet"),
    *("bank", "regulator", "reserve", "vote", "desk", "futures", "options", "yield", "chart", "week"),
)
"""What stories are made of."""


class Upstreams:
    """What is told at a moment of the clock, which was `began` (seconds since 1970) when the machine's was the same."""

    def __init__(self, began: float, speed: float) -> None:
        self._began = began
        self._speed = speed
        self._served: dict[int, float] = {}

    def now(self) -> float:
        """Return the time of the clock."""
        return self._began + (time.time() - self._began) * self._speed

    def feed(self, request: Request) -> Response:
        """Give the newest stories of a feed, or say that there is nothing new."""
        name = request.path_params["name"]
        every = 1.0 if name == "fast" else STORY_EVERY
        offset = 0 if name == "fast" else int(name) * STORY_EVERY / FEEDS
        newest = int((self.now() - offset) / every)
        tag = f'"{newest}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        numbers = range(newest, newest - (3 if name == "fast" else ITEMS), -1)
        items = "".join(self._item(name, number, number * every + offset) for number in numbers)
        body = f'<?xml version="1.0"?>\n<rss version="2.0"><channel><title>{name}</title>{items}</channel></rss>'
        return Response(body, media_type="application/rss+xml", headers={"ETag": tag})

    def _item(self, name: str, number: int, at: float) -> str:
        if name == "fast":
            title = f"served {self._served.setdefault(number, time.time())}"
        else:
            title = " ".join(random.Random(f"{name}/{number}").sample(WORDS, 9)).capitalize()
        dated = format_datetime(datetime.fromtimestamp(at, UTC))
        summary = "&lt;p&gt;" + " ".join(random.Random(number).choices(WORDS, k=60)) + "&lt;/p&gt;"
        return (
            f"<item><title>{title}</title><link>https://site{name}.example/{number}</link><guid>{name}-{number}</guid>"
            f"<pubDate>{dated}</pubDate><description>{summary}</description></item>"
        )

    def coins(self, _request: Request) -> Response:
        """List the coins."""
        return JSONResponse([{"id": f"coin-{n}", "symbol": f"c{n}", "name": f"Coin {n}"} for n in range(COINS)])

    def markets(self, request: Request) -> Response:
        """Tell everything about the coins asked for."""
        at = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return JSONResponse([self._coin(ident, at) for ident in request.query_params["ids"].split(",")])

    def _coin(self, ident: str, at: str) -> dict[str, object]:
        drawn = random.random
        amounts = ("current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h")
        changes = ("price_change_24h", "price_change_percentage_24h", "market_cap_change_24h", "ath_change_percentage")
        rest = {name: round(drawn() * 1e9, 4) for name in (*amounts, *changes, "circulating_supply", "ath", "atl")}
        dates = {"ath_date": at, "atl_date": at, "last_updated": at}
        about = {"id": ident, "symbol": ident, "name": ident.title(), "image": "https://image.example/" + ident * 5}
        return about | {"market_cap_rank": 1, "max_supply": None, "roi": None} | rest | dates

    def prices(self, request: Request) -> Response:
        """Tell the newest figures of the coins asked for."""
        names = ("usd", "usd_market_cap", "usd_24h_vol", "usd_24h_change")
        told = {name: round(random.random() * 1e6, 4) for name in names} | {"last_updated_at": int(self.now())}
        return JSONResponse(dict.fromkeys(request.query_params["ids"].split(","), told))

    def whole(self, _request: Request) -> Response:
        """Tell of the market as a whole."""
        amounts = {"usd": random.random() * 1e12}
        told = {"total_market_cap": amounts, "total_volume": amounts, "market_cap_percentage": {"btc": 51.2}}
        return JSONResponse({"data": told | {"updated_at": int(self.now()), "markets": 9}})

    def chart(self, _request: Request) -> Response:
        """Tell a coin's past year, a value a day."""
        today = int(self.now() // DAY) * DAY
        points = [[(today - day * DAY) * 1000, round(random.random() * 1e5, 6)] for day in range(365, 0, -1)]
        return JSONResponse({"prices": points, "market_caps": points, "total_volumes": points})

    def index(self, request: Request) -> Response:
        """Tell the Fear & Greed index."""
        today = int(self.now() // DAY) * DAY
        days = int(request.query_params["limit"]) or (today - 1_517_443_200) // DAY
        told = [
            {"value": str(40 + day % 30), "value_classification": "Fear", "timestamp": str(today - day * DAY)}
            for day in range(days)
        ]
        told[0]["time_until_update"] = str(int(today + DAY - self.now()))
        return Response(json.dumps({"name": "Fear and Greed Index", "data": told, "metadata": {"error": None}}))

    def app(self) -> Starlette:
        """Return the server."""
        answers = {
            "/feeds/{name}": self.feed,
            "/gecko/coins/list": self.coins,
            "/gecko/coins/markets": self.markets,
            "/gecko/simple/price": self.prices,
            "/gecko/global": self.whole,
            "/gecko/coins/{id}/market_chart": self.chart,
            "/fng/": self.index,
        }
        return Starlette(routes=[Route(path, _on_the_loop(answer)) for path, answer in answers.items()])


def _on_the_loop(answer):  # noqa: ANN001, ANN202  # a route's function; a thread for each answer would cost more
    async def told(request: Request) -> Response:
        return answer(request)

    return told


if __name__ == "__main__":
    uvicorn.run(
        Upstreams(float(sys.argv[2]), float(sys.argv[3])).app(),
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
    )
