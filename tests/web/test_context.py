import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from tapehouse.market.context import Observation, Version
from tapehouse.market.windows import DAY, MINUTE, SECOND, opened_at
from tapehouse.producers import rss
from tapehouse.producers.poll_status import PollStatus, source_status
from tapehouse.streaming.story_links import StoryLinks

pytestmark = pytest.mark.browser


def now() -> int:
    return time.time_ns() // 1000


def told(kind: str, source: str, key: str, at: int, **fields) -> Version:
    return Version(Observation(kind, source, key, at, now(), fields), now(), b"")


def story(key: str, title: str, *, at: int, tickers: tuple[str, ...] = (), **fields) -> Version:
    common = {"link": f"https://a.example/{key}", "summary": "", "publisher": "A Daily", "sentiment": 0, "story": key}
    return told("news", "rss:a", key, at, title=title, tickers=list(tickers), **(common | fields))


@pytest.fixture
def minute() -> int:
    """When the minute began in which the last trade was; another may have begun since."""
    return opened_at(now(), "1m")


@pytest.fixture
def traded(market, minute):
    """A few minutes of trades, the last one open."""
    market.tell(*[market.trade("65000", "0.5", at=minute - ago * MINUTE) for ago in range(5, -1, -1)])
    market.commit()
    return market


@pytest.fixture
def publish(traded):
    return lambda *versions: traded.view.context.publish(versions)


def test_stories_come_newest_first_and_a_new_one_on_top(publish, address, page: Page):
    publish(story("1", "Bitcoin climbs", at=now() - MINUTE), story("2", "Ether slides", at=now()))
    page.goto(address)
    expect(page.locator("#news h3")).to_have_text(["Ether slides", "Bitcoin climbs"])
    publish(story("3", "Third", at=now()))
    expect(page.locator("#news h3")).to_have_text(["Third", "Ether slides", "Bitcoin climbs"])


def test_an_edited_headline_takes_the_place_of_the_one_before(publish, address, page: Page):
    publish(story("1", "First words", at=now()))
    page.goto(address)
    expect(page.locator("#news h3")).to_have_text(["First words"])
    publish(story("1", "Second words", at=now()))
    expect(page.locator("#news h3")).to_have_text(["Second words"])


def test_a_story_of_several_outlets_is_shown_once_with_their_names(publish, address, page: Page):
    publish(
        story("1", "Bitcoin climbs", at=now() - SECOND),
        story("2", "Bitcoin climbs, others say", at=now(), story="1", publisher="B Herald"),
    )
    page.goto(address)
    expect(page.locator("#news h3")).to_have_text(["Bitcoin climbs"])
    expect(page.locator("#news .publisher")).to_have_text("A Daily and B Herald")


def test_items_of_two_feeds_that_use_one_id_are_both_shown(publish, address, page: Page):
    links = StoryLinks()
    for feed in "ab":
        entry = {"feed": f"https://{feed}.example/rss", "id": "id-1", "title": f"What {feed} has to tell"}
        publish(Version(links.link(rss.feed_entry(json.dumps(entry).encode(), now())), now(), b""))
    page.goto(address)
    expect(page.locator("#news h3")).to_have_count(2)


def test_only_the_chosen_coins_stories_are_shown_when_asked(publish, address, page: Page):
    publish(story("1", "Of Bitcoin", at=now(), tickers=("BTC",)), story("2", "Of Ether", at=now(), tickers=("ETH",)))
    page.goto(address)
    expect(page.locator("#news li")).to_have_count(2)
    page.get_by_label("BTC only").check()
    expect(page.locator("#news h3")).to_have_text(["Of Bitcoin"])
    page.get_by_role("tab", name="ETHUSDT").click()
    expect(page.locator("#news h3")).to_have_text(["Of Ether"])


def test_words_of_a_story_are_text_and_only_the_web_is_linked(publish, address, page: Page):
    title = "<img src=x onerror=alert(1)> & more"
    publish(story("1", title, at=now(), link="javascript:alert(1)", summary="<script>alert(2)</script>"))
    page.goto(address)
    expect(page.locator("#news h3")).to_have_text(title)
    expect(page.locator("#news a, #news img, #news script")).to_have_count(0)


def test_a_story_is_told_with_the_candle_of_its_time(minute, publish, address, page: Page):
    at = minute + SECOND
    publish(story("1", "Bitcoin climbs", at=at, tickers=("BTC",)), story("2", "Of Ether", at=at, tickers=("ETH",)))
    page.goto(address)
    expect(page.locator("#news li")).to_have_count(2)
    expect(page.locator("#chart-note")).to_be_hidden()
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    headlines = page.locator("#candle .headline")
    expect(headlines).to_have_text([re.compile("Bitcoin climbs$")])
    publish(story("3", "It goes on", at=at + SECOND, tickers=("BTC",)))
    expect(headlines).to_have_text([re.compile("Bitcoin climbs$"), re.compile("It goes on$")])


def test_the_index_is_drawn_and_a_missing_day_stays_open(publish, address, page: Page):
    days = [0, 1, 3, 4]
    for day in days:
        at = now() // DAY * DAY - day * DAY
        key = time.strftime("%Y-%m-%d", time.gmtime(at / SECOND))
        publish(told("sentiment", "fear_greed", key, at, value=70 - day, value_classification="Greed"))
    page.goto(address)
    expect(page.locator("#mood-value")).to_have_text("70")
    expect(page.locator("#gauge")).to_have_attribute(
        "aria-label", "Fear and Greed index 70 of 100: Greed, on " + today()
    )
    drawn = page.locator("#mood-line .days").get_attribute("d")
    assert (drawn.count("M"), drawn.count("L")) == (2, 2)


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def test_the_coin_and_the_whole_market_are_told_with_every_digit_at_hand(publish, address, page: Page):
    coin = {"symbol": "btc", "name": "Bitcoin", "market_cap": "1230987654321.5", "market_cap_rank": 1}
    figures = {"total_volume": "3200000000", "circulating_supply": "19890000", "price_change_percentage_24h": "-1.5"}
    publish(told("market_data", "coingecko", "bitcoin", now(), **coin, **figures))
    publish(
        told(
            "market_data",
            "coingecko_global",
            "global",
            now(),
            total_market_cap="2e0",
            market_cap_percentage_btc="56.25",
        )
    )
    page.goto(address)
    cap = page.locator("#figures div", has_text="Bitcoin market cap")
    expect(cap.locator("dd").first).to_have_text("$1.23 T")
    assert cap.get_attribute("title").startswith("1,230,987,654,321.5 as of")
    expect(page.locator("#figures div", has_text="BTC dominance").locator("dd").first).to_have_text("56.3 %")
    expect(page.locator("#figures")).to_contain_text("1.50 % in 24 h")


def test_the_upstreams_are_named_where_their_data_is(address, page: Page):
    page.goto(address)
    named = page.locator(".context .sources")
    expect(named).to_contain_text("Data provided by CoinGecko")
    expect(named.get_by_role("link", name="alternative.me")).to_have_attribute("href", "https://alternative.me/crypto/")


def feed(name: str, *, fresh: bool) -> PollStatus:
    at = now() - (MINUTE if fresh else DAY)
    return PollStatus(
        name, "open" if fresh else "circuit_open", at, at, now() + MINUTE, 1, 0 if fresh else 9, 900.0, fresh, ""
    )


def test_stale_feeds_beside_fresh_ones_are_counted_and_a_source_that_is_stale_says_so(traded, address, page: Page):
    feeds = (feed("a", fresh=True), feed("b", fresh=False), feed("c", fresh=False))
    traded.polled = [
        source_status("rss", feeds, today=1, a_day=None),
        source_status("fear_greed", feeds[:1], today=1, a_day=None),
        source_status("newsapi", feeds[1:2], today=1, a_day=None),
    ]
    page.goto(address)
    fact = page.locator("#facts dt", has_text="News feeds").locator("+ dd")
    expect(fact).to_have_text(re.compile("ago · 2 addresses stale$"))
    expect(fact).to_have_attribute("data-state", "old")
    expect(page.locator("#facts dt", has_text="Fear & Greed").locator("+ dd")).to_have_attribute("data-state", "")
    expect(page.locator("#facts dt", has_text="NewsAPI").locator("+ dd")).to_have_text(re.compile("^circuit open · "))
