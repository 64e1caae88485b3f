"""Which coins a headline mentions: whole words only, and words that are more than a coin's name only with a sign.

The rule, in order; what a longer name has taken is not looked at again:

1. A name that means nothing else ("Bitcoin", "Shiba Inu") counts in any case; the longest wins, so that
   "Bitcoin Cash" is not Bitcoin.
2. A cashtag (`$LINK`), a ticker in brackets (`(LINK)`), and a pair (`LINKUSDT`, `LINK/USDT`, `LINK-USD`) count.
3. A ticker in capitals counts when it is no word ("BTC", "XRP").
4. A ticker or a name that is a word ("ONE", "Avalanche") counts, in its capitals, beside a word of the trade
   ("ONE token", "Avalanche network") or where rule 2 has found its coin in the same text; a ticker never so in a text
   that is all in capitals.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

from tapehouse.market.coins import COINS, NOT_COINS, QUOTES

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

_BY_TICKER = {coin.ticker: coin for coin in COINS}


class Mentions(msgspec.Struct, frozen=True):
    """The coins of a text in the order they are first met: tickers, and the CoinGecko ids of those listed here."""

    tickers: list[str]
    coins: list[str]


def _either(phrases: list[str]) -> str:
    return "|".join(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in sorted(phrases, key=len, reverse=True))


_NAMES = {name.casefold(): coin for coin in COINS for name in coin.names}
_WORDS = {word: coin for coin in COINS for word in coin.words} | {
    coin.ticker: coin for coin in COINS if coin.ticker_is_word
}
_QUOTED = "|".join(QUOTES)
_BEFORE, _AFTER = r"(?<![\w$@#/.])", r"(?!\w)(?!\.\w)"
_NAME = re.compile(f"{_BEFORE}(?:{_either([*_NAMES, *NOT_COINS])}){_AFTER}", re.IGNORECASE)
_CASHTAG = re.compile(r"(?<![\w$])\$([A-Z][A-Z0-9]{1,9})(?!\w)")
_BRACKETED = re.compile(r"\(\$?([A-Z][A-Z0-9]{1,9})\)")
_PAIR = re.compile(rf"{_BEFORE}([A-Z0-9]{{2,10}})(?:[/-](?:{_QUOTED})|(?:{_QUOTED})){_AFTER}")
_TICKER = re.compile(rf"{_BEFORE}({_either([c.ticker for c in COINS if not c.ticker_is_word])}){_AFTER}")
_WORD = re.compile(f"{_BEFORE}({_either([*_WORDS])}){_AFTER}")
_TRADE_AFTER = re.compile(rf"(?:'s|\u2019s)?[\s-]+(?:{'|'.join(SAID_AFTER)})\b", re.IGNORECASE)
_TRADE_BEFORE = re.compile(rf"\b(?:{'|'.join(SAID_BEFORE)})\s+$", re.IGNORECASE)


def mentions(text: str) -> Mentions:
    """Return the coins a headline is about, by the rule above."""
    found: dict[str, int] = {}
    rest = text
    for match in _NAME.finditer(text):
        name = re.sub(r"\s+", " ", match.group()).casefold()
        if name in _NAMES:  # a foreign letter can match without regard to case and be another all the same
            found.setdefault(_NAMES[name].ticker, match.start())
        rest = _blank(rest, match)
    for pattern in (_CASHTAG, _BRACKETED, _PAIR):
        for match in pattern.finditer(rest):
            if match.group(1) in _BY_TICKER or pattern is _CASHTAG:
                _note(found, match.group(1), match.start())
                rest = _blank(rest, match)
    for ticker, start in _bare(rest, found):
        _note(found, ticker, start)
    tickers = sorted(found, key=lambda ticker: (found[ticker], ticker))[:MOST_MENTIONS]
    return Mentions(tickers, [_BY_TICKER[ticker].coin for ticker in tickers if ticker in _BY_TICKER])


def _bare(text: str, found: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield tickers in capitals, and words of which something else says that a coin is meant."""
    for match in _TICKER.finditer(text):
        yield match.group(1), match.start()
    shouted = text.upper() == text
    for match in _WORD.finditer(text):
        ticker = _WORDS[match.group(1)].ticker
        if ticker in found or (not shouted and _of_the_trade(text, match)):
            yield ticker, match.start()


def _of_the_trade(text: str, match: re.Match[str]) -> bool:
    return bool(_TRADE_AFTER.match(text, match.end()) or _TRADE_BEFORE.search(text[: match.start()]))


def _note(found: dict[str, int], ticker: str, start: int) -> None:
    found[ticker] = min(start, found.get(ticker, start))


def _blank(text: str, match: re.Match[str]) -> str:
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]
