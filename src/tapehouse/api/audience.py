"""Who listens to what: the clients of the live socket by topic; telling costs as much as there are listeners."""

from collections.abc import Collection, Iterator

from tapehouse.api.clients import Client
from tapehouse.api.messages import Subscribe
from tapehouse.market.signals import WHOLE_MARKET
from tapehouse.streaming.view import Interest

Topic = tuple[str, ...]
"""("candles", symbol, interval), ("trades", symbol) and likewise of market and signals, or a channel that is one."""
_WHOLE_CHANNELS = frozenset({"prices", "health", "market", "sentiment", "news", "signals"})


def topics_of(wanted: Subscribe) -> set[Topic]:
    """Return the topics a subscription is about."""
    found: set[Topic] = {(channel,) for channel in wanted.channels if channel in _WHOLE_CHANNELS}
    if "signals" in wanted.channels:
        found.add(("signals", WHOLE_MARKET))
    for channel in {"trades", "market", "signals"} & set(wanted.channels):
        found |= {(channel, symbol) for symbol in wanted.symbols}
    if "candles" in wanted.channels:
        found |= {("candles", symbol, wanted.interval) for symbol in wanted.symbols}
    return found


class Audience:
    """The clients that are there; changed and read in the loop's thread alone, but for `interest`.

    `interest` is what they listen to together: a value that is replaced, never changed, so any thread may read it.
    """

    def __init__(self) -> None:
        self.interest = Interest()
        self._topics: dict[Client, set[Topic]] = {}
        self._listeners: dict[Topic, set[Client]] = {}

    def __len__(self) -> int:
        return len(self._topics)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._topics))

    def place(self, client: Client) -> None:
        """Let the client hear what it wants now, and nothing else."""
        self._forget(client)
        self._topics[client] = topics_of(client.wanted)
        for topic in self._topics[client]:
            self._listeners.setdefault(topic, set()).add(client)
        self._note_interest()

    def remove(self, client: Client) -> None:
        """Forget the client."""
        self._forget(client)
        self._note_interest()

    def _forget(self, client: Client) -> None:
        for topic in self._topics.pop(client, set()):
            listeners = self._listeners[topic]
            listeners.discard(client)
            if not listeners:
                del self._listeners[topic]

    def of(self, *topic: str) -> Collection[Client]:
        """Return who listens to a topic."""
        return self._listeners.get(topic, ())

    def _note_interest(self) -> None:
        self.interest = Interest(
            trades=frozenset(symbol for kind, *rest in self._listeners for symbol in rest if kind == "trades"),
            candles=frozenset((topic[1], topic[2]) for topic in self._listeners if topic[0] == "candles"),
            prices=("prices",) in self._listeners,
            signals=frozenset(topic[1] for topic in self._listeners if topic[0] == "signals" and len(topic) > 1)
            - {WHOLE_MARKET},
        )
