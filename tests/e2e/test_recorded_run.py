"""Ten real minutes of BTCUSDT through a real socket into a real lake: the candles are the exchange's own."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import zstandard

pytestmark = [pytest.mark.recordings, pytest.mark.slow]

TRADES = 19_904
WHOLE = (datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, 0, 0, tzinfo=UTC))
"""When the 5m windows opened of which every trade was recorded."""
FIELDS = "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"


@pytest.fixture
def exchanges_own(recordings):
    """FIELDS of the exchange's 5m klines, by opening."""
    packed = (recordings / "2-klines" / "BTCUSDT-spot-5m-2024-08.csv.zst").read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read().decode()
    return {
        datetime.fromtimestamp(int(opened) / 1000, UTC): (*map(Decimal, prices_and_volume), *rest_of(rest))
        for opened, *prices_and_volume, _, quote, trades, taker, taker_quote, _ in csv.reader(io.StringIO(text))
        for rest in [(quote, trades, taker, taker_quote)]
    }


def rest_of(rest):
    quote, trades, taker, taker_quote = rest
    return Decimal(quote), int(trades), Decimal(taker), Decimal(taker_quote)


@pytest.mark.parametrize("speed", [None, 60.0], ids=["as fast as it is read", "sixty times as fast"])
def test_recorded_trades_are_held_once_and_make_the_exchanges_own_candles(
    exchange, platform, audit, tables, recordings, exchanges_own, speed
):
    files = [recordings / "1-binance-ws" / f"hftbacktest_spot_btcusdt_2024080{day}.gz" for day in (8, 9)]
    served = exchange(recordings=files, speed=speed)
    up = platform(served, "BTCUSDT").start()
    last = served.tape.id_at("BTCUSDT", served.tape.ends_at) - 1
    up.until_health(lambda health: health["symbols"].get("BTCUSDT", {}).get("last_trade_id") == last)
    assert up.get("/health")["symbols"]["BTCUSDT"]["missing_trades"] == 0
    assert up.stop() == 0

    trades = audit(served).everything("BTCUSDT")
    assert len(trades) == TRADES
    rows = tables.rows("silver/candles", f"opened_at, state, {FIELDS}", "WHERE interval = '5m'")
    found = {row[0]: row[1:] for row in rows}
    for opened in WHOLE:
        assert ("closed", *exchanges_own[opened]) == found[opened]
