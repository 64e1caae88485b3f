"""What a REST request asks, read as Binance reads it, and the errors it answers with."""

import re
from collections.abc import Mapping

import msgspec

from tapehouse.exchange.tapes import Pair
from tapehouse.market.windows import INTERVALS

_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)
_SYMBOL = re.compile(r"[A-Z0-9-_.]{1,50}", re.ASCII)
_LATEST = 2**62


class ExchangeError(Exception):
    """Binance's error: a status, a code such as -1121, and a text."""

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status


class Question:
    """The parameters of a request."""

    def __init__(self, parameters: Mapping[str, str], pairs: Mapping[str, Pair]) -> None:
        self._parameters = parameters
        self._pairs = pairs

    @property
    def symbol(self) -> str:
        """The symbol asked for, one that exists."""
        return self._named(self._mandatory("symbol"))

    @property
    def symbols(self) -> list[str] | None:
        """The symbols asked for by `symbol` or `symbols`, None when neither is given."""
        one, several = self._parameters.get("symbol"), self._parameters.get("symbols")
        if one is not None and several is not None:
            raise ExchangeError(-1128, "Combination of optional parameters invalid.")
        if one is not None:
            return [self._named(one)]
        return None if several is None else [self._known(name) for name in self._listed(several)]

    @property
    def is_of_one_symbol(self) -> bool:
        """Whether it asks for one symbol, so that the answer is no list."""
        return "symbol" in self._parameters

    @property
    def interval(self) -> str:
        """The interval of candles asked for."""
        interval = self._mandatory("interval")
        if interval not in INTERVALS:
            raise ExchangeError(-1120, "Invalid interval.")
        return interval

    @property
    def limit(self) -> int:
        """How many rows at most: 500 unless told, never more than 1000."""
        limit = self.number("limit")
        if limit == 0:
            raise ExchangeError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit or 500, 1000)

    def number(self, name: str) -> int | None:
        """Return a parameter that is a whole number, None when it is not given."""
        text = self._parameters.get(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text):
            raise ExchangeError(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
            )
        return int(text)

    def time(self, name: str) -> int | None:
        """Return a time in microseconds; it may be given in milliseconds or microseconds."""
        value = self.number(name)
        if value is None:
            return None
        return min(value if value >= 10**15 else value * 1000, _LATEST)

    def _mandatory(self, name: str) -> str:
        text = self._parameters.get(name)
        if not text:
            raise ExchangeError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return text

    def _named(self, symbol: str) -> str:
        if not _SYMBOL.fullmatch(symbol):
            raise ExchangeError(
                -1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,50}$'."
            )
        return self._known(symbol)

    def _known(self, symbol: str) -> str:
        if symbol not in self._pairs:
            raise ExchangeError(-1121, "Invalid symbol.")
        return symbol

    def _listed(self, text: str) -> list[str]:
        try:
            return msgspec.json.decode(text, type=list[str])
        except msgspec.DecodeError:
            legal = '\'^\\["[A-Z0-9-_.]{1,50}"(,"[A-Z0-9-_.]{1,50}"){0,}\\]$\''
            raise ExchangeError(
                -1100, f"Illegal characters found in parameter 'symbols'; legal range is {legal}."
            ) from None
