"""From what a publisher wrote, markup and all, to plain text that is safe to show.

Each step reads the text once: a parser of HTML proper can be made to take minutes over a hostile page.
"""

import html
import re
import unicodedata

LONGEST_READ = 50_000
"""Characters looked at; what is kept of a text is far less."""
_ESCAPED_AT_MOST = 3
"""Feeds escape markup once or twice; a third time is somebody's game, and ends in `_OPENING`."""

_UNSEEN = re.compile(r"<!--|<(script|style|template|noscript|iframe|object|svg|math|head|textarea)\b", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<[!?][^<>]*>")
_ABSURD_REFERENCE = re.compile(r"&#x?[0-9a-f]{8,};?", re.IGNORECASE)
_OPENING = re.compile(r"(?<!<)<+(?=[a-zA-Z/!?])")
_SPACE = re.compile(r"\s+")
_JOINER = "\u200d"


def plain(text: str, at_most: int) -> str:
    """Return the text without markup, control and direction marks, its white space single, cut to `at_most`.

    What is left holds no `<` before a letter, so that it is no markup wherever it is put.
    """
    text = text[:LONGEST_READ]
    for _ in range(_ESCAPED_AT_MOST):
        if "<" not in text and "&" not in text:
            break
        text = html.unescape(_ABSURD_REFERENCE.sub("", _TAG.sub(" ", _without_unseen(text))))
    text = "".join(map(_seen, unicodedata.normalize("NFC", _TAG.sub(" ", text))))
    text = _SPACE.sub(" ", _OPENING.sub("", text)).strip()
    return text if len(text) <= at_most else text[: at_most - 1].rstrip() + "\u2026"


def _without_unseen(text: str) -> str:
    """Return the text without comments and without elements whose content is no text; unclosed ones go to the end."""
    parts, place = [], 0
    while opening := _UNSEEN.search(text, place):
        parts.append(text[place : opening.start()])
        closing = re.compile(f"</{opening[1]}" if opening[1] else "-->", re.IGNORECASE).search(text, opening.end())
        if closing is None:
            return "".join(parts)
        place = closing.end() if not opening[1] else closing.start()
    return " ".join([*parts, text[place:]])


def _seen(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cc":
        return " "
    return "" if kind in {"Cf", "Cs", "Co", "Cn"} and character != _JOINER else character
