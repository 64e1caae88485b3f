"""A source that is polled: its addresses, each with a loop of its own, within one allowance and one memory."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import httpx

from tapehouse import telemetry
from tapehouse.ports import Tape
from tapehouse.producers.allowance import Allowance
from tapehouse.producers.fetching import Fetcher, new_client
from tapehouse.producers.memory import Memory
from tapehouse.producers.poll_status import PolledStatus, source_status
from tapehouse.producers.polling import Clock, Poller, Upstream


class PolledSource:
    """Polls what it is made of; one that is down slows no other.

    `per_minute` and `per_day` bound its questions; `secrets` are kept out of what it tells; `explain` reads a refusal.
    Its file is `<name>.json` in the folder `state`. One that is not `alone` is a person's, asked at once: what is
    remembered of the other questions of that name stays, and nothing of its own.
    `notes` gives sentences for the person: what is not followed, say.
    """

    def __init__(
        self,
        name: str,
        upstreams: Sequence[Upstream],
        state: Path,
        *,
        clock: Clock,
        per_minute: int | None = None,
        per_day: int | None = None,
        secrets: Sequence[str] = (),
        explain: Callable[[bytes], str] = lambda _body: "",
        notes: Callable[[], tuple[str, ...]] = tuple,
        transport: httpx.AsyncBaseTransport | None = None,
        random: Random | None = None,
        alone: bool = True,
    ) -> None:
        self.name = name
        self._clock = clock
        self._notes = notes
        self._client = new_client(transport)
        memory = Memory(state / f"{name}.json")
        names = {upstream.name for upstream in upstreams}
        memory.keep_only(names) if alone else memory.forget(names)
        self._allowance = Allowance(memory.spent, per_minute=per_minute, per_day=per_day)
        fetcher = Fetcher(self._client, clock.seconds, secrets=secrets, explain=explain)
        chance = random or Random()  # noqa: S311  # spreads load, guards nothing
        self._pollers = [Poller(each, fetcher, memory, self._allowance, clock, chance) for each in upstreams]

    async def run(self, tape: Tape) -> None:
        """Poll until cancelled."""
        telemetry.stale_addresses.labels(self.name).set_function(lambda: self.status().stale)
        async with asyncio.TaskGroup() as group:
            for poller in self._pollers:
                group.create_task(poller.run(tape))

    async def close(self) -> None:
        """Let connections go."""
        await self._client.aclose()

    def status(self) -> PolledStatus:
        """Return the status now."""
        polls = tuple(poller.status() for poller in self._pollers)
        today = self._allowance.asked_today(self._clock.seconds())
        return source_status(self.name, polls, today=today, a_day=self._allowance.per_day, notes=self._notes())
