"""The score of a headline, held against a sample labelled by hand (headlines.tsv) and one that is held out."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from tapehouse.producers import newsapi, rss
from tapehouse.producers.headlines import sentiment_of, tone_of

RECEIVED = 1_790_000_000_000_000
WRITTEN = Path(__file__).with_name("headlines.tsv")
HELD_OUT = Path(__file__).with_name("headlines_held_out.tsv")
"""Labels of recorded headlines by file and place: no word of the lexicon may ever be chosen by them."""
STATED = Path(__file__).parents[2] / "docs" / "explanation" / "news.md"
GENERAL = "guardian"
OPPOSITE = {"positive": "negative", "negative": "positive"}

Sample = list[tuple[str, str]]


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return [(row["headline"], row["tone"]) for row in rows_of(WRITTEN)]


@pytest.fixture(scope="module")
def stated() -> dict[str, list[int]]:
    """The figures of the table in the docs, by what stands before them."""
    text = STATED.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) % \| (\d+) % \| (\d+) % \|$", text, re.MULTILINE)
    return {row[0]: [int(figure) for figure in row[1:]] for row in rows}


def titles(path: Path) -> list[str]:
    """Return the titles of a recording, as they are scored, in the order in which its items are cut."""
    read, frames = (rss.feed_entry, rss.split(path.read_bytes(), "https://feeds.example/rss"))
    if path.suffix == ".json":
        told = json.loads(path.read_bytes())["articles"]
        read, frames = newsapi.article, [json.dumps(each).encode() for each in told]
    return [str(read(frame, RECEIVED).fields["title"]) for frame in frames]


def recorded(recordings: Path, *, general: bool = True) -> Sample:
    """Return the headlines that are held out; `general` includes those of a newspaper."""
    chosen = [row for row in rows_of(HELD_OUT) if general or GENERAL not in row["file"]]
    known = {file: titles(recordings / file) for file in {row["file"] for row in chosen}}
    return [(known[row["file"]][int(row["position"])], row["tone"]) for row in chosen]


def figures(sample: Sample) -> list[int]:
    """Return what the docs state of a sample: its size, and three parts of it in per cent."""
    plain = SentimentIntensityAnalyzer()
    heard = [(tone_of(sentiment_of(headline)), tone) for headline, tone in sample]
    by_vader = [tone_of(plain.polarity_scores(headline)["compound"]) == tone for headline, tone in sample]
    counts = sum(is_so == tone for is_so, tone in heard), sum(by_vader), sum(OPPOSITE.get(so) == t for so, t in heard)
    return [len(sample), *(round(100 * count / len(sample)) for count in counts)]


def test_the_written_sample_is_balanced(sample):
    tones = [tone for _, tone in sample]
    assert min(tones.count(tone) for tone in ("positive", "neutral", "negative")) > len(sample) / 4


def test_the_docs_state_how_often_it_is_right_on_the_written_sample(sample, stated):
    assert figures(sample) == stated["written for the purpose, a third of each tone"]


@pytest.mark.recordings
def test_the_docs_state_how_often_it_is_right_on_recorded_headlines_nobody_tuned_it_to(recordings, stated):
    assert figures(recorded(recordings)) == stated["real ones, held out"]
    assert figures(recorded(recordings, general=False)) == stated["of these, from CoinDesk and NewsAPI"]


def test_what_vader_turns_round_is_turned_round_here():
    assert sentiment_of("Bitcoin does not crash") > sentiment_of("Bitcoin crashes")


@given(st.text(max_size=300))
def test_any_text_has_a_score(text):
    assert -1 <= sentiment_of(text) <= 1


@pytest.mark.parametrize("module", ["requests", "nltk"])
def test_the_score_loads_nothing_that_could_reach_a_network(module):
    look = f"import sys, tapehouse.producers.headlines as h; h.sentiment_of('up'); sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
