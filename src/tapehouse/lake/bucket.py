"""A lake in a bucket of any S3: the options of the libraries that read and write it."""

from collections.abc import Mapping
from datetime import timedelta

CONNECT_WITHIN = "5s"
ANSWER_WITHIN = "30s"
"""How long one request may take; one that fails is made again."""
RETRY_FOR = timedelta(seconds=20)
"""How long requests are made again before the bucket's server counts as gone."""
MOST_RETRIES = 10


def is_bucket(root: str) -> bool:
    """Tell whether a lake's root is a bucket rather than a folder."""
    return "://" in root


def client_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a bucket (`aws_...`) with those of the connections to it, for delta-rs and Polars."""
    return {**options, **limits(options)}


def delta_options(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options with which delta-rs opens a table: a commit never overwrites another's."""
    patience = {"max_retries": str(MOST_RETRIES), "retry_timeout": f"{RETRY_FOR.seconds}s"}
    return {**client_options(options), "aws_conditional_put": "etag", **patience}


def limits(options: Mapping[str, str]) -> dict[str, str]:
    """Return how long the connections to a bucket wait, and whether they are encrypted."""
    plain = options.get("aws_endpoint_url", "").startswith("http://")
    return {"allow_http": str(plain).lower(), "connect_timeout": CONNECT_WITHIN, "timeout": ANSWER_WITHIN}
