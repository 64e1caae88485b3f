"""Symbols compared with each other: by the returns they share, the largest first."""

import math
import statistics
import time

import httpx
import msgspec
import pytest

from tapehouse.catalog import CANDLES
from tapehouse.market.windows import MINUTE, opened_at
from tapehouse.streaming.rows import silver_candles


def test_the_matrix_is_symmetric_and_says_how_many_returns_are_shared(market, api):
    start = opened_at(time.time_ns() // 1000, "1m") - 40 * MINUTE
    prices = {
        "BTCUSDT": [100 + (minute * 7) % 11 for minute in range(40)],
        "ETHUSDT": [50 + (minute * minute * 3) % 13 for minute in range(40)],
    }
    for minute in range(40):
        for symbol, of in prices.items():
            if (symbol, minute) == ("ETHUSDT", 20):
                market.skip(1, symbol)
            else:
                market.tell(market.trade(str(of[minute]), symbol=symbol, at=start + minute * MINUTE))
    answer = api.get("/correlations?symbols=ethusdt,BTCUSDT&interval=1m&limit=60").json()
    assert answer["symbols"] == ["ETHUSDT", "BTCUSDT"]
    [[own, pair], [mirrored, _]] = answer["correlations"]
    assert own == pytest.approx(1.0)
    assert pair == mirrored
    assert pair == pytest.approx(correlation(prices))
    assert answer["returns"] == [[36, 36], [36, 38]]
    assert answer["spans"]["BTCUSDT"]["completeness"]["windows"] == 60


def correlation(prices) -> float:
    """Pearson's of the returns up to the last window but one, which is over; none into or out of minute 20."""
    shared = [minute for minute in range(1, 39) if minute not in {20, 21}]
    returns = [[math.log(of[minute] / of[minute - 1]) for minute in shared] for of in prices.values()]
    return statistics.correlation(*returns)


def test_the_largest_symbols_are_compared_and_volume_in_other_money_does_not_count(market, serving, restless):
    dollars = {f"A{number:02}USDT": 10 + number for number in range(12)} | {"ZECUSDT": 500, "BTCUSDT": 1_000}
    volumes = dollars | {"ETHBTC": 10**6, "AAVETRY": 10**7}
    several = type(market)(market.lake, symbols=tuple(volumes))
    hour = restless("1h", 1)[0]
    rows = [
        msgspec.structs.replace(
            hour, symbol=symbol, candle=msgspec.structs.replace(hour.candle, quote_volume=volume * 10**16)
        )
        for symbol, volume in volumes.items()
    ]
    market.lake.append(CANDLES, silver_candles(rows), writer="test", batch=0)
    with serving(several) as address, httpx.Client(base_url=address) as api:
        told = list(api.get("/analytics/A05USDT").json()["correlations"]["with"])
        every = api.get("/correlations").json()["symbols"]
    largest = sorted(dollars, key=lambda symbol: -dollars[symbol])
    assert told == [symbol for symbol in largest if symbol != "A05USDT"][:10]
    assert every == largest[:10]


def test_all_symbols_are_compared_when_none_is_named_and_an_unknown_one_is_a_404(api):
    answer = api.get("/correlations").json()
    assert answer["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert answer["correlations"] == [[None, None], [None, None]]
    assert api.get("/correlations?symbols=DOGEUSDT").status_code == 404
    assert api.get("/correlations?symbols=,").status_code == 422
