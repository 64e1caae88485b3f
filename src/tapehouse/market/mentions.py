"""Which coins a headline mentions: whole words only, and words that are more than a coin's name only with a sign.

Looked for are the coins listed in `coins`, and the bases of the symbols that are followed.

The rule, in order; what a longer name has taken is not looked at again:

1. A name that means nothing else ("Bitcoin", "Shiba Inu") counts in any case; the longest wins, so that
   "Bitcoin Cash" is not Bitcoin.
2. A cashtag (`$LINK`), a ticker in brackets (`(LINK)`), and a pair (`LINKUSDT`, `LINK/USDT`, `LINK-USD`) count; a
   cashtag and a pair that fits a pattern which is followed (`*USDT`) for coins nobody here has heard of, too.
3. A ticker in capitals counts when it is no word ("BTC", "XRP").
4. A ticker or a name that is a word ("ONE", "Avalanche") counts, in its capitals, beside a word of the trade
   ("ONE token", "Avalanche network") or where rule 2 has found its coin in the same text; a ticker never so in a text
   that is all in capitals. The base of a followed symbol that is not listed may be a word, so it counts by this rule;
   one of a single letter by rule 2 alone.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from tapehouse.market.coins import COINS, NOT_COINS, QUOTES, base_of, coin_named

SAID_AFTER = (
    *("airdrop", "blockchain", "chain", "coin", "coins", "dao", "devs", "dex", "ecosystem", "etf", "etfs", "etp"),
    *("foundation", "futures", "holders", "mainnet", "network", "price", "prices", "protocol", "stakers", "staking"),
    *("subnet", "subnets", "testnet", "token", "tokens", "validators", "whale", "whales"),
)
"""Words of the trade that make the word before them a coin: "NEAR holders"."""
SAID_BEFORE = ("altcoin", "blockchain", "memecoin", "token")
"""Words of the trade that make the word after them a coin: "memecoin PEPE"."""
MOST_MENTIONS = 20
"""Coins kept of one text; a list of prices is no headline."""


class Mentions(msgspec.Struct, frozen=True):
    """The coins of a text in the order they are first met: tickers, and the CoinGecko ids of those known."""

    tickers: list[str]
    coins: list[str]


Find = Callable[[str], Mentions]
"""Finds the coins of a text."""


def _either(phrases: Iterable[str]) -> str:
    return "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in sorted(phrases, key=len, reverse=True))


_LISTED = frozenset(coin.ticker for coin in COINS)
_NAMES = {name.casefold(): coin.ticker for coin in COINS for name in coin.names}
_WORDS = {word: coin.ticker for coin in COINS for word in coin.words} | {
    coin.ticker: coin.ticker for coin in COINS if coin.ticker_is_word
}
_QUOTED = "|".join(QUOTES)
_BEFORE, _AFTER = r"(?<![\w$@#/.])", r"(?!\w)(?!\.\w)"
_NAME = re.compile(f"{_BEFORE}(?:{_either([*_NAMES, *NOT_COINS])}){_AFTER}", re.IGNORECASE)
_CASHTAG = re.compile(r"(?<![\w$])\$([A-Z0-9]{1,12})(?!\w)")
_BRACKETED = re.compile(r"\(\$?([A-Z0-9]{1,12})\)")
_PAIR = re.compile(rf"{_BEFORE}([A-Z0-9]{{1,12}}?)(?:[/-]({_QUOTED})|({_QUOTED})){_AFTER}")
_TICKER = re.compile(rf"{_BEFORE}({_either([c.ticker for c in COINS if not c.ticker_is_word])}){_AFTER}")
_UNHEARD_OF = re.compile(r"[A-Z][A-Z0-9]{1,9}")
_TRADE_AFTER = re.compile(rf"(?:'s|\u2019s)?[\s-]+(?:{'|'.join(SAID_AFTER)})\b", re.IGNORECASE)
_TRADE_BEFORE = re.compile(rf"\b(?:{'|'.join(SAID_BEFORE)})\s+$", re.IGNORECASE)


class CoinFinder:
    """Finds the coins of texts, by the rule above.

    `symbols` are those followed, by name or by pattern (`*USDT`), as a person set them: what a text mentions must not
    depend on what else has come in. `pins` name the coins of tickers on CoinGecko.
    """

    def __init__(self, symbols: Iterable[str] = (), pins: Mapping[str, str] | None = None) -> None:
        wanted = list(symbols)
        followed = {base_of(symbol) for symbol in wanted if not symbol.startswith("*")} - _LISTED
        self._endings = tuple(symbol.removeprefix("*") for symbol in wanted if symbol.startswith("*"))
        self._tickers = _LISTED | followed
        self._words = _WORDS | {ticker: ticker for ticker in followed if len(ticker) > 1}
        self._word = re.compile(f"{_BEFORE}({_either([*self._words])}){_AFTER}")
        self._pins = pins or {}

    def __call__(self, text: str) -> Mentions:
        """Return the coins a headline is about."""
        found: dict[str, int] = {}
        rest = text
        for match in _NAME.finditer(text):
            name = re.sub(r"\s+", " ", match.group()).casefold()
            if name in _NAMES:  # a foreign letter can match without regard to case and be another all the same
                found.setdefault(_NAMES[name], match.start())
            rest = _blank(rest, match)
        for pattern in (_CASHTAG, _BRACKETED, _PAIR):
            for match in pattern.finditer(rest):
                if match.group(1) in self._tickers or self._counts_unheard_of(match):
                    _note(found, match.group(1), match.start())
                    rest = _blank(rest, match)
        for ticker, start in self._bare(rest, found):
            _note(found, ticker, start)
        tickers = sorted(found, key=lambda ticker: (found[ticker], ticker))[:MOST_MENTIONS]
        named = (coin_named(ticker, self._pins) for ticker in tickers)
        return Mentions(tickers, [coin for coin in named if coin is not None])

    def _counts_unheard_of(self, match: re.Match[str]) -> bool:
        """Tell whether a sign makes a coin of what is neither listed nor followed by name."""
        if not _UNHEARD_OF.fullmatch(match.group(1)):
            return False
        if match.re is _PAIR:
            return (match.group(1) + (match.group(2) or match.group(3))).endswith(self._endings)
        return match.re is _CASHTAG

    def _bare(self, text: str, found: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        """Yield tickers in capitals, and words of which something else says that a coin is meant."""
        for match in _TICKER.finditer(text):
            yield match.group(1), match.start()
        shouted = text.upper() == text
        for match in self._word.finditer(text):
            ticker = self._words[match.group(1)]
            if ticker in found or (not shouted and _of_the_trade(text, match)):
                yield ticker, match.start()


mentions = CoinFinder()
"""Finds the coins that are listed, where nothing is known of what is followed."""


def _of_the_trade(text: str, match: re.Match[str]) -> bool:
    return bool(_TRADE_AFTER.match(text, match.end()) or _TRADE_BEFORE.search(text[: match.start()]))


def _note(found: dict[str, int], ticker: str, start: int) -> None:
    found[ticker] = min(start, found.get(ticker, start))


def _blank(text: str, match: re.Match[str]) -> str:
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]
