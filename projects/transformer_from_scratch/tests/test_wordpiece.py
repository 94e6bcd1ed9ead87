"""WordPiece, against its definition and against the `tokenizers` library with the same vocabulary."""

import math
from collections import Counter
from itertools import pairwise
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from transformer_from_scratch.tokenizers import WordPieceTokenizer
from transformer_from_scratch.tokenizers.bpe import train_bpe
from transformer_from_scratch.tokenizers.wordpiece import (
    join_pieces,
    likelihood_gain,
    longest_match,
    train_wordpiece,
    word_symbols,
)

deterministic = settings(derandomize=True, deadline=None)

TEXT = "".join(topics[name] for name in sorted(topics))[:100_000]
FEW_WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=8), st.integers(1, 4), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def ours():
    return WordPieceTokenizer.train(TEXT, 1256)


@pytest.fixture(scope="module")
def library(ours):
    vocabulary = {"[UNK]": 0} | {piece: i for i, piece in enumerate(ours.pieces, start=1)}
    return Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=1000))


def segment(tokenizer, text):
    return [tokenizer.token_text(i) for i in tokenizer.encode(text)]


def test_word_symbols_and_join_pieces():
    assert word_symbols("word") == ["w", "##o", "##r", "##d"]
    assert join_pieces("w", "##o") == "wo"
    assert join_pieces("##o", "##rd") == "##ord"


def test_likelihood_gain_is_the_change_of_the_unigram_log_likelihood():
    n, left, right, total = 6, 10, 8, 100
    before, after = n * (math.log(left / total) + math.log(right / total)), n * math.log(n / total)
    gains = likelihood_gain(np.array([n, 1]), np.array([left, 1]), np.array([right, 1]), total)
    np.testing.assert_allclose(gains, [after - before, -np.inf], rtol=1e-12)


def defined_wordpiece(word_counts, n_pieces):
    """Training by the definition: count everything anew for each new piece."""
    words = {word: [word[:1], *("##" + c for c in word[1:])] for word in word_counts}
    frequency = Counter()
    for word, symbols in words.items():
        for symbol in symbols:
            frequency[symbol] += word_counts[word]
    order = {symbol: i for i, symbol in enumerate(sorted(frequency))}
    frequent = sorted((s for s in frequency if frequency[s] > 1), key=lambda s: (-frequency[s], s))
    learnt = sorted(frequent[:n_pieces])
    while len(learnt) < n_pieces:
        single, double = Counter(), Counter()
        for word, symbols in words.items():
            for symbol in symbols:
                single[symbol] += word_counts[word]
            for pair in pairwise(symbols):
                double[pair] += word_counts[word]
        total = sum(single.values())
        scores = {
            (a, b): count * np.log(count * float(total) / (float(single[a]) * single[b]))
            for (a, b), count in double.items()
            if count > 1
        }
        if not scores or max(scores.values()) <= 0:
            break
        a, b = best = min(scores, key=lambda pair: (-scores[pair], order[pair[0]], order[pair[1]]))
        joined = a + b[2:]
        order.setdefault(joined, len(order))
        if joined not in learnt:
            learnt.append(joined)
        for symbols in words.values():
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = [joined]
                i += 1
    return learnt


@deterministic
@given(FEW_WORDS, st.integers(0, 16))
def test_training_equals_the_definition(word_counts, n_pieces):
    assert train_wordpiece(word_counts, n_pieces) == defined_wordpiece(word_counts, n_pieces)


def test_training_prefers_pairs_that_belong_together_to_pairs_that_are_frequent():
    # e and t meet 12 times but are everywhere; q and u meet 10 times and never part.
    words = {"et": 12, "qu": 10} | dict.fromkeys(["ea", "eb", "ec", "ed", "at", "bt", "ct", "dt"], 11)
    assert train_bpe(words, 1) == [(b"e", b"t")]
    alphabet = {symbol for word in words for symbol in word_symbols(word)}
    assert train_wordpiece(words, len(alphabet) + 1) == [*sorted(alphabet), "qu"]


def test_training_leaves_pairs_that_meet_less_often_than_by_chance():
    # a is everywhere and so is ##b, after letters that occur once: two meetings in 1,200 symbols are no sign.
    words = {"ab": 2, "a": 1000} | {chr(0x4E00 + i) + "b": 1 for i in range(100)}
    assert train_wordpiece(words, 10) == ["##b", "a"]
    assert train_wordpiece(words | {"a": 2}, 10) == ["##b", "a", "ab"]


def test_symbols_that_occur_once_are_left_to_the_bytes():
    assert train_wordpiece({"ab": 2, "xb": 1}, 100) == ["##b", "a", "ab"]


def test_the_rarest_symbols_give_way_when_there_is_no_room():
    assert train_wordpiece({"a": 5, "b": 3, "c": 4}, 2) == ["a", "c"]


def test_longest_match():
    pieces = {"un", "una", "##ff", "##aff", "##able", "a"}
    assert longest_match("unaffable", 0, pieces, 4) == "una"
    assert longest_match("unaffable", 2, pieces, 4) == "##aff"
    assert longest_match("unaffable", 3, pieces, 4) == "##ff"
    assert longest_match("unaffable", 1, pieces, 4) is None
    assert longest_match("able", 0, pieces, 4) == "a"


def test_greedy_encoding_on_berts_own_example():
    tokenizer = WordPieceTokenizer(["want", "##want", "##ed", "wa", "un", "runn", "##ing", " ", "##runn"])
    assert segment(tokenizer, "unwanted running") == ["un", "##want", "##ed", "▁", "##runn", "##ing"]


def assert_same_segmentation(ours, library, word):
    """Equal pieces; bytes exactly where the library gives the whole word up as unknown."""
    ids, expected = ours.encode_word(word), library.encode(word).tokens
    if expected == ["[UNK]"]:
        assert min(ids) < 256
    else:
        assert [ours.pieces[i - 256] for i in ids if i >= 256] == expected
        assert min(ids) >= 256


def test_segmentation_equals_the_librarys_on_the_text(ours, library):
    for word in set(ours.split(TEXT)):
        assert_same_segmentation(ours, library, word)


@deterministic
@given(word=st.text("abcdefghijklmnopqrstuvwxyzQZ9日", min_size=1))
def test_segmentation_equals_the_librarys_on_any_word(ours, library, word):
    assert_same_segmentation(ours, library, word)


def test_a_character_without_a_piece_is_spelt_in_bytes_and_the_word_goes_on(ours):
    assert segment(ours, "with日with") == ["with", "<0xE6>", "<0x97>", "<0xA5>", *segment(ours, "xwith")[1:]]


def test_the_space_before_a_word_is_part_of_its_first_piece(ours):
    assert segment(ours, "the the\nthe") == ["the", "▁the", "\\n", "the"]


def test_markers_in_the_text_are_only_text():
    tokenizer = WordPieceTokenizer(["#", "the", "##the", " the"])
    assert segment(tokenizer, "##the the") == ["#", "#", "the", "▁the"]
    assert segment(tokenizer, "▁the") == ["<0xE2>", "<0x96>", "<0x81>", "##the"]
    assert tokenizer.decode(tokenizer.encode("##the ▁the thethe")) == "##the ▁the thethe"
