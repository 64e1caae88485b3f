"""How a headline sounds for the market: VADER's lexicon and rules, with the words of the trade put right.

VADER knows how people speak, not that a surge is good, a hack is bad and a share is a security. It is a lexicon:
no model, no network, the same score for the same text. How often it is right is in docs/explanation/news.md.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

Tone = Literal["positive", "neutral", "negative"]

SOUNDS_FROM = 0.05
"""VADER's own bound: a score from here up is positive, from here down negative."""
LONGEST_SCORED = 1_000
"""Characters; a headline is shorter."""

_GOOD = (
    *("accumulate", "accumulates", "accumulating", "accumulation", "adopt", "adopts", "adoption", "ath", "beats"),
    *("breakout", "bullish", "buyback", "buybacks", "climb", "climbs", "climbing", "doubles", "expands", "gain"),
    *("gained", "gains", "greenlight", "greenlights", "inflow", "inflows", "jump", "jumps", "jumped", "milestone"),
    *("outperform", "outperforms", "outperformed", "partner", "partners", "partnership", "pump", "pumps", "rallies"),
    *("rally", "rallied", "rallying", "rebound", "rebounds", "rebounded", "recover", "recovers", "recovered"),
    *("recovery", "rise", "rises", "rising", "rose", "skyrocket", "skyrockets", "soar", "soars", "soared", "soaring"),
    *("spike", "spikes", "surge", "surged", "surges", "surging", "surpass", "surpasses", "surpassed", "triples"),
    *("upgrade", "upgrades", "uptrend", "upside", "unveils"),
)
_BAD = (
    *("bearish", "breach", "breached", "capitulation", "collapse", "collapsed", "collapses", "correction", "crackdown"),
    *("crash", "crashed", "crashes", "crashing", "decline", "declined", "declines", "delay", "delayed", "delays"),
    *("delist", "delisted", "delisting", "delists", "depeg", "depegs", "depegged", "dip", "dips", "downgrade"),
    *("downgrades", "downtrend", "downturn", "drain", "drained", "drains", "drop", "dropped", "drops", "dump"),
    *("dumped", "dumps", "exploit", "exploited", "exploits", "fall", "fallen", "falling", "falls", "fell", "freeze"),
    *("freezes", "froze", "frozen", "hack", "hacked", "hacker", "hackers", "hacks", "halt", "halted", "halts", "heist"),
    *("indicted", "indictment", "insolvency", "insolvent", "lawsuit", "layoffs", "liquidated", "liquidation"),
    *(
        "liquidations",
        "loses",
        "losing",
        "nosedive",
        "nosedives",
        "outage",
        "outflow",
        "outflows",
        "phishing",
        "plummet",
    ),
    *("plummeted", "plummets", "plunge", "plunged", "plunges", "ponzi", "probe", "probes", "pullback", "rout", "rug"),
    *("seize", "seized", "seizes", "selloff", "sink", "sinks", "slide", "slides", "slip", "slips", "slump", "slumped"),
    *("slumps", "subpoena", "sue", "sued", "sues", "suspend", "suspended", "suspends", "tank", "tanks", "tumble"),
    *("tumbled", "tumbles", "unwind", "vulnerability", "weakens", "wiped"),
)
_PLAIN = (
    *("active", "alert", "asset", "assets", "bonds", "cash", "challenge", "chance", "charge", "commission", "create"),
    *("creates", "credit", "debt", "defense", "demand", "energy", "exchange", "exchanges", "execution", "fine"),
    *("freedom", "fun", "gold", "grand", "grant", "hand", "hard", "help", "hope", "innovation", "intelligence"),
    *(
        "interest",
        "join",
        "justice",
        "legal",
        "like",
        "lucky",
        "matter",
        "merge",
        "no",
        "novel",
        "number",
        "opportunity",
    ),
    *("play", "please", "pressure", "proof", "ready", "resolve", "secure", "securities", "security", "share", "shared"),
    *("shares", "special", "stake", "stakes", "super", "supreme", "treasury", "trust", "united", "value", "want"),
    *("worth", "yield"),
)
_MARKET_WORDS: Mapping[str, float] = (
    dict.fromkeys(_GOOD, 2.0)
    | dict.fromkeys(_BAD, -2.0)
    | dict.fromkeys(_PLAIN, 0.0)
    | {"fined": -1.5, "high": 0.8, "low": -1.0, "record": 0.8, "approval": 2.0, "greed": 0.5, "bull": 1.5, "bear": -1.5}
)
"""Strength from -4 to 4, as VADER counts it. Zero: a word that VADER hears praise or blame in, and finance does not."""


def sentiment_of(headline: str) -> float:
    """Return how a headline sounds, from -1 (bad for what it is about) to 1 (good), in steps of 0.0001.

    A score is no amount: it orders headlines, and nothing is added up from it.
    """
    return float(_analyser().polarity_scores(headline[:LONGEST_SCORED])["compound"])


def tone_of(sentiment: float) -> Tone:
    """Return the score in a word."""
    if abs(sentiment) < SOUNDS_FROM:
        return "neutral"
    return "positive" if sentiment > 0 else "negative"


@cache
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import (  # type: ignore[import-untyped]  # noqa: PLC0415  # no stubs; imported with the first headline
        SentimentIntensityAnalyzer,
    )

    analyser = SentimentIntensityAnalyzer()
    analyser.lexicon.update(_MARKET_WORDS)
    return analyser
