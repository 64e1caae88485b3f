"""NewsAPI's answers, letter by letter: cut into articles, an article to an observation, and what its errors mean.

{"status":"ok","totalResults":7724,"articles":[{"source":{"id":null,"name":"Cointelegraph"},"author":"...",
 "title":"...","description":"...","url":"https://...","urlToImage":null,"publishedAt":"2020-08-09T07:00:00Z",
 "content":"... [+10090 chars]"}]}
{"status":"error","code":"apiKeyInvalid","message":"Your API key is invalid or incorrect. ..."}
"""

from datetime import UTC, datetime

import msgspec

from tapehouse.market.context import Observation
from tapehouse.market.mentions import Find, mentions
from tapehouse.producers.news_item import NewsItem

SOURCE = "newsapi"
DEVELOPER_DELAY = 24
"""Hours after which the free plan gives an article."""
DAY_OF_REQUESTS = 100
"""Requests a day of the free plan."""
_REMOVED = "[removed]"
_MEANINGS = {
    "apiKeyInvalid": "NEWSAPI_KEY is not a key NewsAPI knows",
    "apiKeyMissing": "no key was sent; set NEWSAPI_KEY",
    "apiKeyDisabled": "the key of NEWSAPI_KEY has been disabled; see the account at newsapi.org",
    "apiKeyExhausted": "the key has no requests left; they come back as the plan says",
    "rateLimited": "the key has made too many requests; they come back within a day",
    "maximumResultsReached": "the free plan gives 100 results of a search, and not the ones after them",
    "parameterInvalid": "a parameter is not understood; look at TAPEHOUSE_NEWSAPI_QUERY",
    "parametersMissing": "there is nothing to search for; set TAPEHOUSE_NEWSAPI_QUERY",
}


class ArticleSource(msgspec.Struct):
    """Who published an article."""

    name: str | None = None


class Article(msgspec.Struct):
    """An article of `/v2/everything` or `/v2/top-headlines`; `delay_hours` is put beside what NewsAPI wrote."""

    title: str | None
    url: str | None
    publishedAt: str | None  # noqa: N815  # as NewsAPI writes it
    description: str | None = None
    source: ArticleSource | None = None
    delay_hours: int = 0

    def to_observation(self, received_at: int, find: Find = mentions) -> Observation:
        """Return the item; raise ValueError when there is nothing to read in it, or no more."""
        if (self.title or "").strip().lower() == _REMOVED:
            raise ValueError("an article its publisher has removed")
        return NewsItem(
            told_by=SOURCE,
            identity="",
            title=self.title or "",
            link=self.url or "",
            summary=self.description or "",
            published=self.publishedAt or "",
            published_at=_moment(self.publishedAt or ""),
            publisher=(self.source.name if self.source else None) or "",
        ).to_observation(received_at, find, delay_hours=self.delay_hours)


class _Answer(msgspec.Struct):
    articles: list[dict[str, msgspec.Raw]]
    status: str = "ok"


class _Error(msgspec.Struct):
    code: str
    message: str = ""


_ARTICLE = msgspec.json.Decoder(Article)
_ANSWER = msgspec.json.Decoder(_Answer)
_ERROR = msgspec.json.Decoder(_Error)


def article(frame: bytes, received_at: int, find: Find = mentions) -> Observation:
    """Read an article; raise msgspec.MsgspecError or ValueError when it is none."""
    return _ARTICLE.decode(frame).to_observation(received_at, find)


def split(body: bytes, delay_hours: int) -> list[bytes]:
    """Return the bytes of each article, oldest first; an answer that cannot be cut comes back whole."""
    try:
        articles = _ANSWER.decode(body).articles
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [body]
    delay = {"delay_hours": delay_hours} if delay_hours else {}
    return [msgspec.json.encode({**told, **delay}) for told in reversed(articles)]


def refusal(body: bytes) -> str:
    """Say what an error of NewsAPI means and what to do, "" when the body is none.

    Its message is not passed on: it may repeat the key.
    """
    try:
        code = _ERROR.decode(body).code[:40]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return f"{code}: {_MEANINGS.get(code, 'see newsapi.org/docs/errors')}"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
