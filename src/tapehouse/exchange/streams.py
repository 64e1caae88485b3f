"""What a client has subscribed to, and the replies Binance gives to its commands. No input or output here."""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from tapehouse.market.windows import INTERVALS

MOST_STREAMS = 1024
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Command(msgspec.Struct):
    """A message of a client: `{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}`."""

    method: str
    params: list[str | bool] = []
    id: int | str | None = None


@dataclass(frozen=True)
class View:
    """What a client is sent: clients with one view are sent the same bytes."""

    trades: frozenset[str]
    aggregates: frozenset[str]
    klines: frozenset[tuple[str, str]]
    combined: bool
    microseconds: bool


class Subscription:
    """The streams of one connection, as its address began them and its commands changed them."""

    def __init__(self, target: str) -> None:
        """Read the target of the handshake: `/ws/a/b`, `/ws`, or `/stream?streams=a/b`."""
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        self.combined = parts.path.rstrip("/").endswith("/stream")
        unit = [value for name, values in query.items() if name.lower() == "timeunit" for value in values]
        self.microseconds = any(value.upper() == "MICROSECOND" for value in unit)
        path = unquote(parts.path).removeprefix("/ws").strip("/")
        named = "/".join(query.get("streams", [])) if self.combined else path
        self.streams: dict[str, None] = dict.fromkeys(name for name in named.split("/") if name)
        self._view: View | None = None

    @property
    def is_too_large(self) -> bool:
        """More streams than a connection may have."""
        return len(self.streams) > MOST_STREAMS

    @property
    def view(self) -> View:
        """The streams the exchange knows among those asked for."""
        if self._view is None:
            self._view = self._viewed()
        return self._view

    def answer(self, text: str | bytes) -> str:
        """Carry out a client's command and return the reply."""
        try:
            command = msgspec.json.decode(text, type=Command)
        except msgspec.ValidationError as error:
            return _refusal(2, f"Invalid request: {error}", None)
        except msgspec.DecodeError as error:
            return _refusal(3, f"Invalid JSON: {error}", None)
        if command.method not in _METHODS:
            known = ", ".join(f"`{method}`" for method in _METHODS)
            return _refusal(
                2, f"Invalid request: unknown variant `{command.method}`, expected one of {known}", command.id
            )
        return self._carry_out(command)

    def _carry_out(self, command: Command) -> str:
        names = [param for param in command.params if isinstance(param, str)]
        match command.method:
            case "SUBSCRIBE":
                return self._subscribe(names, command.id)
            case "UNSUBSCRIBE":
                for name in names:
                    self.streams.pop(name, None)
                self._view = None
                return _reply(None, command.id)
            case "LIST_SUBSCRIPTIONS":
                return _reply(list(self.streams), command.id)
            case "GET_PROPERTY":
                return _reply(self.combined, command.id)
        return self._set_property(command)

    def _subscribe(self, names: list[str], request: int | str | None) -> str:
        if len(self.streams.keys() | set(names)) > MOST_STREAMS:
            return _refusal(2, f"Invalid request: too many streams, a connection may have {MOST_STREAMS}", request)
        self.streams.update(dict.fromkeys(names))
        self._view = None
        return _reply(None, request)

    def _set_property(self, command: Command) -> str:
        match command.params:
            case ["combined", bool(wanted)]:
                self.combined = wanted
                self._view = None
                return _reply(None, command.id)
            case ["combined", _]:
                return _refusal(1, "Invalid value type: expected Boolean", command.id)
        return _refusal(0, "Unknown property", command.id)

    def _viewed(self) -> View:
        kinds: dict[str, set[str]] = {"trade": set(), "aggTrade": set()}
        klines: set[tuple[str, str]] = set()
        for name in self.streams:
            symbol, _, kind = name.partition("@")
            if symbol != symbol.lower():
                continue
            if kind in kinds:
                kinds[kind].add(symbol.upper())
            elif kind.startswith("kline_") and kind.removeprefix("kline_") in INTERVALS:
                klines.add((symbol.upper(), kind.removeprefix("kline_")))
        return View(
            trades=frozenset(kinds["trade"]),
            aggregates=frozenset(kinds["aggTrade"]),
            klines=frozenset(klines),
            combined=self.combined,
            microseconds=self.microseconds,
        )


def _reply(result: object, request: int | str | None) -> str:
    return msgspec.json.encode({"result": result, "id": request}).decode()


def _refusal(code: int, text: str, request: int | str | None) -> str:
    return msgspec.json.encode({"error": {"code": code, "msg": text}, "id": request}).decode()
