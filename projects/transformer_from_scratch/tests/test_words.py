"""The splits into words, against those of the `tokenizers` library."""

import re
import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

from transformer_from_scratch.tokenizers.words import (
    SPACE,
    characters_in,
    count_words,
    split_bert,
    split_gpt2,
)

deterministic = settings(derandomize=True, deadline=None)

# Spaces of every kind, the separators that `\s` wrongly includes, contractions, and numbers that are not
# digits.
TRICKY = " \t\n\r\x0b\x1c\x1f\x85\xa0\u2003\u3000\u200b_'sdtlvermLS19²½Ⅷ一é́ßǅ!-…€🙂"
# A character that this Python does not know yet is a symbol here, and may be a letter to a newer library.
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])
TEXT = st.text(st.one_of(st.sampled_from(TRICKY), KNOWN))
# The library's BERT splitter has the punctuation of Unicode 8: keep to characters that never changed since
# 3.2.
UNCHANGED = [
    c
    for c in map(chr, range(0x3100))
    if unicodedata.category(c) == unicodedata.ucd_3_2_0.category(c) and unicodedata.category(c) != "Cn"
]


@deterministic
@given(TEXT)
def test_gpt2_split_equals_the_librarys(text):
    pieces = ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str(text)
    assert split_gpt2(text) == [text[start:end] for _, (start, end) in pieces]


def test_gpt2_split_equals_the_librarys_on_every_number_letter_and_mark_of_the_first_scripts():
    text = "".join(f"a{c}1{c} {c}{c}!" for c in UNCHANGED)
    pieces = ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str(text)
    assert split_gpt2(text) == [text[start:end] for _, (start, end) in pieces]


@pytest.mark.parametrize(("categories", "start"), [(("Nl", "No"), "N"), (("P",), "P")])
def test_characters_in_finds_all_there_are(categories, start):
    everywhere = {c for c in map(chr, range(0x110000)) if unicodedata.category(c).startswith(categories)}
    assert set(re.findall(f"[{characters_in(*categories)}]", "".join(everywhere) + "a1 ")) == everywhere
    assert all(unicodedata.category(c).startswith(start) for c in everywhere)


@pytest.mark.parametrize("ending", ["s", "t", "re", "ve", "m", "ll", "d", "S", "r", "x", "mm"])
def test_gpt2_split_of_contractions_equals_the_librarys(ending):
    text = f"we'{ending} 'it''{ending}"
    pieces = ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str(text)
    assert split_gpt2(text) == [text[start:end] for _, (start, end) in pieces]


def test_gpt2_split_by_example():
    assert split_gpt2("I'll pay  £2²,\n\n ok_") == [
        "I",
        "'ll",
        " pay",
        " ",
        " £",
        "2²",
        ",",
        "\n\n",
        " ok",
        "_",
    ]


@deterministic
@given(st.text(st.one_of(st.sampled_from(string.printable), st.sampled_from(UNCHANGED))))
def test_bert_split_equals_the_librarys_but_for_the_white_space_it_drops(text):
    words = [re.sub(f"[{SPACE}]", "", word) for word in split_bert(text)]
    assert [word for word in words if word] == [word for word, _ in BertPreTokenizer().pre_tokenize_str(text)]


def test_bert_split_by_example():
    assert split_bert("don't pay  £2²,\n\n ok_") == [
        *("don", "'", "t", " pay", " ", " £2²", ",", "\n\n", " ok", "_"),
    ]


@deterministic
@given(st.text())
def test_splits_lose_nothing(text):
    assert "".join(split_gpt2(text)) == text
    assert "".join(split_bert(text)) == text


def test_words_are_counted_over_all_texts_and_span_none():
    assert count_words(["a cat, a", "cat"], split_gpt2) == {"a": 1, " cat": 1, ",": 1, " a": 1, "cat": 1}
