"""Telemetry: metrics keep their naming rules, and the log keeps secrets to itself."""

import json
import subprocess
import sys
import threading
import time

import pytest
from prometheus_client.metrics import MetricWrapperBase

from tapehouse import telemetry
from tapehouse.telemetry import mask

METRICS = {
    name: metric
    for name, metric in vars(telemetry).items()
    if isinstance(metric, MetricWrapperBase | telemetry.ThreadTimes)
}
BOUNDED_LABELS = {
    "source",
    "cause",
    "state",
    "kind",
    "symbol",
    "reason",
    "table",
    "work",
    "interval",
    "verdict",
    "topic",
    "outcome",
    "thread",
}


def logged(*statements: str) -> list[dict]:
    set_up = "import logging, structlog, tapehouse.telemetry\ntapehouse.telemetry.set_up_logging('info')"
    program = "\n".join([set_up, "log = structlog.get_logger()", *statements])
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    return [json.loads(line) for line in ran.stderr.splitlines()]


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_begins_with_tapehouse_says_what_it_counts_and_has_known_labels(name):
    (family,) = METRICS[name].describe()
    assert family.name.startswith("tapehouse_")
    assert family.documentation.endswith(".")
    assert set(METRICS[name]._labelnames) <= BOUNDED_LABELS


def test_the_time_a_thread_has_taken_is_told_by_its_name():
    def work() -> None:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        worked.set()
        told.wait(60)

    worked, told = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, name="worker_3")
    thread.start()
    worked.wait(60)
    (family,) = telemetry.thread_times.collect()
    told.set()
    thread.join()
    seconds = {sample.labels["thread"]: sample.value for sample in family.samples}
    assert seconds["worker"] >= 0.03
    assert seconds["main"] > 0


def test_off_a_terminal_a_log_line_is_one_json_object_with_its_level_and_time():
    (line,) = logged("log.info('batch_committed', table='bronze/trades', events=3)", "log.debug('left_out')")
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "batch_committed", "table": "bronze/trades", "events": 3, "level": "info"}


def test_libraries_log_in_the_same_form_from_warnings_up():
    (line,) = logged("logging.getLogger('a.library').info('chat')", "logging.getLogger('a.library').warning('w')")
    assert (line["event"], line["level"]) == ("w", "warning")


def test_no_secret_reaches_the_log():
    lines = logged(
        "log.info('asked', url='http://me:hidden@host/path?apiKey=hidden&limit=5', newsapi_key='hidden')",
        "log.info('asked', headers={'url': 'wss://hidden@host'}, all=['http://hidden@host'])",
        "logging.getLogger('a.library').error('GET http://hidden@host/')",
        "try:\n  raise OSError('http://hidden@host')\nexcept OSError:\n  log.exception('failed')",
    )
    assert len(lines) == 4
    assert "hidden" not in json.dumps(lines)
    assert lines[0]["url"] == "http://***@host/path?apiKey=***&limit=5"


def test_a_traceback_in_the_log_shows_no_values_a_key_may_be_among_them():
    (line,) = logged(
        "def ask(header):\n  1 / 0\ntry:\n  ask('hid' + 'den')\nexcept ArithmeticError:\n  log.exception('e')"
    )
    assert line["exception"][0]["frames"]
    assert "hidden" not in json.dumps(line)


@pytest.mark.parametrize(
    "harmless", ["wss://stream.binance.com:9443/stream?streams=btcusdt@trade", "a@b", 7, None, "s3://bucket/key=1"]
)
def test_what_is_no_secret_stays_as_it_is(harmless):
    assert mask(harmless) == harmless
