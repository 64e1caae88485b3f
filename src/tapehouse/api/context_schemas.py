"""The shapes of the answers about the market's context, for the documentation."""

from datetime import datetime

from pydantic import BaseModel, Field

from tapehouse.api.schemas import Exact


class Attribution(BaseModel):
    """What the upstream asks to be shown where its data is."""

    text: str
    url: str


class Told(BaseModel):
    """A version of what an upstream told, its fields beside the table's columns."""

    source: str
    key: str = Field(description="What it is about: a coin's id, a UTC day, a story.")
    observed_at: datetime = Field(description="The upstream's time of it; of a story, when it was published.")
    received_at: datetime
    known_at: datetime = Field(description="Since when this version is known; a later one overrides it.")


class GlobalMarket(Told):
    """The market as a whole, and the part of the largest coins in it (`market_cap_percentage_btc` and so on)."""

    total_market_cap: Exact | None = Field(description="US dollars.")
    total_volume: Exact | None = Field(description="US dollars of the last 24 hours.")
    market_cap_percentage_btc: Exact | None = Field(None, description="Bitcoin's dominance in per cent.")


class CoinVersion(Told):
    """What CoinGecko told of a coin; amounts in US dollars, as it wrote them.

    Answers about prices (`coingecko_price`) and the past (`coingecko_history`) lack the fields that are not required.
    """

    current_price: Exact | None
    market_cap: Exact | None
    total_volume: Exact | None
    price_change_percentage_24h: Exact | None = None
    market_cap_rank: int | None = None
    circulating_supply: Exact | None = None
    max_supply: Exact | None = None
    ath: Exact | None = None


class SymbolMarket(CoinVersion):
    """A symbol's coin."""

    symbol: str


class Market(BaseModel):
    """The coin of each symbol that has one."""

    model_config = {"populate_by_name": True}

    attribution: Attribution
    whole: GlobalMarket | None = Field(alias="global")
    count: int
    market: list[SymbolMarket]


class CoinMarket(BaseModel):
    """A symbol's coin as it is, and as it was told lately, newest last."""

    symbol: str
    coin: str | None = Field(description="CoinGecko's id; null before it was told.")
    attribution: Attribution
    latest: CoinVersion | None = Field(description="The markets' figures with the price that was told since.")
    count: int
    market: list[CoinVersion]


class IndexDay(Told):
    """One day's Fear & Greed index."""

    value: int = Field(description="0 (fear) to 100 (greed).")
    value_classification: str


class Sentiment(BaseModel):
    """The Fear & Greed index, newest day last; days that alternative.me does not have are left out."""

    attribution: Attribution
    days: int
    count: int
    sentiment: list[IndexDay]


class Story(Told):
    """A story as a feed or NewsAPI has it."""

    title: str
    link: str = Field(description="Empty where there is none that leads to the web.")
    summary: str
    publisher: str
    tickers: list[str] = Field(description="What it mentions, by a documented rule.")
    sentiment: float = Field(description="How the headline sounds, -1 to 1, by a lexicon.")


class News(BaseModel):
    """Stories by when they were published, newest last."""

    symbol: str | None
    q: str
    count: int
    news: list[Story]
