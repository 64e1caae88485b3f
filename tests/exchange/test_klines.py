"""The candles of any past window, however many trades it has."""

from tapehouse.exchange.generator import GeneratedTape, GeneratorOptions
from tapehouse.exchange.klines import CandleHistory

MINUTE = 60_000_000
START = 1_772_704_800_000_000


def test_a_minute_read_in_several_pieces_holds_every_trade_once():
    tape = GeneratedTape(GeneratorOptions(seed=3, symbols=1, rate=6000.0, starts_at=START))
    rows = tape.between(START, START + MINUTE)
    assert rows.height > 200_000  # more than is read at once
    candle = CandleHistory(tape).candle("BTCUSDT", START, START + MINUTE, START + MINUTE)
    assert (candle.trades, candle.volume) == (rows.height, rows["quantity"].sum())
    assert (candle.first_trade_id, candle.last_trade_id) == (
        rows["first_trade_id"].item(0), rows["first_trade_id"].item(-1),
    )  # fmt: skip
    assert (candle.open, candle.close) == (rows["price"].item(0), rows["price"].item(-1))
    assert (candle.high, candle.low) == (rows["price"].max(), rows["price"].min())
