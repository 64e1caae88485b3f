import pytest

from tapehouse.api.encoding import as_text
from tapehouse.api.rows import candle_fields, vwap
from tapehouse.catalog import CANDLES, TABLES
from tapehouse.market.candles import Candle
from tapehouse.market.ledger import CandleRow
from tapehouse.market.windows import MINUTE, WATERMARK_DELAY

OPENED = 1_723_161_240_000_000


def candle(volume: int, quote_volume: int) -> Candle:
    return Candle(1, 1, 1, 1, volume, quote_volume, 1, 0, 0, 5, 5)


@pytest.mark.parametrize(
    ("volume", "quote_volume", "mean"),
    [(3, 10, 3), (3, 11, 4), (2, 5, 2), (2, 7, 4), (1, 10**30, 10**30)],
)
def test_vwap_is_rounded_half_to_even_and_never_through_a_float(volume, quote_volume, mean):
    assert mean == vwap(candle(volume, quote_volume))


def test_there_is_no_vwap_without_volume():
    assert vwap(candle(0, 0)) is None


def test_a_candle_has_every_column_of_the_table_but_its_partition():
    fields = candle_fields(CandleRow("BTCUSDT", "1m", OPENED, candle(1, 1), None, "closed", 1, OPENED), as_text, 0)
    assert set(TABLES[CANDLES].schema) - {"date"} <= set(fields)


@pytest.mark.parametrize(
    ("state", "past_the_end", "said"),
    [
        ("closed", WATERMARK_DELAY - 1, "closed"),
        ("closed", WATERMARK_DELAY, "final"),
        ("gap", WATERMARK_DELAY, "gap"),
        ("quiet", WATERMARK_DELAY, "quiet"),
    ],
)
def test_a_closed_candle_is_final_once_the_watermark_has_passed_it(state, past_the_end, said):
    row = CandleRow("BTCUSDT", "1m", OPENED, candle(1, 1), None, state, 1, OPENED)
    assert said == candle_fields(row, as_text, OPENED + MINUTE + past_the_end)["state"]


def test_a_quiet_candle_is_flat_and_has_no_ids():
    row = CandleRow("BTCUSDT", "1m", OPENED, None, 250_000_000, "quiet", 1, OPENED)
    fields = candle_fields(row, as_text, 0)
    assert [fields[name] for name in ("open", "high", "low", "close")] == ["2.5"] * 4
    assert (fields["volume"], fields["trades"], fields["first_trade_id"], fields["vwap"]) == ("0", 0, None, None)


def test_a_gap_of_which_nothing_is_held_has_no_price():
    row = CandleRow("BTCUSDT", "1m", OPENED, None, None, "gap", 1, OPENED)
    assert candle_fields(row, as_text, 0)["close"] is None
