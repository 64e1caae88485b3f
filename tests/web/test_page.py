import re
import time

import pytest
from playwright.sync_api import Page, expect

from tapehouse.market.windows import MINUTE, opened_at

pytestmark = pytest.mark.browser

BLANK = """() => {
  const canvas = document.querySelector("#chart canvas");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size < 4;
}"""
"""Whether the chart's canvas shows hardly more than its ground."""

CHART = """() => [...document.querySelectorAll("#chart canvas")].map((canvas) => canvas.toDataURL()).join()"""


def minutes_ago(minutes: int) -> int:
    return opened_at(time.time_ns() // 1000, "1m") - minutes * MINUTE


@pytest.fixture
def traded(market):
    """Ten minutes of trades, the last one open."""
    start = minutes_ago(9)
    for minute in range(10):
        at = start + minute * MINUTE
        prices = [str(65_000 + 10 * minute), str(65_020 + 5 * minute)]
        market.tell(*[market.trade(price, "0.5", at=at + place) for place, price in enumerate(prices)])
        if minute:
            market.tell_kline(at - MINUTE)
    market.commit()
    return market


@pytest.mark.usefixtures("traded")
def test_the_chart_is_drawn_with_the_price_and_the_tape(address, page: Page):
    page.goto(address)
    expect(page.locator("#price")).to_have_text("65,065.00")
    expect(page.locator("#tape tr")).to_have_count(20)
    page.wait_for_function(f"() => !({BLANK})()")
    expect(page.locator("#chart-note")).to_be_hidden()


def test_a_new_trade_moves_the_candle_the_price_and_the_tape(traded, address, page: Page):
    page.goto(address)
    expect(page.locator("#tape tr")).to_have_count(20)
    before = page.evaluate(CHART)
    traded.tell(traded.trade("65432.12345678", "0.00000001", side="sell"))
    first = page.locator("#tape tr").first
    expect(first).to_have_attribute("data-side", "sell")
    expect(first.locator("td").nth(2)).to_have_text("65,432.12345678")
    expect(first.locator("td").nth(3)).to_have_text("0.00000001")
    expect(page.locator("#price")).to_have_text("65,432.12345678")
    page.wait_for_function(f"(before) => ({CHART})() !== before", arg=before)


def test_a_cut_feed_is_shown_plainly_and_goes_away(traded, address, page: Page):
    page.goto(address)
    expect(page.locator("#fresh")).to_have_attribute("data-state", "good")
    expect(page.locator("#alarm")).to_be_hidden()
    traded.connected, traded.error = False, "connection reset"
    expect(page.locator("#alarm")).to_contain_text("FEED CUT")
    expect(page.locator("#alarm")).to_contain_text("connection reset")
    expect(page.locator("#fresh")).to_have_attribute("data-state", "bad")
    expect(page.locator("#fresh strong")).to_contain_text("Feed cut")
    expect(page.locator("#link")).to_have_text("FEED CUT")
    traded.connected = True
    expect(page.locator("#alarm")).to_be_hidden()
    expect(page.locator("#link")).to_have_text("Live")


def test_missing_trades_are_shown_and_their_repair(traded, address, page: Page):
    page.goto(address)
    expect(page.locator("#complete strong")).to_have_text("No trade missing")
    held_back = traded.trade("65100")
    traded.tell(traded.trade("65101"))
    traded.commit()
    expect(page.locator("#complete strong")).to_have_text("1 trade missing")
    expect(page.locator("#coverage-bar .missing")).to_have_count(1)
    with page.expect_response("**/coverage/*"):  # asked before the commit, so it still tells of the old state
        traded.tell(held_back)
    expect(page.locator("#complete strong")).to_have_text("No trade missing")
    traded.commit()
    expect(page.locator("#coverage-bar .missing")).to_have_count(0)


def test_how_many_candles_were_verified_is_said(traded, address, page: Page):
    page.goto(address)
    checked = traded.checked["BTCUSDT"]
    assert checked > 0
    expect(page.locator("#verified strong")).to_have_text(f"{checked} of {checked}")
    traded.differing["BTCUSDT"] = 1
    traded.tell(traded.trade("65000"))
    expect(page.locator("#verified strong")).to_have_text("1 candle differs")
    expect(page.locator("#verified")).to_have_attribute("data-state", "bad")


def test_walking_by_keyboard_tells_every_digit_and_the_state_of_a_candle(traded, address, page: Page):
    page.goto(address)
    traded.tell(traded.trade("65000.00000001", "0.12345678"))
    expect(page.locator("#price")).to_have_text("65,000.00000001")
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#candle .state")).to_have_text("open")
    expect(page.locator('#candle [data-field="close"]')).to_have_text("65,000.00000001")
    expect(page.locator('#candle [data-field="quote_volume"]')).to_have_text(re.compile(r"^[\d,]+\.\d{8}12345678$"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#candle .state")).to_have_text("closed")
    page.keyboard.press("Escape")
    expect(page.locator("#candle")).to_be_hidden()


def test_choosing_a_symbol_and_an_interval_shows_theirs(traded, address, page: Page):
    traded.tell(traded.trade("3400.25", symbol="ETHUSDT"))
    page.goto(address)
    page.get_by_role("tab", name="ETHUSDT").click()
    expect(page.locator("#symbol")).to_have_text("ETHUSDT")
    expect(page.locator("#price")).to_have_text("3,400.25")
    expect(page.locator("#tape tr")).to_have_count(1)
    page.get_by_role("button", name="1h").click()
    expect(page.get_by_role("button", name="1h")).to_have_attribute("aria-pressed", "true")
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator('#candle [data-field="close"]')).to_have_text("3,400.25")


def test_a_lost_server_is_shown_and_come_back_to(traded, serving, page: Page):
    with serving(traded) as address:
        page.goto(address)
        expect(page.locator("#link")).to_have_text("Live")
        expect(page.locator("#fresh")).not_to_have_attribute("data-state", "waiting")
    expect(page.locator("#alarm")).to_contain_text("CONNECTION LOST")
    expect(page.locator("#fresh")).to_have_attribute("data-state", "bad")
    traded.tell(traded.trade("65002"))
    with serving(traded, port=int(address.rpartition(":")[2])):
        expect(page.locator("#price")).to_have_text("65,002.00")
        expect(page.locator("#alarm")).to_be_hidden()
        expect(page.locator("#link")).to_have_text("Live")
    page.complaints[:] = [said for said in page.complaints if "ERR_CONNECTION_REFUSED" not in said]


@pytest.mark.usefixtures("traded")
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nothing_sticks_out_of_a_phone_or_a_desk(address, page: Page, width, scheme):
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto(address)
    expect(page.locator("#tape tr")).to_have_count(20)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.wait_for_function(f"() => !({BLANK})()")


@pytest.mark.usefixtures("traded")
def test_the_documentation_works_without_a_network_and_answers(address, page: Page):
    page.goto(address + "/docs")
    expect(page.locator("#reference section").first).to_be_visible()
    route = page.locator("section", has_text="/prices/latest").first
    route.get_by_role("button", name="Try it").click()
    expect(route.locator("pre")).to_contain_text('"price":65065')
