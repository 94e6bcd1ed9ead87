"""Pairs as token ids, held-out parts, and batches of like length."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from transformer_from_scratch.models import IGNORED
from transformer_from_scratch.sequence_pairs import (
    SPECIAL_TOKENS,
    EncodedPair,
    LengthBuckets,
    collate,
    encode_fitting,
    encode_pair,
    hold_out,
)
from transformer_from_scratch.tokenizers import CharacterTokenizer


@pytest.fixture
def tokenizer() -> CharacterTokenizer:
    return CharacterTokenizer("abc", SPECIAL_TOKENS)


def test_a_pair_ends_its_source_and_frames_its_target(tokenizer: CharacterTokenizer) -> None:
    pad, bos, eos, a, b, c = range(6)
    pair = encode_pair(("ab", "cab"), tokenizer)
    assert pair == EncodedPair([a, b, eos], [bos, c, a, b, eos])
    assert pair.length == 4
    shorter = encode_pair(("abab", "c"), tokenizer)
    assert shorter.length == 5

    source, is_token, inputs, targets = collate([pair, shorter], pad)
    assert source.tolist() == [[a, b, eos, pad, pad], [a, b, a, b, eos]]
    assert is_token.tolist() == [[True, True, True, False, False], [True] * 5]
    assert inputs.tolist() == [[bos, c, a, b], [bos, c, pad, pad]]
    assert targets.tolist() == [[c, a, b, eos], [c, eos, IGNORED, IGNORED]]


def test_pairs_beyond_the_context_are_left_out_and_said(
    tokenizer: CharacterTokenizer, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [("aaa", "b"), ("aaaa", "b"), ("a", "bbb"), ("a", "bbbb")]
    fitting = encode_fitting(pairs, "training", tokenizer, context=4)
    assert fitting == [encode_pair(pairs[0], tokenizer), encode_pair(pairs[2], tokenizer)]
    assert capsys.readouterr().err == "2 of 4 training pairs are longer than --model.context 4 tokens and left out\n"
    with pytest.raises(UserError, match=r"^--model.context 3: not one of the 4 test pairs is that short; raise it$"):
        encode_fitting(pairs, "test", tokenizer, context=3)
    encode_fitting(pairs, "training", tokenizer, context=5)
    assert capsys.readouterr().err == ""


@given(
    sources=st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=60),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_source_stands_in_two_parts(sources: list[str], seed: int) -> None:
    pairs = [(source, str(number)) for number, source in enumerate(sources)]
    if len(set(sources)) < 3:
        with pytest.raises(UserError, match="too few to train on and to hold out 2 parts: give more pairs"):
            hold_out(pairs, [0.1, 0.2], seed)
        return
    parts = hold_out(pairs, [0.1, 0.2], seed)
    assert sorted(pair for part in parts for pair in part) == sorted(pairs)
    owners = [{source for source, _ in part} for part in parts]
    assert all(owners)
    assert sum(map(len, owners)) == len(set(sources))
    assert [pair for part in hold_out(pairs, [0.1, 0.2], seed) for pair in part] == [p for part in parts for p in part]


def test_parts_get_their_share_of_the_sources() -> None:
    pairs = [(str(n), "x") for n in range(1000)]
    assert [len(part) for part in hold_out(pairs, [0.02, 0.05], seed=1)] == [930, 20, 50]
    assert hold_out(pairs, [0.02], seed=1)[1] != hold_out(pairs, [0.02], seed=2)[1]
    assert hold_out(pairs, [], seed=1) == [pairs]


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=80),
    multiple=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_epoch_shows_every_item_within_the_budget(lengths: list[int], multiple: int, seed: int) -> None:
    budget = 48
    buckets = LengthBuckets(lengths, budget, seed)
    epochs, step = [], 0
    for _ in range(2):
        seen: list[int] = []
        while len(seen) < len(lengths):
            batch = buckets.batch(step, multiple)
            assert len(batch) % multiple == 0
            assert len(batch) * max(lengths[item] for item in batch) <= budget
            seen += batch
            step += 1
        epochs.append(Counter(seen))
    n_repeated = -len(lengths) % multiple
    for epoch in epochs:
        assert set(epoch) == set(range(len(lengths)))
        assert epoch.total() == len(lengths) + n_repeated
    # Only the shortest are repeated, and only as often as it takes to fill up.
    repeated = sorted(lengths[item] for item in (epochs[0] - Counter(range(len(lengths)))).elements())
    if n_repeated <= len(lengths):
        assert repeated == sorted(lengths)[:n_repeated]


def test_a_step_has_the_same_batch_whatever_was_asked_before() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, size=500).tolist()
    one, other = LengthBuckets(lengths, 120, seed=7), LengthBuckets(lengths, 120, seed=7)
    forwards = [one.batch(step, 2) for step in range(300)]
    backwards = [other.batch(step, 2) for step in reversed(range(300))][::-1]
    assert forwards == backwards
    assert forwards != [LengthBuckets(lengths, 120, seed=8).batch(step, 2) for step in range(300)]


def test_batches_hold_like_lengths_and_differ_between_epochs() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, size=2000).tolist()
    buckets = LengthBuckets(lengths, 400, seed=1)
    n_batches = len(buckets.layout(1)[1]) - 1
    first = [buckets.batch(step, 1) for step in range(n_batches)]
    second = [buckets.batch(n_batches + step, 1) for step in range(n_batches)]
    padded = sum(len(batch) * max(lengths[item] for item in batch) for batch in first)
    assert padded < 1.05 * sum(lengths)
    assert not {frozenset(batch) for batch in first} & {frozenset(batch) for batch in second}
    # Not from short to long: a model would see all long sentences last.
    order = [lengths[batch[0]] for batch in first]
    assert abs(torch.corrcoef(torch.tensor([order, list(range(n_batches))], dtype=torch.float))[0, 1]) < 0.3
