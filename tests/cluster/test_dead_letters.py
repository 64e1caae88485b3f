"""What a polled source says that cannot be read is on `dead-letters` of a real broker, never on its own topic."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from confluent_kafka import Message

from tapehouse.catalog import DEAD_LETTERS

GATEWAY = b"<!doctype html><html><body>one moment, please</body></html>"
MONTH = [{"value": value, "value_classification": "Fear", "timestamp": "1640908800"} for value in ("28", "2_8")]


@pytest.fixture
def upstream() -> Callable[[], str]:
    """An upstream on a real port: a page instead of a feed at /rss, one good and one bad day of the index at /fng."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self):
            body = GATEWAY if self.path.startswith("/rss") else json.dumps({"data": MONTH}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_answer_that_cannot_be_read_is_a_dead_letter_with_its_reason(
    run_in, upstream, tape_settings, raw_records, tmp_path
):
    producing = run_in(
        {
            "TAPEHOUSE_KAFKA_BOOTSTRAP": tape_settings.kafka_bootstrap,
            "TAPEHOUSE_SYMBOLS": "BTCUSDT",
            "TAPEHOUSE_STATE": str(tmp_path / "state"),
            "TAPEHOUSE_RSS_FEEDS": f"{upstream}/rss",
            "TAPEHOUSE_FEAR_GREED_URL": f"{upstream}/fng",
        },
        *("produce", "rss", "fear_greed", "--port", "0"),
    )

    def dead() -> dict[bytes, Message]:
        return {record.key(): record for record in raw_records(tape_settings, DEAD_LETTERS)}

    producing.until(lambda: dead().keys() == {b"rss", b"fear_greed"}, "a dead letter of each")
    assert producing.stop() == 0
    page, day = dead()[b"rss"], dead()[b"fear_greed"]
    assert (page.value(), json.loads(day.value())) == (GATEWAY, MONTH[1])
    told = dict(page.headers())
    assert (told["shape"], told["symbol"], told["topic"]) == (b"news", b"rss", b"news")
    assert told["reason"] == b"not a feed: no entry could be read in this answer"
    assert b"no whole number" in dict(day.headers())["reason"]
    assert raw_records(tape_settings, "news") == []
    days = [json.loads(each.value()) for each in raw_records(tape_settings, "sentiment")]
    assert days  # it may be asked again at once, for when the next one is due
    assert all(day == MONTH[0] for day in days)
