"""What a signal is: something unusual about a window, how unusual, from which numbers, and how far it may be trusted.

Law 5 for signals: what is stored follows from the newest candles and the newest tellings of the market's context
alone. A detector looks back over a bounded number of windows and remembers nothing else, so that a corrected candle
changes only the windows that rest on it.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

from tapehouse.market.coins import DOLLAR_QUOTES, quote_of

Kind = Literal[
    "volume_spike",
    "price_outlier",
    "vwap_deviation",
    "volatility_regime",
    "taker_imbalance",
    "divergence",
    "sentiment_extreme",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
State = Literal["provisional", "confirmed", "retracted"]
STATES: tuple[State, ...] = get_args(State)
WHOLE_MARKET = "*"
"""The symbol of a signal that is about no symbol."""

Evidence = dict[str, str | int | float | bool | None]
"""The numbers a signal was made from, by name: ratios, statistics, ids; amounts stay in the candles these lead to."""


class Detection(msgspec.Struct, frozen=True):
    """What the detectors are told: the intervals they watch, how far they look back, and what is unusual.

    Scores are robust deviations from the median of the baseline (see `baselines`).
    """

    intervals: tuple[str, ...] = ("1m", "5m", "1h")
    baseline: int = 240
    """Windows a window is compared with: those before it."""
    volume_score: float = 4.0
    minimum_quote_volume: float = 1_000.0
    """A window that traded for less is no spike; in dollars."""
    quote_worth: tuple[tuple[str, float], ...] = ()
    """What a unit of what symbols are quoted in is worth in dollars, about; what is worth one need not be here."""
    outlier_score: float = 10.0
    vwap_score: float = 4.0
    volatility_ratio: float = 2.5
    """So many times the usual volatility is high, and so many times less is low."""
    taker_score: float = 3.5
    divergence: float = 0.01
    """How far, as a part of the price, CoinGecko's lies outside of what was traded."""
    sentiment_extreme: int = 25
    """The Fear & Greed index is extreme up to this value, and from a hundred less this value on."""

    @property
    def enough(self) -> int:
        """How many windows of the baseline must be usable: half of them."""
        return max(self.baseline // 2, 1)

    def minimum_of(self, symbol: str) -> float:
        """Return what a window of a symbol must have traded, in what that is quoted in; 0 where no worth is known."""
        quote = quote_of(symbol)
        worth = 1.0 if quote in DOLLAR_QUOTES else dict(self.quote_worth).get(quote)
        return 0.0 if worth is None else self.minimum_quote_volume / worth


class Finding(msgspec.Struct, frozen=True):
    """What a detector says of a window, whether or not it is unusual (`fires`).

    `proved` is False where a number it rests on may still change by a repair.
    """

    kind: Kind
    score: float
    fires: bool
    proved: bool
    evidence: Evidence


class Signal(msgspec.Struct, frozen=True):
    """A revision of a signal; `opened_at` and `known_at` are microseconds UTC."""

    kind: Kind
    symbol: str
    interval: str
    opened_at: int
    score: float
    state: State
    evidence: Evidence
    revision: int
    known_at: int


Key = tuple[Kind, int]
"""What tells the signals of one symbol and interval apart: the kind and the opening of the window."""


def rounded(value: float) -> float:
    """Return a statistic with the six digits it is stored with: what is beyond them says nothing."""
    return float(f"{value:.6g}")


def moment(microseconds: int) -> str:
    """Return a time as evidence tells it: ISO 8601, UTC."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return time.isoformat().removesuffix("+00:00") + "Z"


def revised(
    known: Signal | None, finding: Finding | None, about: tuple[Kind, str, str, int], known_at: int
) -> Signal | None:
    """Return the next revision of what is known about (kind, symbol, interval, opening); None where nothing changes.

    `finding` None means that nothing can be said of the window any more.
    """
    stands = known is not None and known.state != "retracted"
    fires = finding is not None and finding.fires
    if not fires and not stands:
        return None
    state: State = (
        "retracted" if not fires else "confirmed" if finding is not None and finding.proved else "provisional"
    )
    score = finding.score if finding is not None else 0.0
    evidence = finding.evidence if finding is not None else {}
    if known is not None and (known.state, known.score, known.evidence) == (state, score, evidence):
        return None
    revision = 1 if known is None else known.revision + 1
    at = known_at if known is None else max(known_at, known.known_at)
    return Signal(*about, score=score, state=state, evidence=evidence, revision=revision, known_at=at)
