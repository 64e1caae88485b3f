"""The one settings model: environment variables `TAPEHOUSE_*`, an `.env` file, defaults that run with no key."""

from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)

from tapehouse.errors import ConfigError

type_names = Annotated[tuple[str, ...], NoDecode]
"""Comma-separated in the environment, a tuple here."""

SOURCES = ("binance", "coingecko", "fear_greed", "rss", "newsapi")
"""The producers this version has; the last runs where it has a key."""
INTERVALS = ("1m", "5m", "15m", "1h", "4h", "1d")
MOST_FEEDS = 1_000


class Settings(BaseSettings):
    """Everything a person can set, with a default that works on one machine without an account."""

    model_config = SettingsConfigDict(
        env_prefix="TAPEHOUSE_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    profile: Literal["embedded", "cluster"] = Field(
        "embedded", description="Which parts run: one process, or Kafka and Spark."
    )
    sources: type_names = Field(
        SOURCES[:-1], description="Which producers run; unset: these, and newsapi where NEWSAPI_KEY is given."
    )
    symbols: type_names = Field(
        ("BTCUSDT", "ETHUSDT", "BNBUSDT"), description="Symbols to take; `*USDT` takes every trading pair that ends so."
    )
    lake: str = Field(
        "data/delta", description="Root of the Delta tables: a folder, or s3://bucket/prefix (extra `s3`)."
    )
    s3_path_style: bool | None = Field(
        None, description="Whether a bucket's name stands in the path; unset: where AWS_ENDPOINT_URL is given."
    )
    state: Path = Field(Path("data/state"), description="Small local state: request budgets remembered over restarts.")

    binance_ws_url: type_names = Field(
        ("wss://stream.binance.com:9443", "wss://data-stream.binance.vision"),
        description="Base addresses of the WebSocket streams, tried in order.",
    )
    binance_rest_url: type_names = Field(
        ("https://api.binance.com", "https://data-api.binance.vision"),
        description="Base addresses of the REST API, tried in order.",
    )
    binance_archive_url: str = Field("https://data.binance.vision", description="Base address of the daily archives.")

    api_host: str = Field("127.0.0.1", description="Address the API and the page listen on.")
    api_port: int = Field(8000, ge=0, le=65535, description="Port the API and the page listen on; 0 takes a free one.")
    api_allowed_hosts: type_names = Field(
        (), description="Names the API answers to in the Host header, beside localhost and numeric addresses."
    )

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Brokers of the tape, host:port separated by commas.")
    kafka_partitions: int = Field(3, ge=1, le=1000, description="Partitions of a topic that `topics apply` creates.")
    kafka_replication: int = Field(1, ge=1, le=9, description="On how many brokers each message is kept.")
    kafka_security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="How to speak to the brokers."
    )
    kafka_sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "", description="How to say who we are, where the protocol is sasl_*."
    )
    kafka_sasl_username: str = Field("", description="Account at the brokers.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password of that account.")
    kafka_ssl_ca: Path | None = Field(
        None, description="File with the certificates to trust; those of the system where it is absent."
    )
    kafka_ssl_certificate: Path | None = Field(
        None, description="PEM file with our own certificate and its key (PKCS#8), where the brokers ask for one."
    )

    spark_master: str = Field("local[*]", description="Where Spark computes: local[*], or a spark:// address.")
    spark_memory: str = Field("1g", description="Memory of Spark's driver; on local[*] that is all of Spark.")
    spark_ui_port: int = Field(4040, ge=0, le=65535, description="Port of Spark's own page; or the next free one.")
    spark_jars: Path = Field(
        Path("data/cluster/spark-jars"), description="Folder of the jars pyspark lacks: Kafka, Delta Lake, S3."
    )
    checkpoints: str | None = Field(
        None, description="Where Spark keeps how far it has come; <lake>/_checkpoints where it is absent."
    )
    trigger_interval: float = Field(
        0.0, ge=0, le=3600, description="Seconds between two micro-batches; 0: as soon as the last is done."
    )

    warehouse: Path = Field(
        Path("data/warehouse/warehouse.duckdb"),
        description="File of the warehouse, of DuckDB; its documentation and its logs lie beside it.",
    )
    dbt_project: Path | None = Field(
        None, description="Folder of the warehouse's dbt models; unset: dbt here, or that of Tapehouse itself."
    )

    keep_payload: bool = Field(default=True, description="Keep the wire bytes of every trade in bronze.")
    commit_interval: float = Field(
        0.25, gt=0, le=60, description="Most seconds between two bronze commits under load (250 messages a second)."
    )
    backfill_hours: float = Field(
        0.0,
        ge=0,
        le=168,
        description="Hours before now that `up` fetches over REST for a symbol it has no trades of; not on a cluster.",
    )
    time_travel_days: int = Field(7, ge=0, description="How many days back a table's older versions can be read.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")

    signal_intervals: type_names = Field(
        ("1m", "5m", "1h"),
        description="Intervals whose candles are watched for signals; off: nothing is. Divergences take 1m.",
    )
    signal_baseline: int = Field(240, ge=20, le=1440, description="Windows before it that a window is compared with.")
    signal_volume_score: float = Field(
        4.0, gt=0, description="Robust deviations above the usual volume from which on a window is a spike."
    )
    signal_minimum_quote_volume: float = Field(
        1_000.0, ge=0, description="What a window must have traded to be a spike or one-sided, in dollars."
    )
    signal_quote_worth: type_names = Field(
        (
            *("BTC=100000", "ETH=3000", "BNB=700", "EUR=1.1", "EURI=1.1", "AEUR=1.1", "GBP=1.3", "TRY=0.025"),
            *("BRL=0.18", "JPY=0.0067", "AUD=0.65", "ARS=0.0007", "PLN=0.27", "MXN=0.054", "ZAR=0.057", "UAH=0.024"),
            "RUB=0.012",
        ),
        description="What a unit of what symbols are quoted in is worth, in dollars and about; what is not named here "
        "and no dollar has no minimum.",
    )
    signal_outlier_score: float = Field(
        10.0, gt=0, description="Robust deviations from the usual return from which on a price is an outlier."
    )
    signal_vwap_score: float = Field(
        4.0, gt=0, description="Robust deviations from the usual distance to the VWAP from which on it is told."
    )
    signal_volatility_ratio: float = Field(
        2.5, gt=1, description="So many times the usual volatility is high, and so many times less is low."
    )
    signal_taker_score: float = Field(
        3.5, gt=0, description="Robust deviations from the usual balance of takers from which on a window is one-sided."
    )
    signal_divergence: float = Field(
        0.01, gt=0, lt=1, description="How far CoinGecko's price must lie outside of what was traded; 0.01 is 1 %."
    )
    signal_sentiment_extreme: int = Field(
        25, ge=1, le=49, description="Fear & Greed is extreme up to this value, and from 100 less this value on."
    )

    aws_endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL"),
        description="Address of the S3 server of a lake in a bucket; unset: Amazon's.",
    )
    aws_region: str | None = Field(
        None, validation_alias=AliasChoices("AWS_REGION"), description="Region of the bucket; unset: us-east-1."
    )
    aws_access_key_id: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ACCESS_KEY_ID"),
        description="Key of the bucket; unset: what the machine or the container is given by its cloud.",
    )
    aws_secret_access_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("AWS_SECRET_ACCESS_KEY"),
        description="Secret of that key.",
    )
    aws_session_token: SecretStr | None = Field(
        None, validation_alias=AliasChoices("AWS_SESSION_TOKEN"), description="Token of a key that is lent for a while."
    )

    coingecko_url: str = Field(
        "https://api.coingecko.com/api/v3",
        description="Base address of CoinGecko; a pro plan takes pro-api.coingecko.com unless another is given.",
    )
    coingecko_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("COINGECKO_API_KEY"),
        description="Key of CoinGecko; it answers without one too, less often.",
    )
    coingecko_plan: Literal["auto", "none", "demo", "pro"] = Field(
        "auto", description="Plan of the key; auto: demo where COINGECKO_API_KEY is given, else none."
    )
    coingecko_per_minute: int = Field(10, ge=1, le=10_000, description="Questions a minute CoinGecko allows.")
    coingecko_interval: float = Field(
        300.0, ge=1, description="Seconds between two looks at everything CoinGecko tells of the followed coins."
    )
    coingecko_price_interval: float = Field(60.0, ge=1, description="Seconds between two looks at their prices alone.")
    coingecko_coins: type_names = Field(
        (), description="Which coin a ticker names where several have it, such as ONE=harmony,GAS=gas."
    )
    coingecko_history: bool = Field(
        default=True, description="Fetch the past year of each coin once, a value a day, from CoinGecko."
    )
    fear_greed_url: str = Field("https://api.alternative.me/fng/", description="Address of the Fear & Greed index.")
    fear_greed_interval: float = Field(
        21_600.0, ge=1, description="Seconds between two looks at Fear & Greed at most; sooner when a value is due."
    )
    rss_feeds: type_names = Field(
        (
            "https://www.coindesk.com/arc/outboundfeeds/rss/",
            "https://cointelegraph.com/rss",
            "https://decrypt.co/feed",
            "https://bitcoinmagazine.com/feed",
            "https://www.theblock.co/rss.xml",
            "https://cryptoslate.com/feed/",
            "https://cryptopotato.com/feed/",
            "https://www.newsbtc.com/feed/",
        ),
        description="Addresses of the RSS and Atom feeds to follow.",
    )
    rss_interval: float = Field(300.0, ge=1, description="Seconds between two polls of a feed.")
    newsapi_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("NEWSAPI_KEY"),
        description="Key of NewsAPI; without one it is not asked.",
    )
    newsapi_url: str = Field("https://newsapi.org/v2", description="Base address of NewsAPI.")
    newsapi_plan: Literal["developer", "paid"] = Field(
        "developer", description="Plan of the key: the free one has 100 requests a day, and articles a day late."
    )
    newsapi_query: str = Field(
        "bitcoin OR ethereum OR cryptocurrency", max_length=500, description="What NewsAPI is searched for."
    )
    newsapi_interval: float = Field(900.0, ge=1, description="Seconds between two searches of NewsAPI.")

    @field_validator(
        "sources",
        "symbols",
        "binance_ws_url",
        "binance_rest_url",
        "api_allowed_hosts",
        "coingecko_coins",
        "rss_feeds",
        "signal_intervals",
        "signal_quote_worth",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        symbols = tuple(dict.fromkeys(symbol.upper() for symbol in value))
        wrong = [s for s in symbols if not (s.removeprefix("*").isascii() and s.removeprefix("*").isalnum())]
        if wrong or not symbols:
            raise ValueError(f"not a symbol or a pattern such as *USDT: {', '.join(wrong) or 'nothing given'}")
        return symbols

    @field_validator("sources")
    @classmethod
    def _sources(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in SOURCES]
        if unknown:
            raise ValueError(f"this version has no source {', '.join(unknown)}; it has {', '.join(SOURCES)}")
        return value

    @field_validator("signal_intervals")
    @classmethod
    def _intervals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value == ("off",):
            return ()
        unknown = [name for name in value if name not in INTERVALS]
        if unknown:
            raise ValueError(f"no interval {', '.join(unknown)}; there are {', '.join(INTERVALS)}")
        return value

    @field_validator("signal_quote_worth")
    @classmethod
    def _worth(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [pair for pair in value if not all(_asset_and_worth(pair))]
        if wrong:
            raise ValueError(f"not an asset and its dollars such as BTC=100000: {', '.join(wrong)}")
        return value

    @field_validator("coingecko_coins")
    @classmethod
    def _pins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [pin for pin in value if not all(part.strip() for part in pin.partition("="))]
        if wrong:
            raise ValueError(f"not a ticker and its coin such as ONE=harmony: {', '.join(wrong)}")
        return value

    @field_validator("coingecko_url", "fear_greed_url", "newsapi_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"not an address such as https://host/path: {value}")
        return value

    @field_validator("binance_ws_url", "binance_rest_url")
    @classmethod
    def _base_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [address for address in value if "://" not in address]
        if wrong or not value:
            raise ValueError(f"not an address such as wss://host:port: {', '.join(wrong) or 'nothing given'}")
        return tuple(address.rstrip("/") for address in value)

    @field_validator("rss_feeds")
    @classmethod
    def _feeds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [address for address in value if not address.startswith(("http://", "https://"))]
        if wrong or len(value) > MOST_FEEDS:
            problem = f"not an address of a feed: {', '.join(wrong)}" if wrong else f"more than {MOST_FEEDS} feeds"
            raise ValueError(problem)
        return value

    @field_validator("newsapi_url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _has_its_keys(self) -> Self:
        if "newsapi" in self.sources and self.newsapi_key is None:
            raise ValueError("TAPEHOUSE_SOURCES names newsapi, which needs a key: set NEWSAPI_KEY")
        return self

    def chosen_sources(self) -> tuple[str, ...]:
        """Return the producers that run: those that are named, else all whose key is there."""
        has_newsapi = "sources" not in self.model_fields_set and self.newsapi_key is not None
        return (*self.sources, "newsapi") if has_newsapi else self.sources

    def coingecko_pins(self) -> dict[str, str]:
        """Return the coin each pinned ticker names."""
        pairs = (pin.partition("=") for pin in self.coingecko_coins)
        return {ticker.strip().upper(): coin.strip() for ticker, _, coin in pairs}

    def quote_worth(self) -> tuple[tuple[str, float], ...]:
        """Return what each named asset is worth in dollars."""
        return tuple(_asset_and_worth(pair) for pair in self.signal_quote_worth)


def _asset_and_worth(pair: str) -> tuple[str, float]:
    """Read an asset and what it is worth; nothing and 0 where that cannot be read."""
    asset, _, dollars = pair.partition("=")
    with suppress(ValueError):
        worth = float(dollars)
        return asset.strip().upper(), worth if 0 < worth < inf else 0.0
    return "", 0.0


def load_settings(**overrides: object) -> Settings:
    """Read the settings once; raise ConfigError that names each variable that cannot be used."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        lines = [_explain(problem["loc"], problem["msg"]) for problem in error.errors()]
        raise ConfigError("Settings cannot be used:\n" + "\n".join(lines)) from None


def describe(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Give each setting as its variable, its value (secrets as asterisks), and where it came from."""
    origins = {"environment": EnvSettingsSource(Settings)(), ".env": DotEnvSettingsSource(Settings)()}
    for name in Settings.model_fields:
        variable = variable_of(name)
        keys = {name, variable}
        origin = next((origin for origin, given in origins.items() if keys & given.keys()), "default")
        yield variable, as_text(getattr(settings, name)), origin


def variable_of(field: str) -> str:
    """Return the environment variable of a field."""
    alias = Settings.model_fields[field].validation_alias if field in Settings.model_fields else None
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"TAPEHOUSE_{field.upper()}"


def as_text(value: object) -> str:
    """Return a setting's value as it is written in the environment; a secret as asterisks."""
    match value:
        case None:
            return ""
        case tuple():
            return ",".join(value)
        case bool():
            return str(value).lower()
    return str(value)


def _explain(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]) if location else "?"
    variable = name if name.isupper() else variable_of(name)
    return f"  {variable}: {message.removeprefix('Value error, ')}"
