import dataclasses
import time
from datetime import UTC, datetime

import msgspec

from tapehouse.api import health
from tapehouse.market.windows import DAY, MINUTE, SECOND, opened_at
from tapehouse.producers.poll_status import PolledStatus, PollStatus
from tapehouse.streaming.rows import to_microseconds
from tapehouse.streaming.view import SymbolHealth


def test_all_is_well_when_the_feed_is_fresh_and_everything_held(market, api):
    market.tell(market.trade("1"))
    market.commit()
    report = api.get("/health").json()
    assert (report["status"], report["reasons"]) == ("ok", [])
    source = report["sources"]["binance"]
    assert (source["state"], source["gaps"], source["missing_trades"]) == ("connected", 0, 0)
    assert source["freshness_seconds"] < 10
    assert source["clock_offset_seconds"] == 0.012
    assert source["connections"][0]["last_message_at"].endswith("Z")


def test_it_is_200_and_failing_while_the_feed_is_cut(market, api):
    market.tell(market.trade("1"))
    market.connected, market.error = False, "connection reset"
    answer = api.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "failing")
    assert "binance is cut (connection reset)" in answer.json()["reasons"][0]


def test_a_feed_that_never_connected_is_connecting_and_not_cut(market, api):
    market.connected = False
    report = api.get("/health").json()
    assert (report["status"], report["sources"]["binance"]["state"]) == ("degraded", "connecting")


def test_a_connected_feed_that_says_nothing_is_silent(market, api):
    market.tell(market.trade("1"))
    market.heard_at -= int((health.SILENT_AFTER + 1) * 1e6)
    report = api.get("/health").json()
    assert (report["status"], report["sources"]["binance"]["state"]) == ("failing", "silent")


def test_missing_trades_are_counted_and_said(market, api):
    market.tell(market.trade("1"))
    market.skip(3)
    market.tell(market.trade("2"))
    market.commit()
    report = api.get("/health").json()
    assert report["status"] == "degraded"
    assert "BTCUSDT: 3 trades missing, 1 holes; they are being fetched." in report["reasons"]
    assert tuple(report["symbols"]["BTCUSDT"][name] for name in ("missing_trades", "holes")) == (3, 1)


def test_missing_trades_that_will_not_come_by_themselves_are_told_from_those_being_fetched():
    at = to_microseconds(datetime(2025, 3, 8, 11, tzinfo=UTC))
    fresh = SymbolHealth(10, at, at, 0, 0, 0, 0, 0)
    lacking = {"missing_trades": 6, "holes": 3, "trades_not_offered": 2, "trades_left_to_backfill": 3}
    told = msgspec.structs.replace(fresh, **lacking, backfill_from=at - 8 * DAY, backfill_to=at)
    report = health.report(health.Moment(at, [], {"BTCUSDT": told}, at, at), ["BTCUSDT"])
    [reason] = report["reasons"]
    assert reason == (
        "BTCUSDT: 6 trades missing, 3 holes; 1 are being fetched, 2 the exchange does not have, 3 lie in holes of "
        "over a week: `tapehouse backfill BTCUSDT --from 2025-02-28 --to 2025-03-09` brings them."
    )
    assert report["symbols"]["BTCUSDT"]["backfill_from"] == "2025-02-28T11:00:00Z"


def test_windows_that_are_over_and_not_proved_are_said(market, api):
    start = opened_at(time.time_ns() // 1000, "1m") - 3 * MINUTE
    market.tell(market.trade("1", at=start), market.trade("2", at=start + MINUTE))
    market.ledgers["BTCUSDT"].horizon = start + 2 * MINUTE
    market.settle([])
    report = api.get("/health").json()
    assert report["symbols"]["BTCUSDT"]["windows_overdue"] == 1
    assert any("over and not proved" in reason for reason in report["reasons"])


def test_a_candle_that_differs_from_the_exchange_is_said(market, api):
    market.checked["BTCUSDT"], market.differing["BTCUSDT"] = 5, 1
    market.tell(market.trade("1"))
    report = api.get("/health").json()
    assert tuple(report["symbols"]["BTCUSDT"][name] for name in ("checked_candles", "agreeing_candles")) == (5, 4)
    assert any("1 candles differ" in reason for reason in report["reasons"])


def test_data_that_stays_uncommitted_is_trouble(market):
    market.tell(market.trade("1"))
    later = market.heard_at + int((health.COMMIT_LATE_AFTER + 1) * 1e6)
    report = health.report(health.take(market.view, [], later), market.view.symbols())
    assert report["status"] == "failing"
    assert "not committed" in report["reasons"][0]


def test_a_lake_that_cannot_be_read_is_trouble_of_its_own_and_says_nothing_of_commits(market):
    market.tell(market.trade("1"))
    market.view.lake_error = "Cannot read s3://bucket: gone."
    later = market.heard_at + int((health.COMMIT_LATE_AFTER + 1) * 1e6)
    report = health.report(health.take(market.view, [], later), market.view.symbols())
    assert report["status"] == "failing"
    assert [reason.partition(":")[0] for reason in report["reasons"]] == ["The lake does not answer"]


def test_a_commit_that_never_came_is_trouble_after_a_while(market):
    market.tell(market.trade("1"))
    market.view.since = market.heard_at
    later = market.heard_at + int((health.FIRST_COMMIT_WITHIN - 1) * 1e6)
    market.tell(market.trade("2"))

    def said(now: int) -> list[str]:
        told = health.take(market.view, [], now)
        newest = {name: msgspec.structs.replace(one, last_received_at=now) for name, one in told.symbols.items()}
        return health.report(dataclasses.replace(told, symbols=newest), [])["reasons"]

    assert said(later) == []
    assert "not committed" in said(later + 2 * SECOND)[0]


def polled(state: str, *, heard_seconds_ago: float) -> PolledStatus:
    """Say of a polled source what its poller would."""
    at = time.time_ns() // 1000 - int(heard_seconds_ago * SECOND)
    poll = PollStatus(
        name="fear_greed",
        state="open",
        since=at,
        last_message_at=at,
        next_at=at + 2 * SECOND,
        attempts=1,
        failures=0,
        fresh_within=3600.0,
        fresh=state == "connected",
        last_error="status 503",
    )
    return PolledStatus("fear_greed", state, (poll,), 3600.0, 1, None, "status 503", ())


def test_a_source_that_is_polled_seldom_is_not_called_silent(market, api):
    market.tell(market.trade("1"))
    market.commit()
    market.polled = [polled("connected", heard_seconds_ago=1800)]
    report = api.get("/health").json()
    source = report["sources"]["fear_greed"]
    assert (report["status"], source["state"]) == ("ok", "connected")
    assert 1800 <= source["freshness_seconds"] < 1900
    assert source["connections"][0]["next_at"].endswith("Z")
    assert "missing_trades" not in source


def test_a_stale_source_beside_the_exchange_is_said_and_is_no_failure(market, api):
    market.tell(market.trade("1"))
    market.commit()
    market.polled = [polled("stale", heard_seconds_ago=9000)]
    report = api.get("/health").json()
    assert report["status"] == "degraded"
    assert "fear_greed is stale (status 503)" in report["reasons"][0]


def test_a_polled_source_whose_producer_is_gone_is_said_once_and_fails_nothing(market):
    market.tell(market.trade("1"))
    market.commit()
    gone = msgspec.structs.replace(polled("silent", heard_seconds_ago=70), last_error="its producer told nothing")
    report = health.report(health.take(market.view, [gone], market.heard_at), [])
    assert report["status"] == "degraded"
    assert report["reasons"] == [
        "The source fear_greed is silent (its producer told nothing): what is shown of it grows old."
    ]
