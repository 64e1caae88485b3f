"""What a disk or a bucket says when it refuses, in words a person can act on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
from deltalake.exceptions import DeltaError

from tapehouse.errors import LakeAwayError, LakeError

_COLOUR = re.compile(r"\x1b\[\d+m")
_LONGEST = 600
"""Characters of the storage's own words that are passed on."""
_AWAY = "The bucket's server does not answer: check AWS_ENDPOINT_URL and the network, and start again."
_ADVICE = (
    (("NoSuchBucket",), "There is no such bucket: create it, or mend TAPEHOUSE_LAKE."),
    (
        (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "AccessDenied",
            "ExpiredToken",
            "privileges",
            "403 Forbidden",
            "401 Unauthorized",
        ),
        "The bucket's server does not take these keys: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, their rights.",
    ),
    (("error sending request", "client error", "connect", "timed out", "retries"), _AWAY),
)
"""Words that occur in errors of a bucket, and what to do about them; the first that fit are told.

A status stands with its name: a number alone may be part of an address or of a duration.
"""


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the storage's own errors into one a person can act on; `doing` names the work and the place."""
    try:
        yield
    except (DeltaError, OSError) as error:
        raise refusal(doing, error) from error


@contextmanager
def reads_explained(root: str) -> Iterator[None]:
    """Do the same for rows that are read lazily, long after a table was opened; other errors pass as they are."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise refusal(f"read {root}", error) from error
    except OSError as error:
        if "object-store error" not in str(error):
            raise
        raise refusal(f"read {root}", error) from error


def refusal(doing: str, error: Exception) -> LakeError:
    """Return the error a person reads: what could not be done, the storage's words on one line, what to do."""
    words = " ".join(_COLOUR.sub("", str(error)).split())
    told = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
    advice = _advice(words) if "://" in doing else _DISK
    kind = LakeAwayError if advice is _AWAY else LakeError
    return kind(f"Cannot {doing}: {told}. {advice}")


_DISK = "Is the disk full, read-only or gone?"


def _advice(words: str) -> str:
    for signs, advice in _ADVICE:
        if any(sign in words for sign in signs):
            return advice
    return "Does the bucket exist, and may these keys write there?"
