"""NewsAPI's articles, its delay, and its errors."""

import json

import pytest

from tapehouse.producers.newsapi import DEVELOPER_DELAY, article, refusal, split

NOW = 1_700_000_000_000_000


@pytest.mark.recordings
def test_the_recorded_answer_is_stored_to_the_last_article(recordings):
    body = (recordings / "7-news" / "newsapi_everything_bitcoin_2020-08.json").read_bytes()
    told = [article(frame, NOW) for frame in split(body, DEVELOPER_DELAY)]
    assert len(told) == len({item.key for item in told}) == 20
    assert all(item.source == "newsapi" and item.fields["delay_hours"] == 24 for item in told)
    assert all("[+" not in item.fields["summary"] for item in told)
    newest = told[-1]
    assert (
        newest.key == newest.fields["link"] == "https://cdr.cz/clanek/mlade-nezajima-zlato-investuji-radeji-do-bitcoinu"
    )
    assert newest.fields["publisher"] == "Cdr.cz"
    assert newest.observed_at == 1_596_956_400_000_000


def test_a_paid_plan_has_no_delay_and_the_frames_are_as_they_came():
    told = {"title": "T", "url": "https://e.com/1", "publishedAt": "2023-11-14T00:00:00Z", "extra": {"n": 1.10}}
    body = json.dumps({"status": "ok", "totalResults": 1, "articles": [told]}).encode()
    (frame,) = split(body, 0)
    assert json.loads(frame) == told
    assert article(frame, NOW).fields["delay_hours"] == 0


def test_nulls_are_nothing_and_not_words():
    nulls = {"url": None, "publishedAt": None, "description": None, "source": {"id": None, "name": None}}
    (frame,) = split(json.dumps({"articles": [{"title": "T", **nulls}]}).encode(), 0)
    told = article(frame, NOW)
    assert (told.fields["link"], told.fields["summary"], told.fields["publisher"]) == ("", "", "")
    assert told.observed_at == NOW


@pytest.mark.parametrize(
    "frame",
    [
        b'{"title":"[Removed]","url":"https://removed.com","publishedAt":"1970-01-01T00:00:00Z"}',
        b'{"title":null,"url":"https://e.com","publishedAt":null}',
        b'{"url":"https://e.com"}',
        b'{"title":7,"url":"https://e.com","publishedAt":null}',
        b"[]",
    ],
)
def test_what_is_no_article_is_refused(frame):
    with pytest.raises(ValueError, match=r"."):  # msgspec's errors are ValueErrors
        article(frame, NOW)


@pytest.mark.parametrize("body", [b"<html>", b'{"status":"ok"}', b'{"articles":7}', b"[" * 100_000, b"\xff"])
def test_an_answer_that_cannot_be_cut_comes_back_whole(body):
    assert split(body, 0) == [body]


def test_an_error_is_explained_by_its_code_and_without_its_message():
    body = b'{"status":"error","code":"apiKeyInvalid","message":"Your API key KEY-1 is invalid."}'
    assert refusal(body) == "apiKeyInvalid: NEWSAPI_KEY is not a key NewsAPI knows"
    assert refusal(body.replace(b"apiKeyInvalid", b"teapot")) == "teapot: see newsapi.org/docs/errors"
    assert refusal(b"<html>") == ""
