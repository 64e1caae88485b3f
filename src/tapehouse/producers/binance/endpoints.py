"""A list of base addresses that serve the same, tried in order; one that failed is left alone for a while."""

import asyncio
from collections.abc import Sequence

NETWORK_PAUSE = 30.0
"""Seconds an address that could not be reached is passed over while another one works."""
REFUSAL_PAUSE = 600.0
"""Seconds an address that refused us (451, 403) is passed over."""


class Endpoints:
    """Addresses in the order of preference; times are seconds of any one monotone clock.

    `in_use` is the address that answered last, empty before the first answer.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = tuple(addresses)
        self.in_use = ""
        self._avoided_until: dict[str, float] = {}

    def in_order(self, now: float) -> tuple[str, ...]:
        """Return the addresses to try: those that work first, then, as a last resort, those that failed lately."""
        return tuple(sorted(self.addresses, key=lambda address: self._avoided_until.get(address, 0.0) > now))

    def answered(self, address: str) -> None:
        """Note that an address works."""
        self.in_use = address
        self._avoided_until.pop(address, None)

    def failed(self, address: str, now: float, pause: float = NETWORK_PAUSE) -> None:
        """Pass an address over for `pause` seconds while another one works."""
        self._avoided_until[address] = now + pause


def monotonic() -> float:
    """Return the running loop's clock, in seconds."""
    return asyncio.get_running_loop().time()
