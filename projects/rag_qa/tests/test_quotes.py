"""Quotes in wrapped text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.corpus.quotes import find_quote, without_spaces

WORDS = st.lists(st.text("abc“”。中", min_size=1, max_size=4), min_size=1, max_size=12)
GAPS = st.sampled_from([" ", "\n", "\n   ", "\t", "\u3000", "\u00a0", ""])


def test_a_quote_is_found_across_a_line_break():
    text = "First.\n   The target is\n   only evaluated once.\nLast."
    assert find_quote(text, "is only evaluated") == (21, 41)
    assert text[21:41] == "is\n   only evaluated"


def test_the_first_of_several_places_is_taken():
    assert find_quote("x a b y a b", "a b") == (2, 5)


def test_letters_and_punctuation_count():
    assert find_quote("The target.", "the target") is None
    assert find_quote("The target.", "The target!") is None


def test_a_blank_quote_is_refused():
    with pytest.raises(ValueError, match=r"^a quote needs at least one character that is not white space$"):
        find_quote("text", " \n")


@given(WORDS, st.data())
def test_any_run_of_words_is_found_whatever_the_wrapping(words: list[str], data: st.DataObject):
    text = "".join(word + data.draw(GAPS) for word in words)
    start = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(start + 1, len(words)))
    quote = "".join(word + data.draw(GAPS) for word in words[start:stop])
    place = find_quote(text, quote)
    assert place is not None
    found = text[slice(*place)]
    assert without_spaces(found) == without_spaces(quote)
    assert found == found.strip()
    assert without_spaces(text[: place[0]]) == without_spaces(text)[: without_spaces(text).find(without_spaces(quote))]
