"""NewsAPI's `/v2`: the same stories a day late, as its free plan tells them, with its errors."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice, takewhile

from tapehouse.exchange.context.answers import Answer, json_answer, to_time
from tapehouse.exchange.context.stories import Stories, Story
from tapehouse.market.windows import DAY, SECOND

DELAY = DAY
_MOST_A_PAGE = 100
_MOST_FOUND = 100
"""What the free plan gives in all."""
_LOOKED_AT = 3000
_REFUSALS = {
    401: ("apiKeyInvalid", "Your API key is invalid or incorrect. Check your key, or go to https://newsapi.org."),
    426: ("maximumResultsReached", "You have requested too many results. Developer accounts are limited to 100."),
    429: ("rateLimited", "You have made too many requests recently. Developer accounts are limited to 100 a day."),
}


class NewsApi:
    """Answers of `/v2/everything` and `/v2/top-headlines`: without a key, or with one that begins with `bad`, 401."""

    name = "newsapi"

    def __init__(self, stories: Stories) -> None:
        self._stories = stories

    def answer(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Answer a path below `/v2`."""
        if mistake := self._mistake(path, query, headers):
            return mistake
        try:
            found = self._found(query)
            size, page = int(query.get("pageSize", _MOST_A_PAGE)), int(query.get("page", 1))
        except ValueError:
            return _error(400, "parameterInvalid", "A parameter has a value that cannot be used.")
        size = min(size, _MOST_A_PAGE)
        if size * page > _MOST_FOUND:
            return self.refusal(426)
        articles = [_article(story) for story in found[(page - 1) * size : page * size]]
        return json_answer({"status": "ok", "totalResults": len(found), "articles": articles})

    def refusal(self, status: int) -> Answer:
        """Refuse with the code that belongs to the status."""
        return _error(status, *_REFUSALS.get(status, ("unexpectedError", "Something went wrong on our side.")))

    def _mistake(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer | None:
        key = headers.get("x-api-key") or query.get("apiKey", "")
        if not key:
            return _error(401, "apiKeyMissing", "Your API key is missing. Append it as x-api-key in a header.")
        if key.startswith("bad"):
            return self.refusal(401)
        if path not in ("everything", "top-headlines"):
            return _error(404, "notFound", "There is nothing at this path.")
        if path == "everything" and not query.get("q"):
            return _error(400, "parametersMissing", "Required parameters are missing, the scope of your search is: q")
        return None

    def _found(self, query: Mapping[str, str]) -> list[Story]:
        """Return the stories of the range that have one of the words of `q`, newest first."""
        newest = min(self._stories.now() - DELAY, _time(query.get("to", "")) or self._stories.now())
        oldest = _time(query.get("from", "")) or 0
        words = [word.strip(' "()').lower() for word in query.get("q", "").split(" OR ")]
        told = takewhile(lambda story: story.published_at >= oldest, self._stories.before(newest))
        return [story for story in islice(told, _LOOKED_AT) if any(word in _text(story) for word in words)]


def _text(story: Story) -> str:
    return f"{story.title} {story.summary}".lower()


def _time(text: str) -> int | None:
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()) * SECOND


def _article(story: Story) -> dict[str, object]:
    return {
        "source": {"id": None, "name": "Ledger Daily"},
        "author": story.author or None,
        "title": story.title,
        "description": story.summary[:120] + "…",
        "url": f"https://newswire.example/{to_time(story.published_at):%Y/%m/%d}/{story.slug}",
        "urlToImage": None,
        "publishedAt": f"{to_time(story.published_at):%Y-%m-%dT%H:%M:%SZ}",
        "content": f"{story.summary[:180]}… [+{1200 + story.number % 3000} chars]",
    }


def _error(status: int, code: str, message: str) -> Answer:
    return json_answer({"status": "error", "code": code, "message": message}, status)
