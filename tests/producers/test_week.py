"""A week on a clock of the test's own: each source asks no more than it may, and staleness is told in time."""

import json
from itertools import pairwise

import pytest

from tapehouse.producers.polling import STALE_AFTER
from tapehouse.profiles.sources import polled_sources
from tapehouse.settings import Settings
from tapehouse.tape.local import LocalTape

HOUR, DAY = 3_600, 86_400
WEEK = 7 * DAY
DOWN_FROM, DOWN_UNTIL = 3 * DAY, 4 * DAY
PROBES = 600
"""How often an address that is down is tried in a day at most."""
LOOPS = {"coingecko": 5, "fear_greed": 1, "rss": 3, "newsapi": 1}
FEED = b"""<rss version="2.0"><channel><title>x</title>
<item><title>t</title><guid>g</guid></item></channel></rss>"""


def answered(request) -> tuple[int, dict, bytes]:
    if request.url.host.startswith("feed"):
        return (304, {}, b"") if request.headers.get("If-None-Match") == "v" else (200, {"ETag": "v"}, FEED)
    if request.url.host == "fng":
        day = {"value": "28", "value_classification": "Fear", "timestamp": "1700006400", "time_until_update": "40000"}
        return 200, {}, json.dumps({"data": [day], "metadata": {"error": None}}).encode()
    if request.url.host == "news":
        return 200, {}, b'{"status":"ok","totalResults":0,"articles":[]}'
    path = request.url.path
    body = {"data": {}} if path.endswith("global") else {"prices": []} if "chart" in path else {}
    return 200, {}, b"[]" if path.endswith("markets") else json.dumps(body).encode()


@pytest.fixture
def make(tmp_path, time, networked, monkeypatch):
    def make(name: str, **more):
        monkeypatch.setenv("NEWSAPI_KEY", "key")
        networked.asked.clear()
        chosen = Settings(
            _env_file=None,
            state=tmp_path / name,
            coingecko_url="http://gecko/api/v3",
            fear_greed_url="http://fng/",
            newsapi_url="http://news/v2",
            rss_feeds=tuple(f"http://feed{number}/rss" for number in range(LOOPS["rss"])),
            **more,
        )
        (source,) = polled_sources(chosen, [name], time.clock, lambda: ["BTCUSDT", "ETHUSDT"])
        return source

    return make


def most_within(times: list[float], window: float) -> int:
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more", "a_minute", "a_day", "a_failing_day"),
    [
        ("coingecko", {"coingecko_price_interval": 300.0}, 10, 288 + 288 + 144 + 30, 4 * PROBES),
        ("coingecko", {"COINGECKO_API_KEY": "demo"}, 10, 320, 320),
        ("fear_greed", {}, 10, 8, PROBES),
        ("rss", {}, 15, 3 * 288, 3 * PROBES),
        ("newsapi", {}, 10, 100, 100),
    ],
)
async def test_a_week_with_a_day_of_failure_stays_within_what_may_be_asked(
    time, networked, make, name, more, a_minute, a_day, a_failing_day
):
    began = time.now
    seen = []

    def answer(request):
        status = source.status()
        seen.append((time.now - began, status.connected, status.fresh_within))
        down = DOWN_FROM <= time.now - began < DOWN_UNTIL
        return (503, {}, b"") if down else answered(request)

    networked.answer = answer
    source = make(name, **more)
    await time.run(source, LocalTape(), WEEK, loops=LOOPS[name])
    times = [at - began for at, _ in networked.asked]
    days = [sum(day * DAY <= at < (day + 1) * DAY for at in times) for day in range(7)]
    assert most_within(times, 59.9) <= a_minute
    assert days.pop(DOWN_FROM // DAY) <= a_failing_day
    assert max(days) <= a_day
    assert source.status().connected
    in_time = [within for at, _, within in seen if HOUR < at < DOWN_FROM]
    stale = [at for at, connected, _ in seen if at > HOUR and not connected]
    assert DOWN_FROM < stale[0] <= DOWN_FROM + max(in_time) + HOUR  # seen when it is asked, within an hour
    assert stale[-1] < DOWN_UNTIL + HOUR
    assert all(not connected for at, connected, _ in seen if stale[0] <= at <= DOWN_UNTIL)
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.3 * DAY


@pytest.mark.parametrize("name", list(LOOPS))
async def test_a_source_is_stale_once_it_has_been_silent_too_long_and_fresh_with_the_next_answer(
    time, networked, make, name
):
    networked.answer = answered
    source = make(name)
    await time.run(source, LocalTape(), 1000, loops=LOOPS[name])
    assert source.status().state == "connected"
    within = max(poll.fresh_within for poll in source.status().connections)
    assert within >= STALE_AFTER * max(60.0, min(poll.fresh_within for poll in source.status().connections) / 10)
    time.now += within - 1000
    assert source.status().state == "connected"
    time.now += 2001
    assert source.status().state == "stale"
    restarted = make(name)
    assert restarted.status().state == "connecting"
    await time.run(restarted, LocalTape(), 100, loops=LOOPS[name])
    assert restarted.status().state == "connected"
