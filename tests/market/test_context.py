"""The same thing told again is nothing new; a change is a version, and what was known stays."""

from hypothesis import given, strategies as st

from tapehouse.market.context import Known, KnownPast, Observation, canonical

AT = 1_700_000_000_000_000
DAY = 86_400_000_000


def told(key="bitcoin", *, price="1", at=AT, received_at=AT + 5, kind="market_data") -> Observation:
    return Observation(kind, "coingecko", key, at, received_at, {"current_price": price, "rank": 1})


def test_an_observation_is_new_once():
    known = Known()
    assert known.take(told()) == AT + 5
    assert known.take(told(received_at=AT + 9)) is None


def test_a_change_is_known_later_than_what_it_changes_even_where_our_clock_went_back():
    known = Known()
    known.take(told(received_at=AT + 100))
    assert known.take(told(price="2", received_at=AT + 50)) == AT + 101


def test_a_measurement_older_than_the_one_held_is_nothing_new():
    known = Known()
    known.take(told(price="2", at=AT + 60))
    assert known.take(told(price="1", at=AT)) is None


def test_a_story_may_be_corrected_to_an_earlier_time():
    known = Known()
    known.take(told(kind="news", at=AT + 60))
    assert known.take(told(kind="news", price="2", at=AT)) is not None


def test_keys_and_sources_are_told_apart():
    known = Known()
    assert known.take(told("bitcoin")) is not None
    assert known.take(told("ethereum")) is not None


def test_what_was_stored_is_recalled_and_not_new():
    known = Known()
    known.recall("coingecko", "bitcoin", canonical(told().fields), AT, AT + 5)
    assert known.take(told()) is None
    assert known.take(told(price="2")) == AT + 6


def test_the_key_told_longest_ago_is_forgotten_first():
    known = Known(most=2)
    for key in ("a", "b", "a", "c"):
        known.take(told(key, price=key))
    assert len(known) == 2
    assert known.take(told("a", price="a")) is not None  # its repetition did not make it new
    assert known.take(told("c", price="c")) is None


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()))
def test_equal_fields_have_one_text_whatever_their_order(fields):
    assert canonical(fields) == canonical(dict(reversed(fields.items())))


def point(day: int, *, price="1", received_at=AT + 5, coin="bitcoin") -> Observation:
    at = AT + day * DAY
    return Observation("market_data", "history", f"{coin}/{day}", at, received_at, {"current_price": price})


@given(st.permutations(range(12)))
def test_each_point_of_a_series_is_new_once_in_whatever_order_it_is_told(days):
    past = KnownPast()
    assert [past.take(point(day)) for day in days] == [AT + 5] * 12
    assert [past.take(point(day, received_at=AT + 9)) for day in days] == [None] * 12
    assert past.newest() == {"bitcoin": AT + 11 * DAY}


def test_a_changed_point_is_known_later_than_what_it_changes():
    past = KnownPast()
    past.take(point(3, received_at=AT + 100))
    assert past.take(point(3, price="2", received_at=AT + 50)) == AT + 101
    assert past.take(point(3, price="1", received_at=AT + 50)) == AT + 102


def test_a_stored_series_is_recalled_and_not_new():
    past = KnownPast()
    for price in ("7", "1"):
        past.recall("bitcoin/3", canonical(point(3, price=price).fields), AT + 3 * DAY, AT)
    assert past.take(point(3)) is None
    assert past.take(point(3, coin="ethereum")) == AT + 5


def test_the_series_told_longest_ago_is_forgotten_first():
    past = KnownPast(most=2)
    for coin in ("a", "b", "a", "c"):
        past.take(point(1, coin=coin))
    assert set(past.newest()) == {"a", "c"}
