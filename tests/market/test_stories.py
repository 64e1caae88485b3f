"""One story through several feeds is one story, and different stories stay apart."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from tapehouse.market.stories import MOST_COMPARED, Stories, are_alike, canonical_link, publisher_of, words_of
from tapehouse.market.windows import DAY

NOW = 1_700_000_000_000_000
TITLE = "Circle and Tether freeze hacker wallet after massive exchange heist"


@pytest.mark.parametrize(
    "link",
    [
        "https://www.example.com/markets/heist",
        "http://example.com/markets/heist/",
        "https://m.example.com/markets/heist?utm_source=rss&utm_medium=feed",
        "https://example.com/markets/heist/amp/#comments",
        "https://EXAMPLE.com:443/markets/heist?fbclid=abc",
    ],
)
def test_links_to_one_page_have_one_canonical_form(link):
    assert canonical_link(link) == "example.com/markets/heist"


def test_what_names_the_page_stays_in_its_canonical_form():
    assert canonical_link("https://example.com/read?b=2&id=7&utm_campaign=x") == "example.com/read?b=2&id=7"


@pytest.mark.parametrize("link", ["", "not a link", "https://", "http://[broken", "https://example.com/"])
def test_what_leads_to_no_page_has_no_canonical_form(link):
    assert canonical_link(link) == ""


def test_the_publisher_is_the_host_of_the_link():
    assert publisher_of("https://www.example.com/a?b") == "example.com"
    assert publisher_of("http://[broken") == ""


def test_the_same_link_in_another_feed_is_the_same_story():
    stories = Stories()
    first = stories.story_of(("rss:a", "1"), TITLE, "https://example.com/heist?utm_source=a", NOW)
    second = stories.story_of(("rss:b", "2"), "Another title altogether", "http://www.example.com/heist", NOW)
    assert (first, second) == ("rss:a 1", "rss:a 1")


def test_nearly_the_same_title_of_another_publisher_is_the_same_story():
    stories = Stories()
    stories.story_of(("rss:a", "1"), TITLE, "https://a.example/heist", NOW)
    retold = "Circle, Tether freeze hacker wallet after massive exchange heist"
    assert stories.story_of(("rss:b", "2"), retold, "https://b.example/x", NOW + DAY) == "rss:a 1"


def test_one_key_of_two_feeds_names_two_stories():
    stories = Stories()
    one = stories.story_of(("rss:a", "1"), TITLE, "https://a.example/heist", NOW)
    other = stories.story_of(("rss:b", "1"), "Another title altogether", "https://b.example/1", NOW)
    assert (one, other) == ("rss:a 1", "rss:b 1")


def test_a_publisher_who_repeats_a_title_tells_a_new_story():
    stories = Stories()
    stories.story_of(("rss:a", "1"), "Bitcoin price analysis for the coming week", "https://a.example/1", NOW)
    again = stories.story_of(("rss:a", "2"), "Bitcoin price analysis for the coming week", "https://a.example/2", NOW)
    assert again == "rss:a 2"


def test_a_title_that_comes_again_much_later_is_a_new_story():
    stories = Stories()
    stories.story_of(("rss:a", "1"), TITLE, "https://a.example/heist", NOW)
    assert stories.story_of(("rss:b", "2"), TITLE, "https://b.example/x", NOW + 4 * DAY) == "rss:b 2"


def test_titles_with_other_numbers_are_not_alike():
    one = words_of("Bitcoin price falls below $60,000 as traders sell")
    assert are_alike(one, words_of("Bitcoin price falls below $60000 as traders sell"))
    assert not are_alike(one, words_of("Bitcoin price falls below $50,000 as traders sell"))


def test_short_titles_are_alike_by_chance_and_do_not_count():
    assert not are_alike(words_of("Bitcoin rises again"), words_of("Bitcoin rises again"))


def test_an_item_keeps_its_story_when_its_title_is_edited():
    stories = Stories()
    stories.story_of(("rss:a", "1"), TITLE, "https://a.example/heist", NOW)
    stories.story_of(("rss:b", "2"), TITLE, "https://b.example/heist", NOW)
    assert (
        stories.story_of(("rss:b", "2"), "Corrected: nothing was stolen", "https://b.example/heist", NOW) == "rss:a 1"
    )


def test_the_story_of_a_story_is_where_it_began():
    stories = Stories()
    for source in "abc":
        told = stories.story_of((f"rss:{source}", source), TITLE, f"https://{source}.example/heist", NOW)
        assert told == "rss:a a"


def test_what_is_remembered_from_the_tables_is_linked_as_before():
    before, after = Stories(), Stories()
    before.story_of(("rss:a", "1"), TITLE, "https://a.example/heist", NOW)
    after.remember(("rss:a", "1"), "rss:a 1", TITLE, "https://a.example/heist", NOW)
    later = (("rss:b", "2"), TITLE, "https://b.example/heist", NOW)
    assert after.story_of(*later) == before.story_of(*later) == "rss:a 1"


def test_the_oldest_items_are_forgotten_wholly():
    stories = Stories(most=10)
    for number in range(100):
        stories.story_of(("rss:a", str(number)), f"{TITLE} {number}", f"https://a.example/{number}", NOW)
    assert len(stories) == 10
    assert len(stories._by_link) == len(stories._numbers) == 10
    assert max(len(items) for items in stories._by_word.values()) == 10
    assert set(stories._by_word) == set(stories._words) == words_of(f"{TITLE} 90 91 92 93 94 95 96 97 98 99")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=60), st.text(max_size=60)), max_size=30))
def test_any_text_at_all_has_a_story(items):
    stories = Stories(most=8)
    for number, (source, title, link) in enumerate(items):
        assert stories.story_of((source, str(number)), title, link, NOW)
    assert len(stories) <= 8


def test_titles_made_from_a_template_are_not_each_compared_with_all(monkeypatch):
    compared = Counter()

    def counted(one, other) -> bool:
        compared[number] += 1
        return are_alike(one, other)

    monkeypatch.setattr("tapehouse.market.stories.are_alike", counted)
    stories = Stories()
    for number in range(MOST_COMPARED + 700):
        title = f"Coin number {number} rises on news of funds and banks in the market"
        told = stories.story_of((f"rss:{number}", str(number)), title, f"https://h{number}.example/1", NOW)
        assert told == f"rss:{number} {number}"
    assert max(compared.values()) == MOST_COMPARED
