"""Whatever a publisher writes, what is kept is text, short, and soon read."""

import unicodedata

import pytest
from hypothesis import given, strategies as st

from tapehouse.producers.plain_text import LONGEST_READ, plain


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("<p>One&nbsp;<b>two</b></p><p>three</p>", "One two three"),
        ("before<script>alert(1)</script> after", "before after"),
        ("before <script>never closed", "before"),
        ("a <!-- said to nobody --> b", "a b"),
        ("&lt;script&gt;alert(1)&lt;/script&gt;safe", "safe"),
        ("&amp;lt;img src=x onerror=alert(1)&amp;gt; safe", "safe"),
        ("AT&amp;T says &amp;#8220;yes&amp;#8221;", "AT&T says \u201cyes\u201d"),
        ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
        ("\u202eevil\u202c \u200bzero\x00width\x1b[31m", "evil zero width [31m"),
        ("&#" + "9" * 5000 + "; a number nobody has", "a number nobody has"),
        ("  \n\t ", ""),
    ],
)
def test_markup_goes_and_the_words_stay(written, kept):
    assert plain(written, 300) == kept


def test_a_long_text_is_cut_and_says_so():
    assert plain("word " * 100, 20) == "word word word word\u2026"


@pytest.mark.parametrize(
    "piece",
    ["<", "<a ", "<!--", "<![CDATA[", "</", "<a href='", "&#", "<?", "<!", "<script", "<svg></svg", "&lt;", "&"],
)
@pytest.mark.timeout(30)
def test_a_hostile_text_is_read_in_time_that_grows_with_its_length_only(piece):
    for _ in range(20):  # a reader that looks back needs seconds for each
        assert_harmless(plain(piece * (LONGEST_READ // len(piece)), 100), at_most=100)


@given(st.text(alphabet=st.sampled_from("<>&;#!-/ab sciptx\"'\u202e\x00\n")))
def test_what_is_kept_is_never_markup_nor_unseen(text):
    assert_harmless(plain(text, 200), at_most=200)


def assert_harmless(kept, *, at_most):
    assert all(kept[place + 1 : place + 2].isalpha() is False for place, sign in enumerate(kept) if sign == "<")
    assert not any(unicodedata.category(sign) in {"Cc", "Cf"} for sign in kept)
    assert len(kept) <= at_most
