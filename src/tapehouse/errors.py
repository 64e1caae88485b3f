"""The exception family: a broken world is an exception, bad data is a value (law 7)."""


class TapehouseError(Exception):
    """Something a person should read: what happened, where, what to do.

    `exit_code` is what the command line ends with.
    """

    exit_code = 1


class ConfigError(TapehouseError):
    """A setting or an argument cannot be used; the person running Tapehouse can mend it."""

    exit_code = 2


class UpstreamError(TapehouseError):
    """An upstream did not answer as it should; trying again later may help."""

    exit_code = 3


class LakeError(TapehouseError):
    """The lake (disk or bucket) refused a read or a write; the stage stops and resumes from what is committed."""

    exit_code = 4


class LakeAwayError(LakeError):
    """The bucket's server does not answer; the same may be asked of it later."""


class DiscrepancyError(TapehouseError):
    """A check found stored data that differs from what it was compared with."""

    exit_code = 5


class TapeError(TapehouseError):
    """The tape (Kafka) refuses what is asked of it, or another producer has taken over."""

    exit_code = 6


class StreamError(TapehouseError):
    """Spark ended, or refuses what is asked of it; the next start goes on from what is committed."""

    exit_code = 7


class WarehouseError(TapehouseError):
    """A model of the warehouse cannot be built, or one of its tests failed; the warehouse before it stays."""

    exit_code = 8


class IncompleteError(TapehouseError):
    """A check found nothing wrong, and could not compare all it was asked to."""

    exit_code = 9


class RateLimitedError(UpstreamError):
    """An upstream, or our own budget towards it, takes no more requests for `retry_after` seconds."""

    def __init__(self, text: str, *, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class NotOfferedError(UpstreamError):
    """No address of an upstream has what was asked for; asking again soon will not help."""
