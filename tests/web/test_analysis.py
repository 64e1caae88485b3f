"""What the page computes from the market: indicators over the candles, the week by hours, who moves alike."""

import json
import re
import time
from decimal import Decimal

import httpx
import pytest
from playwright.sync_api import Page, expect

from tapehouse.market.windows import MINUTE, opened_at

pytestmark = pytest.mark.browser

MINUS, NOT_KNOWN = "\N{MINUS SIGN}", "\N{EN DASH}"


@pytest.fixture
def traded(market):
    """Half a day of quarters of an hour, two symbols, the last window open; one trade is missing."""
    start = opened_at(time.time_ns() // 1000, "15m") - 48 * 15 * MINUTE
    for quarter in range(49):
        at = start + quarter * 15 * MINUTE
        if quarter == 9:
            market.skip(1)
        price = 65_000 + (quarter * 37) % 101
        market.tell(
            market.trade(f"{price}.25", "0.12345678", at=at),
            market.trade(str(3_000 + (quarter * 53) % 97), "2", symbol="ETHUSDT", at=at),
        )
    market.commit()
    return market


@pytest.fixture
def asked(address):
    """Ask the API, decimals as they are written."""

    def ask(path: str):
        answer = httpx.get(address + path)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)

    return ask


def test_an_indicator_is_drawn_and_told_as_the_server_has_it_and_follows_the_market(traded, address, page: Page, asked):
    def newest(name: str) -> str:
        window = asked("/indicators/BTCUSDT?interval=15m&indicators=sma,rsi&limit=1")["windows"][-1]
        return f"{window[name]:,.2f}"

    page.goto(address)
    page.get_by_role("button", name="15m").click()
    page.get_by_text("Indicators", exact=True).click()
    page.get_by_label("SMA 20").check()
    panes = page.locator("#chart tr:has(canvas)")
    before = panes.count()
    page.get_by_label("RSI 14").check()
    expect(panes).not_to_have_count(before)
    told = page.locator("#overlays output[data-field=sma]")
    expect(told).to_have_text(newest("sma"))
    expect(page.locator("#overlays output[data-field=rsi]")).to_have_text(newest("rsi"))
    was = told.text_content()
    traded.tell(traded.trade("66000"))
    expect(told).not_to_have_text(was)
    expect(told).to_have_text(newest("sma"))
    page.reload()
    expect(page.locator("#overlays output[data-field=rsi]")).to_have_text(newest("rsi"))


@pytest.mark.usefixtures("traded")
def test_pointing_at_a_candle_tells_the_indicators_of_its_time(address, page: Page, asked):
    page.add_init_script("localStorage.setItem('indicators', 'bollinger'); localStorage.setItem('interval', '15m')")
    page.goto(address)
    told = page.locator("#overlays output[data-field=bollinger_upper]")
    expect(told).to_have_text(re.compile(r"\d"))
    page.locator("#chart").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    windows = asked("/indicators/BTCUSDT?interval=15m&indicators=bollinger&limit=3")["windows"]
    expect(told).to_have_text(f"{windows[0]['bollinger_upper']:,.2f}")


@pytest.mark.usefixtures("traded")
def test_every_hour_s_cell_says_what_the_server_says_of_it(address, page: Page, asked):
    page.goto(address)
    rows = [row for row in asked("/ohlc/BTCUSDT?interval=1h&limit=200")["candles"] if row["trades"]]
    cells = page.locator("#hours tbody td:not([data-kind=none])")
    expect(cells).to_have_count(len(rows))
    told = sorted(cell.get_attribute("aria-label") for cell in cells.all())
    said = sorted(f"{row['quote_volume']:,} traded in {row['trades']} trades ({row['state']})" for row in rows)
    assert sorted(label.partition("UTC: ")[2] for label in told) == said
    assert {"gap", "open"} <= {row["state"] for row in rows}

    page.get_by_label("Change", exact=True).check()
    newest = page.locator("#hours tbody td[data-kind=open]")
    newest.focus()
    expect(page.locator("#hours-note")).to_contain_text(f"to {rows[-1]['close']:,}")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#hours-note")).to_contain_text("UTC:")
    expect(newest).not_to_be_focused()


@pytest.mark.usefixtures("traded")
def test_the_matrix_shows_the_server_s_correlations_and_how_many_returns_they_share(address, page: Page, asked):
    page.goto(address)
    told = asked("/correlations?interval=15m&limit=96")
    texts = [f"{value:.2f}".replace("-", MINUS) for row in told["correlations"] for value in row]
    expect(page.locator("#correlations tbody td")).to_have_text(texts)
    label = page.locator("#correlations tbody td").nth(1).get_attribute("aria-label")
    assert label.startswith("BTCUSDT with ETHUSDT")
    assert label.endswith(f"over {told['returns'][0][1]} shared returns")
    page.locator("#correlations-choice").get_by_label("7 d").check()
    expect(page.locator("#correlations-note")).to_contain_text("by hours")


def test_where_there_is_nothing_yet_the_page_says_so_in_words(address, page: Page):
    page.goto(address)
    expect(page.locator("#hours-note")).to_contain_text("No hour is held yet")
    expect(page.locator("#correlations-note")).to_contain_text("Too few shared windows yet")
    expect(page.locator("#overlays output").first).to_have_text(NOT_KNOWN)
