"""What the running platform tells about itself: the set-up of its logs, and every metric, named once.

Metrics count since the process started; labels take few, known values (a symbol is one that was configured).
"""

import io
import logging
import os
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import structlog
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from structlog.stdlib import ProcessorFormatter

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0)

# From the exchange
messages_received = Counter("tapehouse_messages_received", "Messages received, before any is looked at.", ["source"])
unknown_events = Counter(
    "tapehouse_unknown_events", "Messages of an event type this version does not know.", ["source"]
)
reconnects = Counter(
    "tapehouse_reconnects", "Connections opened again, by what ended the one before.", ["source", "cause"]
)
connections = Gauge(
    "tapehouse_connections", "Connections by state: connecting, open, backing_off.", ["source", "state"]
)
rest_weight_used = Gauge("tapehouse_rest_weight_used", "Request weight used in this minute, as the exchange counts it.")
rest_weight_limit = Gauge("tapehouse_rest_weight_limit", "Request weight a minute the exchange allows this address.")
rest_errors = Counter(
    "tapehouse_rest_errors", "REST requests that failed: a status, or timeout, network, body.", ["kind"]
)
clock_offset = Gauge("tapehouse_clock_offset_seconds", "The exchange's clock minus ours.", ["source"])

# Trades and the ids that prove them
trades_accepted = Counter("tapehouse_trades_accepted", "Trades held for the first time.", ["symbol"])
trades_duplicate = Counter(
    "tapehouse_trades_duplicate", "Trades that were held already and changed nothing.", ["symbol"]
)
messages_rejected = Counter("tapehouse_messages_rejected", "Messages kept in bronze/rejected, by reason.", ["reason"])
holes_opened = Counter("tapehouse_holes_opened", "Ranges of trade ids found to be missing.", ["symbol"])
holes_repaired = Counter(
    "tapehouse_holes_repaired", "Ranges of trade ids that were missing and are held now.", ["symbol"]
)
missing_trades = Gauge("tapehouse_missing_trades", "Trade ids known to exist and not held.", ["symbol"])

# The market's context: upstreams that are polled
polls = Counter(
    "tapehouse_polls",
    "Questions to upstreams, by outcome: answered, not_modified, idle, limited, failed, gone.",
    ["source", "outcome"],
)
answers_not_kept = Counter(
    "tapehouse_answers_not_kept",
    "Unreadable answers of upstreams that are not in bronze/rejected: their address had told too much of the kind.",
    ["source"],
)
last_answer = Gauge(
    "tapehouse_last_answer_timestamp_seconds", "When an upstream that is polled last answered as it should.", ["source"]
)
# asked when it is scraped, of whoever knows: what is told grows stale while nothing happens here
stale_addresses = Gauge(
    "tapehouse_stale_addresses", "Addresses of a polled upstream whose last good answer is too old.", ["source"]
)
observations = Counter(
    "tapehouse_observations", "Items that upstreams told, by outcome: new, known.", ["source", "outcome"]
)

# The tape and the fold
tape_depth = Gauge("tapehouse_tape_depth", "Messages on the tape that streaming has not read yet.")
tape_bound = Gauge("tapehouse_tape_bound", "Messages the tape holds at most; then producers wait.")
tape_waits = Counter("tapehouse_tape_waits", "Times a producer waited because the tape was full.")
tape_records = Counter("tapehouse_tape_records", "Messages committed to a topic of Kafka.", ["topic"])
tape_transactions = Counter(
    "tapehouse_tape_transactions",
    "Transactions on Kafka by outcome: committed, aborted.",
    ["outcome"],
)
tape_transaction_seconds = Histogram(
    "tapehouse_tape_transaction_seconds", "Time from the begin of a transaction to its commit.", buckets=_SECONDS
)
tape_age = Histogram(
    "tapehouse_tape_age_seconds",
    "Time from receipt to commit on Kafka, of the oldest message of a transaction.",
    buckets=_SECONDS,
)
broker_answers = Gauge("tapehouse_broker_answers", "1 while the broker takes transactions, 0 while it is waited for.")
fold_seconds = Histogram("tapehouse_fold_seconds", "Time to fold one read of the tape into candles.", buckets=_SECONDS)

# The lake
commits = Counter("tapehouse_commits", "Transactions committed to a table.", ["table"])
commit_seconds = Histogram("tapehouse_commit_seconds", "Time one transaction took.", ["table"], buckets=_SECONDS)
commit_age = Histogram(
    "tapehouse_commit_age_seconds", "Time from receipt to commit, of the oldest message in a commit.", buckets=_SECONDS
)
bronze_rows = Counter("tapehouse_bronze_rows", "Rows committed to a bronze table.", ["table"])
maintenance_runs = Counter(
    "tapehouse_maintenance_runs", "Upkeep of tables: merge, finish (a day), normalise, vacuum.", ["table", "work"]
)

# Candles and their proof
candles_written = Counter("tapehouse_candles_written", "Candle revisions committed.", ["interval", "state"])
candle_revisions = Counter("tapehouse_candle_revisions", "Candles corrected after they were written.", ["interval"])
candles_verified = Counter(
    "tapehouse_candles_verified", "Candles compared with the exchange's own, by verdict: agree, differ.", ["verdict"]
)
disputes_put_off = Counter(
    "tapehouse_disputes_put_off", "Candles that differ and are looked into after the next start: too many wait."
)
windows_overdue = Gauge("tapehouse_windows_overdue", "Windows past their end and not yet proved whole.", ["symbol"])

# Signals
signals = Counter("tapehouse_signals", "Revisions of signals committed, by what they say.", ["kind", "state"])

# Spark
stream_rows_per_second = Gauge(
    "tapehouse_stream_rows_per_second", "Records of the tape that Spark took a second, of the last micro-batch."
)
stream_batch_seconds = Histogram(
    "tapehouse_stream_batch_seconds", "Time one micro-batch of Spark took, whole.", buckets=_SECONDS
)
stream_behind = Gauge("tapehouse_stream_behind", "Records on the tape that Spark has not taken yet.")
stream_watermark = Gauge(
    "tapehouse_stream_watermark_seconds", "Event time (Unix) up to which closed candles are final: 5 minutes behind."
)
trades_late = Counter(
    "tapehouse_trades_late",
    "Trades that came after their candle was final; they are counted in it all the same.",
    ["symbol"],
)

# Those who listen
live_clients = Gauge("tapehouse_live_clients", "Clients connected to the live stream.")
client_messages_dropped = Counter(
    "tapehouse_client_messages_dropped", "Messages not sent because a client read too slowly; the client is told."
)


class ThreadTimes(Collector):
    """CPU time by kind of thread, read when it is scraped; threads of libraries have the names these gave them."""

    _labelnames = ("thread",)
    _tasks = Path("/proc/self/task")

    def describe(self) -> list[CounterMetricFamily]:
        """Return the metric without values."""
        text = "CPU time by thread: main (sockets and answers), fold, commits, and those of libraries. Linux alone."
        return [CounterMetricFamily("tapehouse_thread_cpu_seconds", text, labels=self._labelnames)]

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the metric with the threads there are now."""
        (family,) = self.describe()
        for name, seconds in self._seconds().items():
            family.add_metric([name], seconds)
        yield family

    def _seconds(self) -> dict[str, float]:
        ours = {str(thread.native_id): thread.name for thread in threading.enumerate()}
        seconds: dict[str, float] = defaultdict(float)
        for task in self._tasks.iterdir() if self._tasks.is_dir() else ():
            with suppress(OSError):  # it has just ended
                name, _, fields = (task / "stat").read_text().partition(" (")[2].rpartition(") ")
                ticks = sum(int(field) for field in fields.split()[11:13])  # user and system, see proc_pid_stat(5)
                kind = re.sub(r"[-_]?\d+$", "", ours.get(task.name, name)).removesuffix("Thread").lower()
                seconds[kind] += ticks / os.sysconf("SC_CLK_TCK")
        return seconds


thread_times = ThreadTimes()
REGISTRY.register(thread_times)

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # a local may be a key on its way into a header
)
_SECRET_NAME = re.compile(r"api_?key|secret|token|password|authorization", re.IGNORECASE)
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_SECRET_IN_QUERY = re.compile(r"(?<=[?&])([\w-]*(?:key|secret|token|password|signature)[\w-]*=)[^&\s]+", re.IGNORECASE)


def set_up_logging(level: str) -> None:
    """Log to stderr from `level` up: a line of key-values on a terminal, of JSON elsewhere, secrets masked.

    Libraries that log through the standard library come out in the same form, from warnings up.
    """
    first: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = _rendering(for_person=sys.stderr.isatty())
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        ProcessorFormatter(foreign_pre_chain=first, processors=[ProcessorFormatter.remove_processors_meta, *last])
    )
    logging.basicConfig(level=logging.WARNING, handlers=[libraries], force=True)


def _rendering(*, for_person: bool) -> list[structlog.typing.Processor]:
    if for_person:
        return [_mask_event, structlog.dev.ConsoleRenderer(exception_formatter=_write_masked_traceback)]
    return [_TRACEBACKS, _mask_event, structlog.processors.JSONRenderer()]


def _mask_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: "***" if value and _SECRET_NAME.search(name) else mask(value) for name, value in event.items()}


def _write_masked_traceback(out: TextIO, exception: structlog.typing.ExcInfo) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exception)
    out.write(mask(text.getvalue()))


def mask(value: Any) -> Any:
    """Return text with the user in addresses and the keys in their queries as ***, inside lists and dicts too."""
    if isinstance(value, str):
        return _SECRET_IN_QUERY.sub(r"\1***", _USER_IN_ADDRESS.sub("***", value))
    if isinstance(value, tuple | list):
        return [mask(part) for part in value]
    if isinstance(value, dict):
        return {name: mask(part) for name, part in value.items()}
    return value
