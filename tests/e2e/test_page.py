"""The page of the running platform in a real browser: it moves with the market, and says so when the feed is cut."""

import pytest
from playwright.sync_api import Page, expect

from tapehouse.exchange.faults import Refusal

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHART = """() => [...document.querySelectorAll("#chart canvas")].map((canvas) => canvas.toDataURL()).join()"""
DRAWN = """() => {
  const canvas = document.querySelector("#chart canvas");
  if (!canvas) return false;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size >= 4;
}"""
"""Whether the chart shows more than its ground."""


def test_the_page_lives_with_the_market_and_says_when_the_feed_is_cut(exchange, platform, page: Page):
    served = exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=20.0)
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    up.until_health(lambda health: all(symbol["last_trade_id"] > 0 for symbol in health["symbols"].values()))
    page.goto(up.address)
    page.wait_for_function(DRAWN)
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#alarm")).to_be_hidden()

    before = page.evaluate(CHART)
    price = page.locator("#price").text_content()
    expect(page.locator("#price")).not_to_have_text(price)
    page.wait_for_function(f"(before) => ({CHART})() !== before", arg=before)

    served.do(lambda running: running.faults.refuse(Refusal(503, on="both")))
    served.do(lambda running: running.cut())
    expect(page.locator("#alarm")).to_contain_text("FEED CUT")
    expect(page.locator("#link")).to_have_text("FEED CUT")

    served.do(lambda running: running.faults.clear())
    expect(page.locator("#alarm")).to_be_hidden()
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#complete strong")).to_have_text("No trade missing")
    page.close()
    assert up.stop() == 0


def test_a_symbol_and_an_interval_are_chosen_and_drawn(exchange, platform, page: Page):
    served = exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=50.0)
    up = platform(served, "BTCUSDT,ETHUSDT").start()
    up.until_health(lambda health: all(symbol["last_trade_id"] > 0 for symbol in health["symbols"].values()))
    page.goto(up.address)
    page.get_by_role("tab", name="ETHUSDT").click()
    expect(page.locator("#symbol")).to_have_text("ETHUSDT")
    page.get_by_role("button", name="1h").click()
    page.wait_for_function(DRAWN)
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#candle .state")).to_have_text("open")
    page.close()
    assert up.stop() == 0
