"""Which sources are polled, and which coins have their past already."""

import pytest

from tapehouse.errors import ConfigError
from tapehouse.market.windows import DAY
from tapehouse.producers.polling import Clock
from tapehouse.profiles.sources import coins_with_history, polled_sources
from tapehouse.settings import load_settings
from tapehouse.streaming.context import Context

NOW = 1_700_006_400_000_000


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    def load(**environment: str):
        for name in ("TAPEHOUSE_SOURCES", "NEWSAPI_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return load_settings(_env_file=None, state=tmp_path)

    return load


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, ["coingecko", "fear_greed", "rss"]),
        ({"NEWSAPI_KEY": "key"}, ["coingecko", "fear_greed", "rss", "newsapi"]),
        ({"TAPEHOUSE_SOURCES": "binance"}, []),
        ({"TAPEHOUSE_SOURCES": "rss,fear_greed", "NEWSAPI_KEY": "key"}, ["rss", "fear_greed"]),
    ],
)
async def test_all_sources_run_that_need_no_missing_key_unless_some_are_named(chosen, environment, names):
    settings = chosen(**environment)
    sources = polled_sources(settings, settings.chosen_sources(), Clock(), list)
    assert [source.name for source in sources] == names
    for source in sources:
        await source.close()


def test_a_source_without_its_key_is_an_error_that_names_the_setting(chosen):
    with pytest.raises(ConfigError, match="NEWSAPI_KEY"):
        chosen(TAPEHOUSE_SOURCES="newsapi")


def test_a_coin_has_its_past_when_it_reaches_to_yesterday():
    context = Context()
    days = [("bitcoin", NOW - DAY), ("old", NOW - 366 * DAY), ("old", NOW - 365 * DAY)]
    rows = [("coingecko_history", f"{coin}/{at}", "{}", at, NOW) for coin, at in days]
    context.recall("market_data", [*rows, ("coingecko", "ethereum", "{}", NOW, NOW)])
    assert coins_with_history(context, NOW) == {"bitcoin"}
    assert coins_with_history(context, NOW + 3 * DAY) == set()
