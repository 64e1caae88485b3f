"""The score of a headline, held against a sample labelled by hand (tests/producers/headlines.tsv)."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from tapehouse.producers.headlines import sentiment_of, tone_of

SAMPLE = Path(__file__).with_name("headlines.tsv")


@pytest.fixture(scope="module")
def sample() -> list[tuple[str, str]]:
    with SAMPLE.open(encoding="utf-8") as file:
        return [(row["headline"], row["tone"]) for row in csv.DictReader(file, delimiter="\t")]


def accuracy(sample, score):
    return sum(tone_of(score(headline)) == tone for headline, tone in sample) / len(sample)


def test_the_sample_is_balanced(sample):
    tones = [tone for _, tone in sample]
    assert len(sample) >= 100
    assert min(tones.count(tone) for tone in ("positive", "neutral", "negative")) > len(sample) / 4


def test_four_of_five_headlines_are_heard_as_a_person_hears_them(sample):
    assert accuracy(sample, sentiment_of) >= 0.8


def test_the_words_of_the_trade_make_vader_righter_by_a_fifth(sample):
    plain = SentimentIntensityAnalyzer()
    assert accuracy(sample, sentiment_of) > accuracy(sample, lambda text: plain.polarity_scores(text)["compound"]) + 0.2


def test_good_is_seldom_taken_for_bad(sample):
    opposite = {"positive": "negative", "negative": "positive"}
    wrong = sum(tone_of(sentiment_of(headline)) == opposite.get(tone) for headline, tone in sample)
    assert wrong / len(sample) < 0.1


def test_what_vader_turns_round_is_turned_round_here():
    assert sentiment_of("Bitcoin does not crash") > sentiment_of("Bitcoin crashes")


@given(st.text(max_size=300))
def test_any_text_has_a_score(text):
    assert -1 <= sentiment_of(text) <= 1


@pytest.mark.parametrize("module", ["requests", "nltk"])
def test_the_score_loads_nothing_that_could_reach_a_network(module):
    look = f"import sys, tapehouse.producers.headlines as h; h.sentiment_of('up'); sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
