"""Signals on the page: as a list and on the chart, with what each was made from."""

import re
import time

import pytest
from playwright.sync_api import Page, expect

from tapehouse.market.signals import Signal
from tapehouse.market.windows import MINUTE, opened_at

pytestmark = pytest.mark.browser

SPIKE = {"times_before": 24.4, "times_hour_of_week": None, "first_trade_id": 17, "last_trade_id": 1_234_567}


NEWEST = opened_at(time.time_ns() // 1000, "1m")
"""The newest window of the market, which is still open."""


def minutes_ago(minutes: int) -> int:
    return NEWEST - minutes * MINUTE


@pytest.fixture
def publish(market):
    """Twenty minutes of trades, and signals published as the engine would."""
    for minute in range(20, -1, -1):
        market.tell(market.trade(str(65_000 + minute), "0.5", at=minutes_ago(minute)))
    market.commit()
    return lambda *signals: market.view.signals.publish(signals)


def signal(kind: str = "volume_spike", *, ago: int = 5, state="confirmed", revision: int = 1, **about) -> Signal:
    told = {"symbol": "BTCUSDT", "score": 5.25, "evidence": SPIKE} | about
    opened = minutes_ago(ago)
    rest = (told["score"], state, told["evidence"], revision, opened + MINUTE + revision)
    return Signal(kind, told["symbol"], "1m", opened, *rest)


def test_signals_come_newest_first_those_of_the_symbol_and_of_the_whole_market(publish, address, page: Page):
    mood = {"value": 9, "value_before": 30, "day_before": "2026-01-30T00:00:00Z", "mood": "extreme fear"}
    publish(
        signal(ago=9),
        signal("price_outlier", ago=7, symbol="ETHUSDT"),
        signal("sentiment_extreme", ago=8, symbol="*", evidence=mood),
    )
    page.goto(address)
    names = page.locator("#signals .name")
    expect(names).to_have_text(["Extreme sentiment", "Volume spike"])
    expect(page.locator("#signals-tally")).to_have_text("2")
    publish(signal("taker_imbalance", ago=3, evidence={"buyers_share": 0.98}))
    expect(names).to_have_text(["One-sided takers", "Extreme sentiment", "Volume spike"])
    page.get_by_role("tab", name="ETHUSDT").click()
    expect(names).to_have_text(["Price jump", "Extreme sentiment"])


def test_a_signal_of_the_list_explains_itself_in_words_and_numbers(publish, address, page: Page):
    publish(signal())
    page.goto(address)
    entry = page.locator("#signals button")
    entry.click()
    evidence = page.locator("#evidence")
    expect(evidence).to_contain_text("24.4 times the volume of the windows just before was traded.")
    expect(evidence.locator(".state")).to_have_text("confirmed")
    evidence.get_by_text("The numbers").click()
    expect(evidence.locator("dt:text-is('last trade id') + dd")).to_have_text("1,234,567")
    page.keyboard.press("Escape")
    expect(evidence).to_be_hidden()
    expect(entry).to_be_focused()


def test_the_mark_on_a_candle_tells_its_signals_to_a_click_and_to_the_keyboard(publish, address, page: Page):
    publish(signal(ago=1), signal("price_outlier", ago=1, evidence={"jump": -0.03, "kept": 0.1}))
    page.goto(address)
    expect(page.locator("#signals li")).to_have_count(2)
    expect(page.locator("#chart-note")).to_be_hidden()
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    heads = page.locator("#evidence h3")
    expect(heads).to_have_text(["Price jump", "Volume spike"])
    expect(page.locator("#evidence")).to_contain_text("a wick or a bad tick")
    page.keyboard.press("Escape")
    expect(page.locator("#evidence")).to_be_hidden()

    plot = page.locator("#chart canvas").first.bounding_box()
    for step in range(60):  # from the newest candle to the left, until the marked one is hit
        page.mouse.click(plot["x"] + plot["width"] - 4 - 5 * step, plot["y"] + plot["height"] / 2)
        if heads.count() == 2 and page.locator("#evidence").is_visible():
            return
    pytest.fail("no click on a candle told its signals")


def test_a_signal_whose_ground_is_taken_away_says_so_where_it_is_shown(publish, address, page: Page):
    publish(signal(state="provisional"))
    page.goto(address)
    page.locator("#signals button").click()
    expect(page.locator("#evidence")).to_contain_text("it may change when they are repaired")
    publish(signal(state="retracted", revision=2, score=0.0))
    expect(page.locator("#evidence .state")).to_have_text("retracted")
    expect(page.locator("#signals .about")).to_have_text("1m · retracted")
    expect(page.locator("#signals-tally")).to_be_empty()


@pytest.mark.usefixtures("publish")
def test_where_nothing_is_unusual_the_page_says_so(address, page: Page):
    page.goto(address)
    expect(page.locator("#signals-note")).to_have_text(re.compile("^Nothing unusual about BTCUSDT"))


def test_what_is_told_as_evidence_is_text(publish, address, page: Page):
    publish(
        signal("divergence", evidence={"told_by": "<img src=x>", "told_price": "1", "told_at": "<b>", "distance": 0})
    )
    page.goto(address)
    page.locator("#signals button").click()
    expect(page.locator("#evidence")).to_contain_text("<img src=x>")
    expect(page.locator("#evidence img, #evidence b")).to_have_count(0)
