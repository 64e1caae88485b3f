"""Signals over HTTP and the live socket: from memory and the lake, filtered, newest last, evidence as an object."""

import json
import time
from datetime import UTC, datetime

import msgspec
import pytest
from websockets.sync.client import connect

from tapehouse.catalog import SIGNALS
from tapehouse.market.signals import Signal
from tapehouse.market.windows import DAY, MINUTE
from tapehouse.streaming.rows import gold_signals
from tapehouse.streaming.signal_view import CHANGES_KEPT, SignalView

TODAY = time.time_ns() // 1000 // DAY * DAY
WITHIN = 10.0


def signal(minute=0, kind="volume_spike", symbol="BTCUSDT", *, state="confirmed", revision=1, day=0, **about) -> Signal:
    opened = TODAY - day * DAY + minute * MINUTE
    evidence = about.get("evidence", {"times_before": 12.5, "first_trade_id": 7})
    score = about.get("score", 5.25)
    interval = about.get("interval", "1m")
    return Signal(kind, symbol, interval, opened, score, state, evidence, revision, opened + MINUTE + revision)


@pytest.fixture
def store(market):
    batches = iter(range(100))

    def store(*signals: Signal) -> None:
        market.lake.append(SIGNALS, gold_signals(signals), writer="test", batch=next(batches))

    return store


def openings(answer) -> list[int]:
    rows = answer.json()["signals"]
    assert answer.json()["count"] == len(rows)
    at = [datetime.fromisoformat(row["opened_at"]) for row in rows]
    return [int((time - datetime.fromtimestamp(TODAY / 1e6, UTC)).total_seconds()) // 60 for time in at]


def test_a_signal_is_told_by_the_columns_of_the_table_with_its_evidence_as_an_object(store, api):
    store(signal(3))
    [told] = api.get("/signals").json()["signals"]
    at = datetime.fromtimestamp((TODAY + 3 * MINUTE) / 1e6, UTC)
    assert datetime.fromisoformat(told.pop("opened_at")) == at
    assert datetime.fromisoformat(told.pop("known_at")).minute == 4
    assert told == {
        "kind": "volume_spike",
        "venue": "binance",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "score": 5.25,
        "state": "confirmed",
        "evidence": {"times_before": 12.5, "first_trade_id": 7},
        "revision": 1,
    }


def test_the_last_ones_come_newest_last_over_days_and_from_memory(store, market, api):
    store(signal(1, day=2), signal(2, day=2), signal(3, day=1))
    store(signal(5))
    market.view.signals.publish([signal(6), signal(5)])
    assert openings(api.get("/signals")) == [1 - 2880, 2 - 2880, 3 - 1440, 5, 6]
    assert openings(api.get("/signals", params={"limit": 3})) == [3 - 1440, 5, 6]
    since = datetime.fromtimestamp((TODAY + 5 * MINUTE) / 1e6, UTC).isoformat()
    assert openings(api.get("/signals", params={"since": since})) == [5, 6]


def revised(signal: Signal, known_at: int, **changed) -> Signal:
    return msgspec.structs.replace(signal, revision=signal.revision + 1, known_at=known_at, **changed)


def test_who_asks_what_became_known_hears_of_late_revisions_and_retractions_in_that_order(store, market, api):
    old, older, new = signal(1, day=3), signal(2, day=9), signal(5)
    store(old, older, new)
    noon = TODAY + 12 * 60 * MINUTE
    store(revised(older, noon + 2, state="retracted"), revised(old, noon + 1, score=6.0))
    market.view.signals.publish([revised(new, noon + 3, score=7.0)])
    since = datetime.fromtimestamp(noon / 1e6, UTC).isoformat()
    answer = api.get("/signals", params={"known_since": since})
    assert openings(answer) == [1 - 3 * 1440, 2 - 9 * 1440, 5]
    rows = answer.json()["signals"]
    assert [(row["state"], row["score"]) for row in rows] == [
        ("confirmed", 6.0),
        ("retracted", 5.25),
        ("confirmed", 7.0),
    ]
    assert answer.json()["next_known_since"] is None
    assert openings(api.get("/signals", params={"since": since})) == []
    standing = api.get("/signals", params={"known_since": since, "state": "confirmed", "symbol": "BTCUSDT"})
    assert openings(standing) == [1 - 3 * 1440, 5]


def test_what_became_known_is_followed_page_by_page_and_what_came_together_stays_together(store, api):
    noon = TODAY + 12 * 60 * MINUTE
    times = [1, 2, 2, 2, 3, 4]
    store(*(msgspec.structs.replace(signal(minute), known_at=noon + at) for minute, at in enumerate(times)))
    since, pages = datetime.fromtimestamp(noon / 1e6, UTC).isoformat(), []
    while since is not None:
        answer = api.get("/signals", params={"known_since": since, "limit": 2})
        pages.append(openings(answer))
        since = answer.json()["next_known_since"]
    assert pages == [[0], [1, 2, 3], [4, 5]]


def test_days_that_were_not_looked_through_are_told(store, api, monkeypatch):
    store(*(signal(1, day=day) for day in range(4)))
    assert api.get("/signals").json()["searched_from"] is None
    monkeypatch.setattr("tapehouse.api.signal_queries.MOST_DAYS_READ", 2)
    earliest = datetime.fromtimestamp((TODAY - DAY) / 1e6, UTC).date().isoformat()
    for query in ("", "?known_since=2020-01-01"):
        answer = api.get(f"/signals{query}")
        assert openings(answer) == [1 - 1440, 1]
        assert answer.json()["searched_from"] == earliest
    assert api.get("/signals?limit=1").json()["searched_from"] is None
    since = datetime.fromtimestamp((TODAY - DAY) / 1e6, UTC).isoformat()
    assert api.get("/signals", params={"since": since}).json()["searched_from"] is None


def test_they_are_chosen_by_symbol_kind_interval_and_state(store, api):
    store(
        signal(1),
        signal(2, symbol="ETHUSDT"),
        signal(3, kind="price_outlier"),
        signal(4, interval="5m"),
        signal(5, state="provisional"),
        signal(6, kind="sentiment_extreme", symbol="*", interval="1d"),
    )
    asked = {
        "symbol=btcusdt": [1, 3, 4, 5],
        "symbol=*": [6],
        "kind=price_outlier": [3],
        "interval=5m": [4],
        "state=provisional": [5],
        "symbol=BTCUSDT&kind=volume_spike&state=confirmed&interval=1m": [1],
        "state=retracted": [],
    }
    for query, expected in asked.items():
        assert openings(api.get(f"/signals?{query}")) == expected, query


def test_only_the_newest_revision_counts_and_a_retracted_one_is_told_when_asked_for(store, market, api):
    store(signal(1), signal(2))
    store(signal(1, state="retracted", revision=2, score=0.5))
    market.view.signals.publish([signal(2, state="retracted", revision=2)])
    assert openings(api.get("/signals")) == []
    told = api.get("/signals", params={"state": "retracted"}).json()["signals"]
    assert [(row["revision"], row["score"]) for row in told] == [(2, 0.5), (2, 5.25)]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("symbol=NOPEUSDT", 404),
        ("kind=nonsense", 422),
        ("since=yesterday", 422),
        ("known_since=yesterday", 422),
        ("limit=0", 422),
        ("limit=100000", 422),
        ("state=sure", 422),
        ("interval=2m", 422),
    ],
)
def test_what_cannot_be_asked_is_a_problem(api, query, status):
    answer = api.get(f"/signals?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_what_changes_comes_over_the_live_socket_to_those_who_listen(market, address):
    market.view.signals.publish([signal(1), signal(2, state="retracted"), signal(3, symbol="ETHUSDT")])
    with connect(address.replace("http", "ws") + "/live") as client:
        client.send(json.dumps({"subscribe": {"symbols": ["BTCUSDT"], "channels": ["signals"]}}))
        first = hear(client)
        assert [(row["symbol"], row["state"]) for row in first] == [("BTCUSDT", "confirmed")]
        until = time.monotonic() + WITHIN
        while not market.view.watched() and time.monotonic() < until:
            time.sleep(0.01)
        assert market.view.watched() == {"BTCUSDT"}
        market.view.signals.foresee("BTCUSDT", [signal(9, state="provisional", revision=0)], 0)
        market.view.signals.publish([signal(4, symbol="ETHUSDT")])
        told = hear(client)
        while told[-1]["revision"]:  # what was told at first may be told again
            assert {row["symbol"] for row in told} == {"BTCUSDT"}
            told = hear(client)
        assert told[-1]["state"] == "provisional"
        mood = signal(0, kind="sentiment_extreme", symbol="*", interval="1d")
        market.view.signals.publish([mood])
        assert [row["kind"] for row in hear(client)] == ["sentiment_extreme"]


def hear(client) -> list[dict]:
    while True:
        message = json.loads(client.recv(timeout=WITHIN))
        if message["type"] == "signals":
            return message["signals"]


def test_memory_is_bounded_and_a_reader_that_lags_learns_how_much_it_missed(monkeypatch):
    monkeypatch.setattr("tapehouse.streaming.signal_view.MOST", 50)
    view = SignalView()
    view.publish(signal(minute) for minute in range(CHANGES_KEPT + 10))
    changes, sequence, lost = view.since(0)
    assert (len(changes), sequence, lost) == (CHANGES_KEPT, CHANGES_KEPT + 10, 10)
    assert 50 <= len(view.newest()) <= 63
    assert view.newest()[-1] == signal(CHANGES_KEPT + 9)


def test_what_the_lake_holds_is_remembered_at_the_start(store, market):
    store(signal(1, day=1), signal(2), signal(2, state="retracted", revision=2))
    view = SignalView()
    view.recall(market.lake)
    assert [(s.opened_at, s.state) for s in view.newest()] == [
        (TODAY - DAY + MINUTE, "confirmed"),
        (TODAY + 2 * MINUTE, "retracted"),
    ]
    view.publish([signal(2)])
    assert view.since(0)[0] == []
