"""Which symbols to follow: those named, and every trading pair that fits a pattern such as `*USDT`."""

from collections.abc import Callable, Sequence

from tapehouse.producers.binance.rest import ExchangeInfo


def named(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the symbols that are named outright; they need no list from the exchange."""
    return tuple(symbol for symbol in wanted if not symbol.startswith("*"))


def patterns(wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns, each `*` and an ending."""
    return tuple(symbol for symbol in wanted if symbol.startswith("*"))


def asked_for(wanted: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a symbol that is heard of is one of those named, or can fit a pattern."""
    names, endings = frozenset(named(wanted)), tuple(pattern.removeprefix("*") for pattern in patterns(wanted))

    def asked(symbol: str) -> bool:
        return symbol in names or (symbol.endswith(endings) and symbol.isalnum() and symbol.isupper())

    return asked


def fitting(wanted: Sequence[str], exchange: ExchangeInfo) -> tuple[str, ...]:
    """Return the pairs that trade now and fit a pattern, in the exchange's order."""
    endings = tuple(pattern.removeprefix("*") for pattern in patterns(wanted))
    return tuple(
        pair.symbol
        for pair in exchange.symbols
        if endings and pair.status == "TRADING" and pair.symbol.endswith(endings)
    )


def doubts(wanted: Sequence[str], exchange: ExchangeInfo) -> tuple[str, ...]:
    """Return a sentence for each named symbol without a live market and each pattern nothing fits."""
    status = {pair.symbol: pair.status for pair in exchange.symbols}
    unknown = [
        f"{symbol} does not exist on Binance; nothing will come" for symbol in named(wanted) if symbol not in status
    ]
    halted = [
        f"{symbol} does not trade now (status {status[symbol]}); nothing comes until it does"
        for symbol in named(wanted)
        if status.get(symbol, "TRADING") != "TRADING"
    ]
    empty = [f"no trading pair fits {pattern}" for pattern in patterns(wanted) if not fitting((pattern,), exchange)]
    return (*unknown, *halted, *empty)
