"""Files of what others told of the past, as their addresses answer: the Fear & Greed index, a coin's prices."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tapehouse.errors import ConfigError
from tapehouse.market.context import canonical
from tapehouse.market.divergences import Told
from tapehouse.market.windows import DAY
from tapehouse.producers import fear_greed
from tapehouse.producers.coingecko import wire
from tapehouse.streaming.signal_reads import price_told

_LATEST = 2**62
"""Nothing in a file is too new: it was told before it was put there."""
_COIN = "file"
"""A `/market_chart` does not say which coin it is of."""


class ToldByFiles(msgspec.Struct):
    """The index by UTC day, and a coin's prices, oldest first."""

    index: dict[int, int]
    prices: list[Told]


def read_told(files: Iterable[Path]) -> ToldByFiles:
    """Return what files tell: answers of alternative.me's `/fng` and of CoinGecko's `/market_chart`, as JSON.

    Raise ConfigError that names the file that is neither.
    """
    found = ToldByFiles({}, [])
    for file in files:
        try:
            _read(file.read_bytes(), found)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{file} is no answer of Fear & Greed or of CoinGecko's market_chart: {error}") from None
    found.prices.sort()
    return found


def _read(body: bytes, found: ToldByFiles) -> None:
    if "prices" in msgspec.json.decode(body, type=dict[str, msgspec.Raw]):
        for frame in wire.split_chart(_COIN, body):
            told = wire.history_point(frame, _LATEST)
            price = price_told(told.observed_at, told.observed_at, told.source, canonical(told.fields))
            found.prices += [] if price is None else [price]
        return
    for frame in fear_greed.split(body):
        day = fear_greed.index_day(frame, _LATEST)
        found.index[day.observed_at // DAY * DAY] = int(str(day.fields["value"]))
