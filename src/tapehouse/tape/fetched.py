"""The tape on Kafka as an engine sees it that fetches what it lacks: what no producer knows to be missing.

Klines are one such thing: which candles were compared, the engine alone knows. Trades are another.
A producer's position says what was put on the topic, not that it could still be read: records deleted before they
were, or a lake older than its topics, lack trades that no producer asks for. What an engine fetches therefore passes by
the positions; of what is held already its readers take nothing.
"""

import asyncio
from collections.abc import Callable

from tapehouse.catalog import DEAD_LETTERS, KLINES_TOPIC, TRADES_TOPIC
from tapehouse.ports import Batch, Route
from tapehouse.settings import Settings
from tapehouse.tape.messages import to_messages
from tapehouse.tape.transactions import Transactions

WRITER = "tapehouse-stream-fetched"
"""Its name to the brokers."""


class FetchedTape:
    """`append` returns when the brokers have the batch; what it raises is what `Transactions.commit` does."""

    def __init__(self, settings: Settings, route: Route, may_wait: Callable[[], bool]) -> None:
        self._route = route
        self._transactions = Transactions(settings, WRITER, (TRADES_TOPIC, KLINES_TOPIC, DEAD_LETTERS), may_wait)
        self._turn = asyncio.Lock()

    async def append(self, batch: Batch) -> None:
        """Commit the rows of an answer as one transaction."""
        messages = list(to_messages((batch, routed) for routed in self._route(batch)))
        if messages:
            async with self._turn:
                await asyncio.to_thread(self._transactions.commit, messages)
