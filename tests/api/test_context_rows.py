"""What upstreams tell is said as JSON of the published shape, whatever its texts are."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, reject, strategies as st

from tapehouse.api import context_schemas as schemas
from tapehouse.api.context_rows import version_fields
from tapehouse.api.encoding import to_json
from tapehouse.market.context import NUMBERS, Observation, Version, is_number
from tapehouse.producers import fear_greed, newsapi, rss
from tapehouse.producers.coingecko import wire

RECEIVED = 1_790_000_000_000_000
NUMERALS = (
    "007",
    "000",
    "-0",
    "1_0",
    "1e5",
    "-1.50",
    "0.10",
    "\uff11\uff12",
    "\u0661",
    "NaN",
    "Infinity",
    "true",
    "{}",
    "1,2",
)
texts = st.sampled_from(NUMERALS) | st.text(max_size=40)
fields = st.sampled_from([name for names in NUMBERS.values() for name in names] + ["title", "published", "tone", "new"])


def said(told: Observation) -> bytes:
    return to_json(version_fields(Version(told, told.received_at, b""), exact_numbers=True))


def row_of(told: Observation) -> dict:
    return json.loads(said(told), parse_float=Decimal)


def read(reader, frame: object) -> dict:
    return row_of(reader(json.dumps(frame).encode(), RECEIVED))


def read_if_it_can_be(reader, frame: object) -> dict:
    """Return the row of a frame; a test goes no further where the reader refuses it."""
    try:
        told = reader(json.dumps(frame).encode(), RECEIVED)
    except (ValueError, ArithmeticError):
        reject()
    return row_of(told)


@pytest.mark.parametrize("published", ["007", "000", "12", "-1.5"])
def test_what_a_feed_says_of_its_time_stays_text(published):
    row = read(rss.feed_entry, {"feed": "https://a.example/f", "id": "1", "title": "Title", "published": published})
    assert row["published"] == published
    assert schemas.Story.model_validate(row)


def test_a_word_for_the_index_that_is_a_numeral_stays_text():
    row = read(fear_greed.index_day, {"value": "28", "value_classification": "007", "timestamp": "1640908800"})
    assert (row["value"], row["value_classification"]) == (28, "007")
    assert schemas.IndexDay.model_validate(row)


@given(st.sampled_from([*NUMBERS]), st.dictionaries(fields, texts))
def test_any_text_in_any_field_of_any_kind_is_valid_json_and_a_number_only_where_one_belongs(kind, told):
    row = row_of(Observation(kind, "source", "key", RECEIVED, RECEIVED, told))
    for name, text in told.items():
        if is_number(kind, name):
            assert row[name] is None or (isinstance(row[name], int | Decimal) and Decimal(text) == row[name])
        else:
            assert row[name] == text


@given(st.builds(dict, feed=texts, id=texts, title=texts.filter(bool), summary=texts, link=texts, published=texts))
def test_any_entry_of_a_feed_that_is_read_is_said_in_the_published_shape(entry):
    row = read_if_it_can_be(rss.feed_entry, entry)
    assert schemas.Story.model_validate(row)


@given(
    st.builds(
        dict,
        title=texts.filter(bool),
        url=texts,
        publishedAt=texts,
        description=texts,
        source=st.builds(dict, name=texts),
    )
)
def test_any_article_that_is_read_is_said_in_the_published_shape(article):
    row = read_if_it_can_be(newsapi.article, article)
    assert schemas.Story.model_validate(row)


@given(st.integers(0, 100).map(str) | texts, texts)
def test_any_day_of_the_index_that_is_read_is_said_in_the_published_shape(value, word):
    told = {"value": value, "value_classification": word, "timestamp": "1640908800"}
    row = read_if_it_can_be(fear_greed.index_day, told)
    assert (str(row["value"]), row["value_classification"]) == (value, word)
    assert schemas.IndexDay.model_validate(row)


amounts = st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=6).map(float) | texts


@given(
    texts.filter(bool),
    texts,
    st.fixed_dictionaries(dict.fromkeys(("current_price", "market_cap", "total_supply", "ath"), amounts)),
)
def test_any_coin_that_is_read_is_said_in_the_published_shape(ident, symbol, told):
    coin = {"id": ident, "symbol": symbol, "name": symbol, "last_updated": None, **told}
    row = read_if_it_can_be(wire.market_coin, coin)
    assert (row["id"], row["symbol"], row["name"]) == (ident, symbol, symbol)
    assert schemas.CoinVersion.model_validate(row)


def test_a_price_and_a_day_of_the_past_are_said_in_the_published_shape():
    price = read(wire.coin_price, {"id": "bitcoin", "usd": 7, "last_updated_at": 1_640_908_800})
    past = read(wire.history_point, {"id": "bitcoin", "at": 1_640_908_800_000, "price": 7.5})
    whole = {"total_market_cap": {"usd": 1}, "total_volume": {}, "market_cap_percentage": {"btc": 56.25}}
    told = read(wire.global_market, {**whole, "updated_at": 1_640_908_800})
    assert schemas.CoinVersion.model_validate(price).current_price == 7
    assert schemas.CoinVersion.model_validate(past).current_price == Decimal("7.5")
    assert schemas.GlobalMarket.model_validate(told).market_cap_percentage_btc == Decimal("56.25")


def test_every_amount_of_an_upstream_is_a_number_here():
    frame = dict.fromkeys(wire.MarketCoin.__struct_fields__, 7) | {"id": "b", "symbol": "b", "name": "B"}
    told = wire.market_coin(
        json.dumps(frame | dict.fromkeys(("last_updated", "ath_date", "atl_date"))).encode(), RECEIVED
    )
    amounts = {name for name, value in told.fields.items() if value in (7, "7")}
    assert len(amounts) == 18
    assert {name for name in amounts if not is_number("market_data", name)} == set()
    assert msgspec.json.decode(said(told))["market_cap"] == 7
