"""What is produced on Kafka of recorded answers is what the published schemas say of it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tapehouse.catalog import DEAD_LETTERS, VENUE
from tapehouse.ports import Batch, Shape
from tapehouse.producers import fear_greed, newsapi, rss
from tapehouse.producers.coingecko import wire
from tapehouse.profiles.producing import route_for
from tapehouse.profiles.schemas import MESSAGES, schema
from tapehouse.settings import Settings
from tapehouse.tape.messages import to_messages

pytestmark = pytest.mark.recordings
RECEIVED = 1_790_000_000_000_000


def binance_stream(folder: Path) -> list[bytes]:
    with gzip.open(folder / "1-binance-ws" / "hftbacktest_spot_btcusdt_20240808.gz", "rt") as lines:
        frames = [line.split(" ", 1)[1].strip() for line in lines if "@trade" in line]
    return [frame.encode() for frame in frames[:500]]


def rest(folder: Path, name: str) -> list[bytes]:
    told = json.loads((folder / "4-rest" / f"nautilus_http_spot_market_{name}.json").read_text())
    rows = told["symbols"] if isinstance(told, dict) else told
    return [json.dumps(row).encode() for row in rows]


def coingecko(folder: Path, name: str) -> bytes:
    line = (folder / "5-coingecko" / f"coingecko_it_gets_{name}.jsonl").read_text().splitlines()[0]
    return json.dumps(json.loads(line)["body"]).encode()


def days(folder: Path) -> list[bytes]:
    rows = json.loads((folder / "6-fng" / "fng_2018-02-01_2021-12-31.json").read_text())
    return fear_greed.split(json.dumps({"data": rows}).encode())


def feeds(folder: Path) -> list[bytes]:
    names = ("coindesk_2026-09-25.xml", "rssparser_guardian.rss", "rssparser_reddit.rss")
    told = [(name, (folder / "7-rss" / name).read_bytes()) for name in names]
    return [frame for name, body in told for frame in rss.split(body, f"https://example.com/{name}")]


def articles(folder: Path) -> list[bytes]:
    body = (folder / "7-news" / "newsapi_everything_bitcoin_2020-08.json").read_bytes()
    return newsapi.split(body, newsapi.DEVELOPER_DELAY)


RECORDED: dict[str, tuple[Shape, Callable[[Path], list[bytes]]]] = {
    "binance.stream": ("stream", binance_stream),
    "binance.historical_trade": ("trades", lambda folder: rest(folder, "trades")),
    "binance.aggregate_trade": ("aggTrades", lambda folder: rest(folder, "agg_trades")),
    VENUE: ("symbols", lambda folder: rest(folder, "exchange_info")),
    wire.MARKETS: ("market_data", lambda told: wire.split_markets(coingecko(told, "market_data_for_a_coin"))),
    wire.PRICES: ("market_data", lambda told: wire.split_prices(coingecko(told, "price_for_one_coin"))),
    wire.GLOBAL: ("market_data", lambda told: wire.split_global(coingecko(told, "global_crypto_data"))),
    wire.HISTORY: (
        "market_data",
        lambda told: wire.split_chart("bitcoin", coingecko(told, "hourly_historical_prices_for_one_coin")),
    ),
    fear_greed.SOURCE: ("sentiment", days),
    rss.SOURCE: ("news", feeds),
    newsapi.SOURCE: ("news", articles),
}


@pytest.fixture
def produced(recordings) -> Callable[[str], list[bytes]]:
    """Give the values of the messages that a producer makes of what is recorded of a source."""
    route = route_for(Settings(_env_file=None, symbols=("BTCUSDT",)))

    def produce(source: str) -> list[bytes]:
        shape, read = RECORDED[source]
        frames = read(recordings)
        symbol = source if shape in ("market_data", "sentiment", "news", "symbols") else "BTCUSDT"
        batch = Batch(frames, [RECEIVED] * len(frames), shape, symbol)
        messages = list(to_messages((batch, routed) for routed in route(batch)))
        assert not [message for message in messages if message.topic == DEAD_LETTERS]
        return [message.value for message in messages]

    return produce


@pytest.mark.parametrize("source", MESSAGES)
def test_every_value_made_of_a_recording_is_what_its_published_schema_says(produced, source):
    values = [json.loads(value) for value in produced(source)]
    told = Draft202012Validator(schema(source))
    assert values
    assert [error.message for value in values for error in told.iter_errors(value)] == []


@pytest.mark.parametrize("source", MESSAGES)
def test_a_value_without_what_must_be_there_is_no_such_message(produced, source):
    published = schema(source)
    required = published["$defs"][published["$ref"].rpartition("/")[2]].get("required", [])
    value = json.loads(produced(source)[0])
    told = Draft202012Validator(published)
    assert required
    for name in required:
        assert not told.is_valid({field: said for field, said in value.items() if field != name})
