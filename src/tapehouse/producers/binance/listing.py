"""What Binance lists of a pair in exchangeInfo, letter by letter, and the one step from it to an observation.

{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT", ...,
 "filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},
            {"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"}, ...]}
"""

from collections.abc import Sequence

import msgspec

from tapehouse.catalog import VENUE
from tapehouse.market.context import Observation, Value
from tapehouse.market.fixed_point import to_units


class Filter(msgspec.Struct, rename="camel"):
    """A rule for orders; the sizes stand in two of them."""

    filter_type: str
    tick_size: str | None = None
    step_size: str | None = None


class ListedPair(msgspec.Struct, rename="camel"):
    """What is kept of a pair's entry."""

    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: Sequence[Filter] = ()

    def to_observation(self, received_at: int) -> Observation:
        """Return what is listed; raise ValueError where a size is no decimal."""
        fields: dict[str, Value] = {
            "status": self.status,
            "base_asset": self.base_asset,
            "quote_asset": self.quote_asset,
            "tick_size": self._size("PRICE_FILTER", "tick_size"),
            "step_size": self._size("LOT_SIZE", "step_size"),
        }
        return Observation("symbols", VENUE, self.symbol, received_at, received_at, fields)

    def _size(self, kind: str, name: str) -> str | None:
        told = next((getattr(each, name) for each in self.filters if each.filter_type == kind), None)
        if told is not None:
            to_units(told)
        return told


_PAIR = msgspec.json.Decoder(ListedPair)


def listed_symbol(frame: bytes, received_at: int) -> Observation:
    """Read a pair's entry; raise msgspec.MsgspecError or ValueError when it is none."""
    return _PAIR.decode(frame).to_observation(received_at)
