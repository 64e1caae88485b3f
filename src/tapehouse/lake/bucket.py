"""A lake in a bucket of any S3: the options of the libraries that read and write it, and the client it needs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from tapehouse.errors import ConfigError

CONNECT_WITHIN = "5s"
ANSWER_WITHIN = "30s"
"""How long one request may take; one that fails is made again."""
RETRY_FOR = timedelta(seconds=20)
"""How long requests are made again before the bucket's server counts as gone."""
MOST_RETRIES = 10


def is_bucket(root: str) -> bool:
    """Tell whether a lake's root is a bucket rather than a folder."""
    return "://" in root


@contextmanager
def client_needed(root: str) -> Iterator[None]:
    """Turn an import that fails for want of the extra `s3` into a ConfigError that says what to install."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"The lake is in a bucket ({root}), and the client that buckets need is not installed ({error}): run "
            "`make setup-s3`, or install tapehouse[s3]."
        ) from error


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
