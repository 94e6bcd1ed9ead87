"""Byte-pair encoding, against its published algorithm and against the `tokenizers` library."""

import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from roadmap_shared.errors import UserError
from transformer_from_scratch.tokenizers import ByteBPETokenizer
from transformer_from_scratch.tokenizers.bpe import (
    apply_merges,
    base_vocabulary,
    parse_merges,
    printable_bytes,
    train_bpe,
)
from transformer_from_scratch.tokenizers.pairs import PairIndex, count_pairs, merge_pair

deterministic = settings(derandomize=True, deadline=None)

TEXT = "".join(topics[name] for name in sorted(topics))[:100_000]
SPECIALS = ("<pad>", "<bos>", "<eos>")
N_MERGES = 500

FEW_WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=8), st.integers(1, 4), min_size=1, max_size=8)


def library_tokenizer(model):
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.fixture(scope="module")
def library():
    tokenizer = library_tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=len(SPECIALS) + 256 + N_MERGES,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return tokenizer


@pytest.fixture(scope="module")
def ours():
    return ByteBPETokenizer.train(TEXT, len(SPECIALS) + 256 + N_MERGES, SPECIALS)


def test_count_pairs_weights_words_and_counts_overlaps():
    counts = count_pairs(["low", "aaa"], [5, 2])
    assert counts == {("l", "o"): 5, ("o", "w"): 5, ("a", "a"): 4}


@deterministic
@given(st.text("ab"))
def test_merge_pair_replaces_from_left_to_right(word):
    assert "".join(merge_pair(word, ("a", "b"), "X")) == word.replace("ab", "X")
    assert "".join(merge_pair(word, ("a", "a"), "X")) == word.replace("aa", "X")


def test_merge_pair_leaves_its_input_alone():
    word = ["a", "b"]
    assert merge_pair(word, ("a", "b"), "ab") == ["ab"]
    assert word == ["a", "b"]


@deterministic
@given(st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1, max_size=6), st.data())
def test_pair_index_equals_counting_anew_after_each_merge(words, data):
    counts = list(range(1, len(words) + 1))
    index = PairIndex(words, counts)
    for merged in range(3, 7):
        pairs = sorted(index.pair_counts.keys() & set().union(*map(pairwise, index.words)))
        if not pairs:
            break
        before = Counter(index.pair_counts)
        pair = data.draw(st.sampled_from(pairs))
        changed = index.merge(pair, merged)
        words = [merge_pair(word, pair, merged) for word in words]
        assert index.words == words
        assert +index.pair_counts == count_pairs(words, counts)
        assert +index.symbol_counts == sum((Counter(w * n) for w, n in zip(words, counts, strict=True)), Counter())
        assert {p for p in before | index.pair_counts if before[p] != index.pair_counts[p]} <= changed


def published_bpe(word_counts, n_tokens):
    """Sennrich et al. 2016, algorithm 1, on bytes: count everything anew for each merge."""
    order = {token: i for i, token in enumerate(base_vocabulary())}
    words = {word: [bytes([byte]) for byte in word.encode()] for word in word_counts}
    merges = []
    while len(order) < 256 + n_tokens:
        counts = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                counts[pair] += word_counts[word]
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], order[pair[0]], order[pair[1]]))
        merges.append(best)
        order.setdefault(best[0] + best[1], len(order))
        for symbols in words.values():
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = [best[0] + best[1]]
                i += 1
    return merges


@deterministic
@given(FEW_WORDS, st.integers(0, 12))
def test_training_equals_the_published_algorithm(word_counts, n_tokens):
    assert train_bpe(word_counts, n_tokens) == published_bpe(word_counts, n_tokens)


def test_training_on_the_published_example():
    words = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
    assert train_bpe(words, 3) == [(b"e", b"s"), (b"es", b"t"), (b"l", b"o")]


def test_training_stops_when_no_pair_occurs_twice():
    assert train_bpe({"abcd": 1, "ab": 1}, 100) == [(b"a", b"b")]


def test_merges_equal_the_librarys(ours, library):
    expected = json.loads(library.to_str())["model"]["merges"]
    assert len(expected) == N_MERGES
    assert ours.to_json()["merges"] == [" ".join(pair) for pair in expected]


def test_ids_equal_the_librarys_on_the_text(ours, library):
    assert ours.encode(TEXT) == library.encode(TEXT).ids


@deterministic
@given(text=st.text(st.characters(exclude_categories=["Cs", "Cn"])))
def test_ids_equal_the_librarys_on_any_text(ours, library, text):
    assert ours.encode(text) == library.encode(text).ids


@deterministic
@given(ids=st.lists(st.integers(len(SPECIALS), len(SPECIALS) + 256 + N_MERGES - 1)))
def test_decoding_equals_the_librarys_on_any_ids(ours, library, ids):
    assert ours.decode(ids) == library.decode(ids, skip_special_tokens=False)


def test_printable_bytes_are_gpt2s():
    assert sorted(printable_bytes()) == list(range(256))
    assert sorted(printable_bytes().values()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert printable_bytes()[ord(" ")] == "Ġ"
    assert base_vocabulary()[0] == b"!"


def test_the_earliest_merge_is_applied_first_wherever_it_is():
    ranks = {(b"b", b"c"): 0, (b"a", b"b"): 1, (b"a", b"bc"): 2}
    assert apply_merges([b"a", b"b", b"c"], ranks) == [b"abc"]
    assert apply_merges([b"a", b"b", b"a"], ranks) == [b"ab", b"a"]
    assert apply_merges([b"x"], ranks) == [b"x"]
    assert apply_merges([], ranks) == []


def test_merges_that_make_one_token_in_two_ways_are_refused():
    with pytest.raises(UserError, match="merge 3 'a ba' makes a token that an earlier merge made"):
        parse_merges(["a b", "ab a", "b a", "a ba"])


@deterministic
@given(FEW_WORDS)
def test_training_never_makes_a_token_twice(word_counts):
    made = [left + right for left, right in train_bpe(word_counts, 100)]
    assert len(set(made)) == len(made)


@pytest.mark.skipif("ROADMAP_DATA" not in os.environ, reason="ROADMAP_DATA names no folder with GPT-2's merges")
def test_gpt2s_own_merges_give_gpt2s_tokens():
    folder = Path(os.environ["ROADMAP_DATA"]) / "tokenizers"
    lines = (folder / "huggingface_gpt2_merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    gpt2 = ByteBPETokenizer(parse_merges(lines))
    vocabulary = json.loads((folder / "gpt2_encoder.json").read_text(encoding="utf-8"))
    model = models.BPE(vocab=vocabulary, merges=[(left, right) for left, right in map(str.split, lines)])
    text = TEXT[:50_000] + "Ünïcödé 日本語 🙂 didn't   \n\n"
    assert gpt2.encode(text) == library_tokenizer(model).encode(text).ids
    assert gpt2.vocab_size == len(vocabulary) - 1  # <|endoftext|>
