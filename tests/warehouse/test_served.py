"""What is seen of the warehouse: a build as it goes on, its documentation in a browser, the figures of the API."""

import importlib.util
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

_spec = importlib.util.spec_from_file_location("api_fixtures", Path(__file__).parents[1] / "api" / "conftest.py")
_api = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_api)

pytestmark = pytest.mark.slow

MODELS = 20


@pytest.fixture
def address(built, world) -> Iterator[str]:
    """A platform over the lake of all tests, with the warehouse that was built from it."""
    with _api.serving(_api.Market(world.lake), warehouse=built.file) as address:
        yield address


def test_a_build_tells_each_model_as_it_ends_and_how_many_steps_there_are(built):
    models = re.findall(r"^ *model (\w+): success in \d+\.\d s", built.said, re.MULTILINE)
    assert (len(models), len(set(models))) == (MODELS, MODELS)
    assert models.index("fct_candle_1m") < models.index("agg_symbol_hour")
    assert re.search(r"^ *snapshot snap_symbol: success in", built.said, re.MULTILINE)
    assert "exposure" not in built.said
    [(done, whole)] = re.findall(r"^Building .* (\d+)/(\d+)", built.said, re.MULTILINE)
    assert done == whole
    assert int(whole) > 5 * MODELS  # tests are steps as well, and told of only when they fail
    assert not re.search(r"^ *test \w+:", built.said, re.MULTILINE)
    assert f"{MODELS} models" in built.said.replace("\n", " ")


@pytest.mark.browser
def test_the_documentation_is_written_and_can_be_read_in_a_browser_as_it_is_served(built, address, page):
    from playwright.sync_api import expect

    assert "/warehouse/docs" in built("docs")
    page.goto(f"{address}/warehouse/docs#!/model/model.tapehouse.agg_symbol_hour")
    expect(page.locator("p").filter(has_text="One row per venue, symbol and hour that").first).to_be_visible()
    expect(page.locator("td").filter(has_text="quote_volume / volume, rounded half to even").first).to_be_attached()
    page.get_by_text("agg_market_day", exact=True).first.click()
    expect(page.locator("p").filter(has_text="One row per UTC day that has an hour").first).to_be_visible()
    # dbt's page asks for icons by names it has not filled in yet; its policy keeps them from being fetched
    unfilled = ("getIcon(item.type", "favicons/favicon.ico")
    page.complaints[:] = [said for said in page.complaints if not any(name in said for name in unfilled)]


def test_the_figures_of_the_api_are_those_of_the_marts_to_the_last_digit(built, read, address):
    answer = httpx.get(f"{address}/analytics/ETHUSDT").raise_for_status()
    told = json.loads(answer.text, parse_float=Decimal)
    [week] = read(
        built.file,
        """
        select max(high) as high, min(low) as low, sum(volume) as volume, sum(quote_volume) as quote_volume,
            cast(sum(trades) as bigint) as trades
        from marts.fct_candle_1h where symbol = 'ETHUSDT'
        """,
    ).to_dicts()
    assert {name: told["periods"]["7d"][name] for name in week} == week
    hours = read(
        built.file,
        """
        select hour(hours.opened_at) as hour, sum(hours.volume) as volume, sum(hours.quote_volume) as quote_volume,
            cast(sum(hours.trades) as bigint) as trades
        from marts.agg_symbol_hour as hours
        inner join marts.fct_candle_1h as candles using (venue, symbol, opened_at)
        where symbol = 'ETHUSDT' and candles.state = 'closed'
        group by all order by hour
        """,
    ).to_dicts()
    assert [{name: hour[name] for name in hours[0]} for hour in told["hourly_volume"]["hours"]] == hours
