"""Opening a WebSocket towards Binance: its addresses in order, within the attempts it allows, refusals explained."""

import asyncio
import random
import time
from dataclasses import dataclass

import structlog

from tapehouse.producers.arrival import ArrivalClock
from tapehouse.producers.binance.budget import Budget
from tapehouse.producers.binance.endpoints import NETWORK_PAUSE, REFUSAL_PAUSE, Endpoints, monotonic
from tapehouse.producers.binance.refusals import DEFAULT_RETRY_AFTER, REGION_OR_FIREWALL, TOO_MANY, WS_SETTING, explain
from tapehouse.producers.websocket import Connection, HandshakeError, connect

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Backoff:
    """Full jitter: a random wait up to `first`, doubled by each failure, at most `longest` seconds."""

    first: float = 0.5
    longest: float = 30.0

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row; 0.0 after none."""
        if not failures:
            return 0.0
        return random.uniform(0.0, min(self.longest, self.first * 2 ** min(failures - 1, 16)))  # noqa: S311  # spreads load, guards nothing


class Dialer:
    """Opens connections for all shards: they share what is known of each address and the attempts we have."""

    def __init__(
        self, endpoints: Endpoints, budget: Budget, clock: ArrivalClock, *, handshake_timeout: float = 10.0
    ) -> None:
        self.endpoints = endpoints
        self._budget = budget
        self._clock = clock
        self._handshake_timeout = handshake_timeout

    async def dial(self, path: str) -> tuple[Connection, str]:
        """Return a connection and the address that gave it, or raise the last address's HandshakeError."""
        refusal = HandshakeError("no address is configured")
        for endpoint in self.endpoints.in_order(monotonic()):
            await self._wait_for_permission()
            try:
                connection = await connect(endpoint + path, self._clock, timeout=self._handshake_timeout)
            except HandshakeError as error:
                refusal = self._note_refusal(endpoint, error)
            else:
                self.endpoints.answered(endpoint)
                return connection, endpoint
        raise refusal

    async def _wait_for_permission(self) -> None:
        while wait := self._budget.attempt(time.time()):
            log.warning("connection_attempts_wait", seconds=round(wait, 1))
            await asyncio.sleep(wait)

    def _note_refusal(self, endpoint: str, error: HandshakeError) -> HandshakeError:
        meaning = explain(error.status, WS_SETTING)
        pause = REFUSAL_PAUSE if error.status in REGION_OR_FIREWALL else NETWORK_PAUSE
        self.endpoints.failed(endpoint, monotonic(), pause)
        if error.status in TOO_MANY:
            self._budget.ban_streams(error.retry_after or DEFAULT_RETRY_AFTER, time.time())
        log.warning("connection_refused", endpoint=endpoint, error=str(error), what_to_do=meaning or "trying again")
        text = f"{endpoint}: {error}" + (f": {meaning}" if meaning else "")
        return HandshakeError(text, status=error.status, retry_after=error.retry_after)
