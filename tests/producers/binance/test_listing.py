"""What the exchange lists of a pair is kept digit by digit, or refused."""

import json

import msgspec
import pytest

from tapehouse.producers.binance.listing import listed_symbol

AT = 1_772_000_000_000_000
LISTED = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "baseAssetPrecision": 8,
    "quoteAsset": "USDT",
    "filters": [
        {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "tickSize": "0.01000000"},
        {"filterType": "LOT_SIZE", "minQty": "0.00001000", "stepSize": "0.00001000"},
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.00000000"},
    ],
}


def test_the_assets_the_steps_and_the_status_are_kept():
    told = listed_symbol(json.dumps(LISTED).encode(), AT)
    assert (told.kind, told.source, told.key, told.observed_at) == ("symbols", "binance", "BTCUSDT", AT)
    assert told.fields == {
        "status": "TRADING",
        "base_asset": "BTC",
        "quote_asset": "USDT",
        "tick_size": "0.01000000",
        "step_size": "0.00001000",
    }


def test_a_pair_without_filters_has_no_steps():
    told = listed_symbol(json.dumps({**LISTED, "filters": []}).encode(), AT)
    assert (told.fields["tick_size"], told.fields["step_size"]) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {**LISTED, "baseAsset": None},
        {**LISTED, "filters": [{"filterType": "PRICE_FILTER", "tickSize": "NaN"}]},
        {**LISTED, "filters": [{"filterType": "LOT_SIZE", "stepSize": "-1"}]},
        {"symbol": "BTCUSDT", "status": "TRADING"},
    ],
)
def test_an_entry_that_cannot_be_true_is_refused(wrong):
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        listed_symbol(json.dumps(wrong).encode(), AT)
