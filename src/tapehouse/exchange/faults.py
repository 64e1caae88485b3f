"""Faults on request: what goes wrong on the streams, and which requests are refused. REST tells the truth.

Probabilities are per message. Everything is drawn from a seed and the number of the connection, so that it repeats.
"""

import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

import msgspec

from tapehouse.errors import ConfigError
from tapehouse.exchange.messages import frame_of

_BINARY_FRAME = 0x82


class FaultSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often each fault happens (0 to 1 a message), and how.

    A dropped or malformed message is lost on the stream; a duplicate comes twice; a delayed one up to `delay_ms`
    later; a reordered one changes places with one of the next 16; `stranger` adds an event of an unknown type, and
    `extra_field` a field nobody knows to a good message; `cut` drops the connection; `lost_klines` drops klines only.
    `skew_ms` is added to the event times and to `/time`, never to trade times. `silence`: connected, nothing is sent.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    delay_ms: float = 200.0
    reorder: float = 0.0
    malformed: float = 0.0
    stranger: float = 0.0
    extra_field: float = 0.0
    cut: float = 0.0
    lost_klines: float = 0.0
    skew_ms: int = 0
    silence: bool = False

    def __post_init__(self) -> None:
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability: give 0 to 1")
        if self.delay_ms < 0:
            raise ValueError("delay_ms: give 0 or more")


PROBABILITIES = (
    "drop", "duplicate", "delay", "reorder", "malformed", "stranger", "extra_field", "cut", "lost_klines",
)  # fmt: skip


class Refusal(msgspec.Struct, forbid_unknown_fields=True):
    """Refuse requests with a status (429, 418, 451, 403, 503 ...), the next `requests` or for so many `seconds`.

    `on` is what is refused: `rest`, `streams` (handshakes), or `both`. Without `requests` and `seconds` it lasts
    until the faults are cleared.
    """

    status: int
    requests: int | None = None
    seconds: float | None = None
    retry_after: int | None = None
    on: Literal["rest", "streams", "both"] = "rest"

    def __post_init__(self) -> None:
        if self.status < HTTPStatus.BAD_REQUEST or self.status not in set(HTTPStatus):
            raise ValueError(f"{self.status} is no status to refuse with: give one of HTTP's from 400 on")
        if min(self.requests or 0, self.seconds or 0, self.retry_after or 0) < 0:
            raise ValueError("requests, seconds and retry_after: give 0 or more")


def parse_faults(assignments: Iterable[str]) -> FaultSettings:
    """Read `name=value` pairs as the command line gives them; raise ConfigError for what is not a fault."""
    values = dict(assignment.partition("=")[::2] for assignment in assignments)
    try:
        return msgspec.convert({name: value or "true" for name, value in values.items()}, FaultSettings, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"--fault: {error}") from None


@dataclass
class Faults:
    """The faults in force; change them at any time. `counts` says how often each one happened."""

    settings: FaultSettings = field(default_factory=FaultSettings)
    seed: int = 1
    counts: Counter[str] = field(default_factory=Counter)
    _refusal: Refusal | None = None
    _refused_until: float = 0.0
    _connections: int = 0

    def set(self, **changes: float | bool) -> None:
        """Change some of the settings, keep the others; raise ValueError for a value that cannot be."""
        merged = msgspec.structs.asdict(self.settings) | changes
        self.settings = msgspec.convert(merged, FaultSettings)

    def clear(self) -> None:
        """Let everything go well again."""
        self.settings = FaultSettings()
        self._refusal = None

    def refuse(self, refusal: Refusal) -> None:
        """Refuse requests from now on."""
        self._refusal = refusal
        self._refused_until = time.monotonic() + refusal.seconds if refusal.seconds is not None else float("inf")

    def refused(self, kind: str) -> Refusal | None:
        """Tell whether a request of a kind (`rest`, `streams`) is to be refused, and count it."""
        refusal = self._refusal
        if refusal is None or refusal.on not in (kind, "both"):
            return None
        if time.monotonic() >= self._refused_until or refusal.requests == 0:
            self._refusal = None
            return None
        if refusal.requests is not None:
            refusal.requests -= 1
        self.counts[f"refused_{refusal.status}"] += 1
        return refusal

    @property
    def spoils_messages(self) -> bool:
        """Tell whether any message may be other than it should be, so that messages must be looked at singly."""
        return self.settings.silence or any(getattr(self.settings, name) for name in PROBABILITIES)

    def line(self) -> "FaultyLine":
        """Return the faults of one more connection."""
        self._connections += 1
        return FaultyLine(self, random.Random(f"{self.seed}/{self._connections}"))  # noqa: S311  # must repeat


@dataclass
class Delivery:
    """What is to be sent now, what later (seconds, frame), and whether the connection is cut after it."""

    now: list[bytes] = field(default_factory=list)
    later: list[tuple[float, bytes]] = field(default_factory=list)
    cut: bool = False


class FaultyLine:
    """Spoils the messages of one connection."""

    def __init__(self, faults: Faults, chance: random.Random) -> None:
        self._faults = faults
        self._chance = chance

    def deliver(self, messages: Sequence[str]) -> Delivery:
        """Return what becomes of messages that are due."""
        delivery = Delivery()
        if self._faults.settings.silence:
            self._faults.counts["silence"] += len(messages)
            return delivery
        for message in self._reordered(messages):
            if self._happens("cut"):
                delivery.cut = True
                break
            self._deliver_one(message, delivery)
        return delivery

    def _deliver_one(self, message: str, delivery: Delivery) -> None:
        if self._happens("drop") or ('"e":"kline"' in message and self._happens("lost_klines")):
            return
        if self._happens("stranger"):
            delivery.now.append(frame_of(self._chance.choice(_STRANGERS).encode()))
        frame = self._frame(message)
        if self._happens("delay"):
            delivery.later.append((self._chance.uniform(0, self._faults.settings.delay_ms / 1000), frame))
        else:
            delivery.now.append(frame)
        if self._happens("duplicate"):
            delivery.now.append(frame)

    def _frame(self, message: str) -> bytes:
        if self._happens("malformed"):
            return spoiled(message, self._chance)
        if self._happens("extra_field"):
            message = message.replace('"e":', '"zz":{"nobody":["knows"]},"e":', 1)
        return frame_of(message.encode())

    def _reordered(self, messages: Sequence[str]) -> Sequence[str]:
        if not self._faults.settings.reorder:
            return messages
        order = list(messages)
        for place in range(len(order) - 1):
            if self._happens("reorder"):
                other = min(place + self._chance.randint(1, 16), len(order) - 1)
                order[place], order[other] = order[other], order[place]
        return order

    def _happens(self, fault: str) -> bool:
        probability: float = getattr(self._faults.settings, fault)
        if probability == 0 or self._chance.random() >= probability:
            return False
        self._faults.counts[fault] += 1
        return True


_STRANGERS = (
    '{"e":"neverHeardOf","E":1723161255343,"s":"BTCUSDT","t":1}',
    '{"stream":"btcusdt@neverHeardOf","data":{"e":"neverHeardOf","E":1723161255343,"v":[1,2,3]}}',
    '{"result":null,"id":null}',
)

_WRONG = (
    ('"p":"', '"p":"NaN","was":"'),
    ('"p":"', '"p":"-'),
    ('"p":"', '"p":null,"was":"'),
    ('"p":"', '"p":[],"was":"'),
    ('"p":"', '"p":"1e999","was":"'),
    ('"q":"', '"q":"Infinity","was":"'),
    ('"q":"', '"q":"-'),
    ('"q":"', '"q":"99999999999999999999999999","was":"'),
    ('"T":', '"T":"yesterday","was":'),
    ('"T":', '"T":-'),
    ('"t":', '"t":"one","was":'),
    ('"t":', '"was":'),
    ('"s":"', '"s":7,"was":"'),
    ('"m":', '"m":"perhaps","was":'),
)
"""What is put in the place of a field's beginning so that the message no longer holds what it should."""


def spoiled(message: str, chance: random.Random) -> bytes:
    """Return a frame that no longer holds the message: garbage, cut short, binary, or with a wrong field."""
    kind = chance.randrange(6)
    if kind == 0:
        return frame_of(bytes(chance.randrange(32, 127) for _ in range(chance.randint(0, 300))))
    if kind == 1:
        return frame_of(message[: chance.randrange(1, len(message))].encode())
    if kind == 2:
        return frame_of(chance.randbytes(chance.randint(1, 300)), _BINARY_FRAME)
    fitting = [(old, new) for old, new in _WRONG if old in message]
    old, new = chance.choice(fitting) if fitting else ("{", "[")
    return frame_of(new.join(message.rsplit(old, 1)).encode())
