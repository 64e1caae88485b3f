"""Request weights: so many a minute and address; 429 with `Retry-After` beyond, and 418 for those who do not listen."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE = 60.0
_BAN = 120.0
_PATIENCE = 10
"""How many requests beyond the limit are answered 429 before the address is banned."""
_MOST_ADDRESSES = 1024


@dataclass
class _Account:
    """What an address has used of a minute."""

    minute: int
    used: int = 0
    ignored: int = 0
    banned_until: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether a request is served: 200, 429 or 418; the weight used this minute, and seconds to wait."""

    status: int
    used: int
    retry_after: int = 0


class Weights:
    """Counts the weights of requests by address; `limit` is what an address may use in a minute of the clock."""

    def __init__(self, limit: int = 6000, clock: Callable[[], float] = time.time) -> None:
        self.limit = limit
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def charge(self, address: str, weight: int) -> Verdict:
        """Count a request and say whether it is served."""
        now = self._clock()
        account = self._account(address, int(now // _MINUTE))
        if account.banned_until > now:
            return Verdict(418, account.used, int(account.banned_until - now) + 1)
        account.used += weight
        if account.used <= self.limit:
            return Verdict(200, account.used)
        account.ignored += 1
        if account.ignored > _PATIENCE:
            account.banned_until = now + _BAN
            return Verdict(418, account.used, int(_BAN))
        return Verdict(429, account.used, int(_MINUTE - now % _MINUTE) + 1)

    def _account(self, address: str, minute: int) -> _Account:
        account = self._accounts.pop(address, None) or _Account(minute)
        if account.minute != minute:
            account.minute, account.used, account.ignored = minute, 0, 0
        self._accounts[address] = account  # the most recently seen is last
        while len(self._accounts) > _MOST_ADDRESSES:
            del self._accounts[next(iter(self._accounts))]
        return account
