"""What happens in a market, as values: times in microseconds since 1970 UTC, prices and quantities in 10^-8."""

from typing import Literal

import msgspec

from tapehouse.market.candles import Candle

TakerSide = Literal["buy", "sell"]
Origin = Literal["stream", "rest", "archive"]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade, or several with consecutive ids at one price that the exchange told of as one.

    `quantity` is their sum; `first_trade_id == last_trade_id` for a single trade. `event_at` is when the exchange sent
    it, None where it does not say.
    """

    symbol: str
    first_trade_id: int
    last_trade_id: int
    price: int
    quantity: int
    taker_side: TakerSide
    traded_at: int
    event_at: int | None
    received_at: int
    source: Origin

    def as_candle(self) -> Candle:
        """Return the candle that holds this trade alone."""
        bought = self.quantity if self.taker_side == "buy" else 0
        return Candle(
            open=self.price,
            high=self.price,
            low=self.price,
            close=self.price,
            volume=self.quantity,
            quote_volume=self.price * self.quantity,
            trades=self.last_trade_id - self.first_trade_id + 1,
            taker_buy_volume=bought,
            taker_buy_quote_volume=self.price * bought,
            first_trade_id=self.first_trade_id,
            last_trade_id=self.last_trade_id,
        )


class Kline(msgspec.Struct, frozen=True, gc=False):
    """The exchange's own closed candle, the oracle. A window without trades has `candle` None and a flat `close`.

    `has_ids` is False where the exchange does not say the ids (its REST klines).
    """

    symbol: str
    interval: str
    opened_at: int
    candle: Candle | None
    close: int
    received_at: int
    has_ids: bool = True


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A message that is refused: its bytes and why."""

    topic: str
    reason: str
    payload: bytes
    received_at: int
